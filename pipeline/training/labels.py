"""Labelled strings by fold: what every training reads."""

from __future__ import annotations

import csv
from pathlib import Path

from pipeline.errors import UsageError


def read_folds(path: Path, affiliation: str, cluster: str, fold: str) -> dict[str, list[tuple[str, str]]]:
    """A labelled file to (string, label) pairs by fold, in the order of the file, each string once."""
    if not path.is_file():
        raise UsageError(f"no such file: {path}")
    with path.open(encoding="utf-8", newline="") as lines:
        rows = csv.DictReader(lines, delimiter="\t" if path.suffix == ".tsv" else ",")
        missing = [c for c in (affiliation, cluster, fold) if c not in (rows.fieldnames or [])]
        if missing:
            raise UsageError(
                f"{path}: no column {missing[0]!r}; there are {', '.join(rows.fieldnames or [])}"
            )
        folds: dict[str, dict[str, str]] = {"train": {}, "tune": {}}
        for row in rows:
            if row[fold] in folds:
                folds[row[fold]].setdefault(row[affiliation], row[cluster])
    for name, found in folds.items():
        if not found:
            raise UsageError(f"{path}: no row of fold {name!r} in column {fold!r}")
    return {name: list(found.items()) for name, found in folds.items()}
