"""What encoders bring near, on labelled strings: recall@30 and the pairs that blocking proposes, by encoder.

    python benchmarks/encoders.py --data ../shared/data --encoder hashing --encoder built-in [--fold tune]
    python benchmarks/encoders.py --data ../shared/data --fold test --save benchmarks/results/encoders.json

Figures of all strings, and by labelled set, country and script. Recall is the mean over distinct texts;
completeness of a group is the share of true pairs proposed, a pair counted at each of its strings.

The fold `test` is for the table of the encoder's card alone, nothing is chosen by it. Fold `dev` is the part
of `train` that `--write-dev FILE` sets aside, a fifth of the organisations: measure on it only an encoder
that was trained on that file. `built-in@128` keeps the first 128 dimensions.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from groups import grouped

from blocking import block, load_encoder
from blocking.encoders import CorpusEncoder
from pipeline.model_list import BUILT_IN_ENCODER, encoder_source
from pipeline.preparation import prepare
from pipeline.settings import Settings
from pipeline.training.labels import is_held_out
from pipeline.training.recall import Lookout

Figures = dict[str, Any]


def fold_of(row: dict[str, str]) -> str:
    """The fold of a labelled row, with a fifth of the organisations of `train` as `dev`."""
    is_dev = row["fold"] == "train" and is_held_out(row["cluster"])
    return "dev" if is_dev else row["fold"]


def read_rows(data: Path) -> list[dict[str, str]]:
    """The labelled rows of all folds."""
    with (data / "labelled" / "shared_clusters.tsv").open(encoding="utf-8", newline="") as lines:
        return [row | {"fold": fold_of(row)} for row in csv.DictReader(lines, delimiter="\t")]


def measure(rows: list[dict[str, str]], names: list[str], n_neighbours: int) -> Figures:
    """Print one line an encoder and group; returns the same figures."""
    label_of = {row["affiliation"]: row["cluster"] for row in rows}
    settings = Settings().with_values(blocking={"n_neighbours": n_neighbours})
    mentions, forms = prepare(list(label_of), settings)
    raw = mentions.affiliations.affiliation
    strings = [raw[i] for i in mentions.affiliation.tolist()]
    labels = np.array([label_of[string] for string in strings])
    main = forms.is_main
    _, label = np.unique(labels, return_inverse=True)
    n_fellows = np.where(main, np.bincount(label, main)[label] - 1, 0)
    kept = [i for i in np.flatnonzero(main) if forms.organization[i]]
    lookout = Lookout.of([forms.context[i] for i in kept], labels[kept].tolist(), (), n_neighbours)
    number = {strings[i]: i for i in np.flatnonzero(main).tolist()}
    parts = {"all": list(number)} | grouped(mentions, forms, {r["affiliation"]: r["source"] for r in rows})
    mains = {group: [number[string] for string in own] for group, own in parts.items()}
    groups: Figures = {group: {"n": len(own)} for group, own in mains.items()}
    n_true = int(n_fellows.sum()) // 2
    print(f"{len(label_of):,} strings, {n_true:,} true pairs, {n_neighbours} neighbours")
    print(f"{'encoder':24} dims   recall   pairs proposed  completeness  strings/s")
    for name in names:
        source, _, dimensions = name.partition("@")
        encoder = load_encoder(encoder_source(source), truncate_dim=int(dimensions) if dimensions else None)
        if isinstance(encoder, CorpusEncoder):
            encoder.fit(lookout.texts)
        begin = time.perf_counter()
        encoder.encode(lookout.texts)
        speed = len(lookout.texts) / (time.perf_counter() - begin)
        share = dict(zip(lookout.texts, lookout.shares(encoder).tolist(), strict=True))
        pairs = block(forms.views, forms.keys, settings.blocking, encoder=encoder)
        is_hit = main[pairs.left] & main[pairs.right] & (labels[pairs.left] == labels[pairs.right])
        n_hits = np.bincount(np.r_[pairs.left[is_hit], pairs.right[is_hit]], minlength=len(forms))
        for group, own in mains.items():
            shares = [share[text] for text in {forms.context[i] for i in own} if text in share]
            groups[group][name] = {
                "recall": ratio(np.nansum(shares), np.count_nonzero(~np.isnan(shares))),
                "completeness": ratio(n_hits[own].sum(), n_fellows[own].sum()),
            }
        recall, completeness = groups["all"][name].values()
        found = f"{recall or 0:.4f}   {len(pairs):14,}  {completeness or 0:12.4f}"
        print(f"{source[-24:]:24} {encoder.dimensions:4}   {found}  {speed:9,.0f}")
    print_groups(groups, names)
    return {"n_true_pairs": n_true, "groups": groups}


def ratio(part: float, whole: float) -> float | None:
    """A share to four digits; None of nothing."""
    return round(float(part) / float(whole), 4) if whole else None


def print_groups(groups: Figures, names: list[str]) -> None:
    """Recall and completeness of each encoder, a group a line."""
    print(f"\n{'recall, completeness':32} strings  " + "  ".join(f"{name[-24:]:>14}" for name in names))
    for group, row in groups.items():
        cells = (f"{row[name]['recall'] or 0:6.4f}, {row[name]['completeness'] or 0:6.4f}" for name in names)
        print(f"{group:32} {row['n']:7,}  " + "  ".join(cells))


def main() -> None:
    """Measure encoders on a fold, or write the labels without the fold `dev`."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--encoder", action="append")
    options.add_argument("--fold", choices=("tune", "dev", "train", "test"), default="tune")
    options.add_argument("--n-neighbours", type=int, default=30)
    options.add_argument("--write-dev", type=Path)
    options.add_argument("--save", type=Path, help="add the figures of the fold to a JSON file")
    given = options.parse_args()
    rows = read_rows(given.data)
    if given.write_dev:
        with given.write_dev.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t")
            writer.writeheader()
            writer.writerows(row for row in rows if row["fold"] != "test")
        return
    own = [row for row in rows if row["fold"] == given.fold]
    figures = measure(own, given.encoder or ["hashing", BUILT_IN_ENCODER], given.n_neighbours)
    if given.save:
        known = json.loads(given.save.read_text(encoding="utf-8")) if given.save.is_file() else {}
        given.save.write_text(json.dumps(known | {given.fold: figures}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
