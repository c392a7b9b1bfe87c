"""Labelled strings by fold: what every training reads."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from pipeline.errors import UsageError


def read_folds(path: Path, affiliation: str, cluster: str, fold: str) -> dict[str, list[tuple[str, str]]]:
    """A labelled file to (string, label) pairs by fold, in the order of the file, each string once."""
    if not path.is_file():
        raise UsageError(f"no such file: {path}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8: {error}; convert it first") from error
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t" if path.suffix == ".tsv" else ",")
    missing = [c for c in (affiliation, cluster, fold) if c not in (rows.fieldnames or [])]
    if missing:
        raise UsageError(f"{path}: no column {missing[0]!r}; there are {', '.join(rows.fieldnames or [])}")
    folds: dict[str, dict[str, str]] = {"train": {}, "tune": {}}
    for row in rows:
        if row[fold] in folds:
            if not row[affiliation] or not row[cluster]:
                raise UsageError(f"{path}, line {rows.line_num}: no {affiliation} or no {cluster}")
            folds[row[fold]].setdefault(row[affiliation], row[cluster])
    for name, found in folds.items():
        if not found:
            raise UsageError(f"{path}: no row of fold {name!r} in column {fold!r}")
    return {name: list(found.items()) for name, found in folds.items()}
