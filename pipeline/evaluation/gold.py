"""A file of hand-labelled strings in, `Gold` out: each string once, with its labels."""

from __future__ import annotations

import csv
import gzip
import io
import json
import logging
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pipeline.errors import AffilError, UsageError
from pipeline.evaluation.memberships import Memberships

DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".txt": "\t"}
SUFFIXES = (*DELIMITERS, ".jsonl", ".ndjson", ".parquet")
#: One row of a gold file: its place for messages, then affiliation, labels and fold as they stand.
Row = tuple[str, Any, Any, Any]

log = logging.getLogger(__name__)


class NothingLabelledError(UsageError):
    """A file, or a fold of it, without a labelled row."""


@dataclass(frozen=True)
class Gold:
    """Distinct strings in their own order, and for each the sorted, non-empty tuple of its labels."""

    affiliation: list[str]
    labels: list[tuple[str, ...]]
    #: Rows that carried no label, and strings whose rows disagreed; their labels are united.
    n_unlabelled: int = 0
    n_conflicts: int = 0

    def __post_init__(self) -> None:
        if len(self.affiliation) != len(self.labels) or not all(self.labels):
            raise AffilError("gold needs at least one label for each string")
        if len(set(self.affiliation)) != len(self.affiliation):
            raise AffilError("gold holds a string twice")

    def __len__(self) -> int:
        return len(self.affiliation)

    def memberships(self) -> Memberships:
        """The strings and their labels, as numbers."""
        return Memberships.of_sets(self.labels)


def read_gold(
    path: str | Path,
    affiliation_column: str,
    cluster_column: str,
    fold: str | None = None,
    fold_column: str = "fold",
    *,
    separator: str | None = None,
) -> Gold:
    """A labelled CSV, TSV, JSONL or Parquet file (also gzipped, UTF-8) comes out as gold.

    The cluster column holds a label or, in JSONL and Parquet, a list of labels; with `separator` a text is
    cut into labels at it. Rows without a label are left out; a string that occurs twice counts once, its
    labels united. `fold` keeps the rows that have it in `fold_column`.

    Raises:
        UsageError: no such file, an unknown format, a missing column, a malformed line.
        NothingLabelledError: no labelled row.
    """
    path = Path(path)
    columns = (affiliation_column, cluster_column) + (() if fold is None else (fold_column,))
    labels_of: dict[str, set[str]] = {}
    in_conflict: set[str] = set()
    folds: set[str] = set()
    n_unlabelled = 0
    for place, affiliation, cell, row_fold in rows_of(path, columns):
        if fold is not None and str(row_fold) != fold:
            folds.add(str(row_fold))
            continue
        labels = set(labels_in(cell, separator, place))
        if not labels or not isinstance(affiliation, str) or not affiliation:
            n_unlabelled += 1
        elif labels_of.setdefault(affiliation, labels) != labels:
            in_conflict.add(affiliation)
            labels_of[affiliation] |= labels
    if not labels_of:
        raise NothingLabelledError(_nothing_labelled(path, cluster_column, fold, folds))
    strings = sorted(labels_of)
    log.info("gold: %d strings from %s, %d rows without a label", len(strings), path, n_unlabelled)
    labels_in_order = [tuple(sorted(labels_of[s])) for s in strings]
    return Gold(strings, labels_in_order, n_unlabelled, len(in_conflict))


def _nothing_labelled(path: Path, cluster_column: str, fold: str | None, folds: set[str]) -> str:
    if fold is None:
        return f"{path}: no row has both a string and a label in column '{cluster_column}'"
    others = ", ".join(sorted(folds)[:10]) or "none"
    return f"{path}: no labelled row in fold '{fold}'; other folds there: {others}"


def labels_in(cell: Any, separator: str | None, place: str) -> Iterator[str]:
    """A cell of labels (a text, a list) to the labels; UsageError names the place of what is none."""
    if isinstance(cell, (list, tuple)):
        for item in cell:
            yield from labels_in(item, separator, place)
    elif isinstance(cell, str) and separator:
        yield from (piece.strip() for piece in cell.split(separator) if piece.strip())
    elif isinstance(cell, str):
        if cell:
            yield cell
    elif isinstance(cell, int):
        yield str(cell)
    elif cell is not None and cell == cell:  # NaN is no label
        raise UsageError(f"{place}: a label must be a text, a whole number or a list of them, not {cell!r}")


def rows_of(path: Path, columns: tuple[str, ...]) -> Iterator[Row]:
    """A labelled file (affiliation, labels and perhaps fold by their columns) to its rows as they stand."""
    is_gzipped = path.suffix.lower() == ".gz"
    suffix = (path.with_suffix("") if is_gzipped else path).suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(
            f"{path}: unknown gold format '{suffix}'; use one of {', '.join(SUFFIXES)} (or + .gz)"
        )
    try:
        with gzip.open(path, "rb") if is_gzipped else path.open("rb") as file:
            if suffix == ".parquet":
                yield from _parquet_rows(path, io.BytesIO(file.read()), columns)
                return
            with io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
                if suffix in DELIMITERS:
                    yield from _delimited_rows(path, text, DELIMITERS[suffix], columns)
                else:
                    yield from _json_rows(path, text, columns)
    except FileNotFoundError as error:
        raise UsageError(f"no such gold file: {path}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 ({error.reason}); convert the file first") from error
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{path}: cannot be read ({error})") from error


def _need_columns(path: Path, columns: tuple[str, ...], there: Iterable[str]) -> None:
    names = list(there)
    for column in columns:
        if column not in names:
            raise UsageError(f"{path}: no column '{column}'; columns there: {', '.join(names) or 'none'}")


def _delimited_rows(path: Path, text: IO[str], delimiter: str, columns: tuple[str, ...]) -> Iterator[Row]:
    reader = csv.reader(text, delimiter=delimiter)
    try:
        header = next(reader, [])
        _need_columns(path, columns, header)
        at = [header.index(column) for column in columns]
        for row in reader:
            cells = [row[i] if i < len(row) else None for i in at]
            yield f"{path} line {reader.line_num}", cells[0], cells[1], cells[-1]
    except csv.Error as error:
        raise UsageError(f"{path} line {reader.line_num}: {error}") from error


def _json_rows(path: Path, text: IO[str], columns: tuple[str, ...]) -> Iterator[Row]:
    # A JSON Lines file has no header: a key may be absent from some rows, and is missing if absent from all.
    keys: dict[str, None] = {}
    for number, line in enumerate(text, 1):
        if not line.strip():
            continue
        place = f"{path} line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise UsageError(f"{place}: not JSON ({error.msg})") from error
        if not isinstance(row, dict):
            raise UsageError(f"{place}: expected a JSON object a line")
        keys.update(dict.fromkeys(row))
        cells = [row.get(column) for column in columns]
        yield place, cells[0], cells[1], cells[-1]
    _need_columns(path, columns, keys)


def _parquet_rows(path: Path, data: io.BytesIO, columns: tuple[str, ...]) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(data)
    except pa.ArrowInvalid as error:
        raise UsageError(f"{path}: not a Parquet file") from error
    _need_columns(path, columns, file.schema_arrow.names)
    for batch in file.iter_batches(columns=list(dict.fromkeys(columns))):
        lists = [batch.column(column).to_pylist() for column in columns]
        for affiliation, cell, row_fold in zip(lists[0], lists[1], lists[-1], strict=True):
            yield str(path), affiliation, cell, row_fold
