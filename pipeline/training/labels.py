"""Labelled strings by fold: what every training reads."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UsageError

#: Without a column of folds one cluster in so many is held out for the looks that training takes.
_HELD_OUT = 5
_FOLDS = ("train", "tune")


@dataclass(frozen=True)
class Columns:
    """Names of the columns of a labelled file; a file need not have the default `fold`.

    `separator` parts several labels in one cell, where a training reads several.
    """

    affiliation: str = "affiliation"
    cluster: str = "cluster"
    fold: str = "fold"
    separator: str | None = None


def read_folds(path: Path, columns: Columns | None = None) -> dict[str, list[tuple[str, str]]]:
    """A labelled file to (string, label) pairs of the folds train and tune, in its order, each string once.

    In a file without a column `fold` every fifth cluster, by a hash of its name, is of the fold `tune`.

    Raises:
        UsageError: no such file or column, no UTF-8, a row without a label, a fold without rows.
    """
    columns = columns or Columns()
    rows = _rows(path)
    fold_of = _fold_of(path, rows.fieldnames or [], columns)
    folds: dict[str, dict[str, str]] = {fold: {} for fold in _FOLDS}
    for row in rows:
        fold = fold_of(row)
        if fold in folds:
            if not row[columns.affiliation] or not row[columns.cluster]:
                where = f"no {columns.affiliation} or no {columns.cluster}"
                raise UsageError(f"{path}, line {rows.line_num}: {where}")
            folds[fold].setdefault(row[columns.affiliation], row[columns.cluster])
    for fold, found in folds.items():
        if not found and columns.fold in (rows.fieldnames or []):
            raise UsageError(f"{path}: no row of fold {fold!r} in column {columns.fold!r}")
        if not found:
            raise UsageError(f"{path}: too few clusters to hold a fifth of them out")
    return {fold: list(found.items()) for fold, found in folds.items()}


def _rows(path: Path) -> csv.DictReader[str]:
    if not path.is_file():
        raise UsageError(f"no such file: {path}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8: {error}; convert it first") from error
    return csv.DictReader(io.StringIO(text, newline=""), delimiter="\t" if path.suffix == ".tsv" else ",")


def _fold_of(path: Path, names: Sequence[str], columns: Columns) -> Callable[[dict[str, str]], str]:
    """How the fold of a row is told; UsageError where a column is missing."""
    needed = [columns.affiliation, columns.cluster]
    if columns.fold != Columns.fold:
        needed.append(columns.fold)
    missing = [c for c in needed if c not in names]
    if missing:
        raise UsageError(f"{path}: no column {missing[0]!r}; there are {', '.join(names)}")
    if columns.fold in names:
        return lambda row: row[columns.fold]
    return lambda row: fold_of_cluster(row[columns.cluster] or "")


def fold_of_cluster(cluster: str) -> str:
    """The fold of a cluster by the hash of its name: one in five is held out."""
    return _FOLDS[int(hashlib.sha256(cluster.encode("utf-8")).hexdigest(), 16) % _HELD_OUT == 0]


def is_held_out(cluster: str) -> bool:
    """Whether a cluster is of the fifth of fold `train` that the reranker, and benchmarks, set aside.

    By another hash than `fold_of_cluster`: where that one made the folds, `train` too has a fifth of these.
    """
    return hashlib.md5(cluster.encode("utf-8"), usedforsecurity=False).digest()[0] % _HELD_OUT == 0
