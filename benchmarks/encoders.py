"""What encoders bring near, on labelled strings: recall@30 and the pairs that blocking proposes, by encoder.

    python benchmarks/encoders.py --data ../shared/data --encoder hashing --encoder built-in [--fold tune]

Fold `dev` is the part of `train` that `--write-dev FILE` sets aside, a fifth of the organisations: measure on
it only an encoder that was trained on that file. `built-in@128` keeps the first 128 dimensions.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

import numpy as np

from blocking import block, load_encoder
from blocking.encoders import CorpusEncoder
from pipeline.model_list import BUILT_IN_ENCODER, encoder_source
from pipeline.preparation import prepare
from pipeline.settings import Settings
from pipeline.training.labels import is_held_out
from pipeline.training.recall import Lookout


def fold_of(row: dict[str, str]) -> str:
    """The fold of a labelled row, with a fifth of the organisations of `train` as `dev`."""
    is_dev = row["fold"] == "train" and is_held_out(row["cluster"])
    return "dev" if is_dev else row["fold"]


def read_rows(data: Path) -> list[dict[str, str]]:
    """The labelled rows of all folds but `test`, which only `quality.py` looks at."""
    with (data / "labelled" / "shared_clusters.tsv").open(encoding="utf-8", newline="") as lines:
        rows = [row | {"fold": fold_of(row)} for row in csv.DictReader(lines, delimiter="\t")]
    return [row for row in rows if row["fold"] != "test"]


def measure(label_of: dict[str, str], names: list[str], n_neighbours: int) -> None:
    """Print one line an encoder."""
    settings = Settings().with_values(blocking={"n_neighbours": n_neighbours})
    mentions, forms = prepare(list(label_of), settings)
    raw = mentions.affiliations.affiliation
    labels = np.array([label_of[raw[i]] for i in mentions.affiliation.tolist()])
    main = forms.is_main
    _, sizes = np.unique(labels[main], return_counts=True)
    n_true = int((sizes * (sizes - 1) // 2).sum())
    kept = [i for i in np.flatnonzero(main) if forms.organization[i]]
    lookout = Lookout.of([forms.context[i] for i in kept], labels[kept].tolist(), (), n_neighbours)
    print(f"{len(label_of):,} strings, {n_true:,} true pairs, {n_neighbours} neighbours")
    print(f"{'encoder':24} dims   recall   pairs proposed  completeness  strings/s")
    for name in names:
        name, _, dimensions = name.partition("@")
        encoder = load_encoder(encoder_source(name), truncate_dim=int(dimensions) if dimensions else None)
        if isinstance(encoder, CorpusEncoder):
            encoder.fit(lookout.texts)
        begin = time.perf_counter()
        encoder.encode(lookout.texts)
        speed = len(lookout.texts) / (time.perf_counter() - begin)
        recall = lookout.recall(encoder)
        pairs = block(forms.views, forms.keys, settings.blocking, encoder=encoder)
        is_hit = main[pairs.left] & main[pairs.right] & (labels[pairs.left] == labels[pairs.right])
        found = f"{recall:.4f}   {len(pairs):14,}  {is_hit.sum() / max(1, n_true):12.4f}"
        print(f"{name[-24:]:24} {encoder.dimensions:4}   {found}  {speed:9,.0f}")


def main() -> None:
    """Measure encoders on a fold, or write the labels without the fold `dev`."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--encoder", action="append")
    options.add_argument("--fold", choices=("tune", "dev", "train"), default="tune")
    options.add_argument("--n-neighbours", type=int, default=30)
    options.add_argument("--write-dev", type=Path)
    given = options.parse_args()
    rows = read_rows(given.data)
    if given.write_dev:
        with given.write_dev.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t")
            writer.writeheader()
            writer.writerows(rows)
        return
    label_of = {row["affiliation"]: row["cluster"] for row in rows if row["fold"] == given.fold}
    measure(label_of, given.encoder or ["hashing", BUILT_IN_ENCODER], given.n_neighbours)


if __name__ == "__main__":
    main()
