"""What neighbours are best sought by: whole strings, their segments, or the organisation that is found.

    python benchmarks/segments.py --data ../shared/data [--encoder built-in] [--fold tune]

Neighbours alone, no key rules. A segment is what stands between commas; strings are neighbours by their
best segments. Pairs proposed are what scoring has to pay for, completeness is the share of the true pairs
among them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from encoders import read_rows

from blocking import BlockingSettings, block, load_encoder
from pipeline.model_list import encoder_source
from pipeline.preparation import prepare
from pipeline.text import compare

Pairs = set[tuple[int, int]]


def proposed(texts: Sequence[str], item: Sequence[int], encoder: str, n_neighbours: int) -> Pairs:
    """Texts and the item of each in, pairs of items that a neighbour of one of their texts proposes out."""
    settings = BlockingSettings(n_neighbours=n_neighbours)
    pairs = block({"neighbours": texts}, settings=settings, encoder=load_encoder(encoder_source(encoder)))
    number = np.asarray(item)
    low = np.minimum(number[pairs.left], number[pairs.right])
    high = np.maximum(number[pairs.left], number[pairs.right])
    return {(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True) if a != b}


def main() -> None:
    """Print one line a choice of texts and number of neighbours."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--encoder", default="hashing")
    options.add_argument("--fold", choices=("tune", "train"), default="tune")
    given = options.parse_args()
    label_of = {r["affiliation"]: r["cluster"] for r in read_rows(given.data) if r["fold"] == given.fold}
    mentions, forms = prepare(list(label_of))
    main_ones = np.flatnonzero(forms.is_main).tolist()
    raw = mentions.affiliations.affiliation
    strings = [raw[mentions.affiliation[m]] for m in main_ones]
    _, label = np.unique([label_of[s] for s in strings], return_inverse=True)
    sizes = np.bincount(label)
    n_true = int((sizes * (sizes - 1) // 2).sum())
    items = list(range(len(strings)))
    parts = [(compare(part), i) for i, s in enumerate(strings) for part in s.split(",") if part.strip()]

    def completeness(pairs: Pairs) -> float:
        return sum(bool(label[a] == label[b]) for a, b in pairs) / n_true

    def line(title: str, k: int, pairs: Pairs) -> None:
        print(f"{title:34} {k:10}  {len(pairs):14,}  {completeness(pairs):12.4f}")

    print(
        f"{len(strings):,} strings of the fold {given.fold}, {n_true:,} true pairs, encoder {given.encoder}"
    )
    print(f"{'neighbours of':34} {'neighbours':>10}  {'pairs proposed':>14}  {'completeness':>12}")
    for k in (10, 30):
        whole = proposed([forms.context[m] for m in main_ones], items, given.encoder, k)
        name = proposed([forms.concept[m] for m in main_ones], items, given.encoder, k)
        line("whole strings", k, whole)
        line("segments", k, proposed([p for p, _ in parts], [i for _, i in parts], given.encoder, k))
        line("organisation names", k, name)
        line("whole strings, organisation names", k, whole | name)


if __name__ == "__main__":
    main()
