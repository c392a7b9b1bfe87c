"""Rows as they come in: the staged file that reading makes and folding takes, or values in memory."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pipeline.errors import UsageError

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd
    import pyarrow as pa

    #: Strings in memory; NumPy and Arrow arrays do as well.
    Values = Sequence[str | None] | pd.Series[Any]
    Counts = Sequence[int] | pd.Series[Any] | npt.NDArray[Any]

#: Names of a column of affiliations, the surest first; compared in lower case, `_` for space and hyphen.
AFFILIATION_NAMES = (
    *("raw_affiliation_string", "raw_affiliation_strings", "raw_affiliation", "raw_affiliations"),
    *("affiliation_string", "affiliation_strings", "affiliation_raw", "affiliation", "affiliations"),
    *(
        "affiliation_name",
        "affiliation_text",
        "aff",
        "affil",
        "affils",
        "raw_string",
        "string",
        "organization",
    ),
    *(
        "organisation",
        "organization_name",
        "organisation_name",
        "institution",
        "institution_name",
        "institutions",
    ),
    *("institute", "org", "org_name", "text"),
)
#: Columns of the staged file that are not the user's: the number of the row from 1, and the file it was in.
ROW, FILE = "__row", "__file"


@dataclass(frozen=True)
class StagedRows:
    """Every input row in one Parquet file, and what is known of it.

    The user's columns lie in the file under positional names (`field`), so that any name will do: an empty
    one, two that differ in case only, one that an internal column has.

    Attributes:
        path: the Parquet file: `c0`, `c1`, … as in `columns`, then `__row` (int64 from 1) and `__file`.
        columns: the user's column names in their own order.
        column: the column that holds the affiliation strings.
        id_column: the column of source ids, None where the number of the row is the id.
        count_column: the column of occurrences, None where every row is one.
        kind: format of the first input: csv, tsv, jsonl, parquet (a database table too), xlsx, text.
        delimiter: of a first input in CSV or TSV, else None.
        warnings: one line each, for the person who started the run.
        year_column: the column of years, None where rows have none.
    """

    path: Path
    columns: tuple[str, ...]
    column: str
    id_column: str | None
    count_column: str | None
    n_rows: int
    kind: str
    delimiter: str | None = None
    warnings: tuple[str, ...] = ()
    year_column: str | None = None

    def field(self, column: str) -> str:
        """A column of the user in, its name in the staged file out."""
        return field_name(self.columns.index(column))


def field_name(number: int) -> str:
    """The number of a user's column in, its name in a staged file out."""
    return f"c{number}"


def choose_column(columns: Sequence[str], asked: str | None, taken: Collection[str | None] = ()) -> str:
    """Column names in, that of the affiliations out: the one asked for, a well-known name, or the only one.

    Args:
        columns: all names, in order.
        asked: the user's choice, or None to guess.
        taken: columns that have another part to play (ids, counts).

    Raises:
        UsageError: no such column, or none that is obvious; the message lists those there are.
    """
    if asked is not None:
        return require_column(columns, asked)
    free = [column for column in columns if column not in taken]
    by_name = {
        column.strip().casefold().replace(" ", "_").replace("-", "_"): column for column in reversed(free)
    }
    known = next((by_name[name] for name in AFFILIATION_NAMES if name in by_name), None)
    if known is not None:
        return known
    if len(free) == 1:
        return free[0]
    raise UsageError(f"which column holds the affiliations? give --column, one of: {_listed(columns)}")


def require_column(columns: Sequence[str], asked: str) -> str:
    """The column asked for, if it is there; else a `UsageError` with the columns and the nearest name."""
    if asked in columns:
        return asked
    folded = {column.casefold(): column for column in reversed(columns)}
    near = difflib.get_close_matches(asked.casefold(), folded, n=1, cutoff=0.5)
    hint = f"; did you mean {folded[near[0]]!r}?" if near else ""
    raise UsageError(f"no column {asked!r}; the columns are: {_listed(columns)}{hint}")


def _listed(columns: Sequence[str]) -> str:
    shown = ", ".join(repr(column) for column in columns[:30])
    return shown if len(columns) <= 30 else f"{shown} … ({len(columns)} in all)"


def parquet_table(
    path: Path, columns: Sequence[str] | None = None, dictionary: Sequence[str] | None = None
) -> pa.Table:
    """A Parquet file in, the columns asked for (None: all) out, those of `dictionary` as dictionaries.

    As `pyarrow.parquet.read_table`, which loads a machinery for folders of files first: .1 s a process.

    Raises:
        OSError, pyarrow.ArrowException: the file is missing, broken or lacks a column.
    """
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, read_dictionary=dictionary) as file:
        found = file.read(columns)
        return found.select(columns) if columns else found


def list_of(strings: pa.Array | pa.ChunkedArray) -> list[Any]:
    """Arrow strings in, Python strings and None out; several times faster than `to_pylist`."""
    import pyarrow as pa

    if not pa.types.is_string(strings.type):
        return cast(list[Any], strings.to_pylist())
    options = {} if isinstance(strings, pa.ChunkedArray) else {"zero_copy_only": False}
    return cast(list[Any], strings.to_numpy(**options).tolist())


def tuples_of(lists: pa.ChunkedArray) -> list[tuple[Any, ...]]:
    """A column of Arrow lists in, tuples out."""
    found: list[tuple[Any, ...]] = []
    for chunk in lists.chunks:
        items = list_of(chunk.values)
        found += [tuple(items[a:b]) for a, b in pairwise(chunk.offsets.to_pylist())]
    return found


def text_array(values: Sequence[str | None], *, is_large: bool = False) -> pa.Array:
    """Strings in, Arrow strings out; a lone surrogate, which UTF-8 cannot hold, as its escape `\\ud800`.

    `is_large` for more than 2 GB of text in one array.
    """
    import pyarrow as pa

    kind = pa.large_string() if is_large else pa.string()
    try:
        return pa.array(values, kind)
    except UnicodeEncodeError:
        return pa.array([None if value is None else escape_surrogates(value) for value in values], kind)


def escape_surrogates(text: str) -> str:
    """Any text in, text that UTF-8 can hold out: lone surrogates as the six characters `\\ud800` of JSON."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def rows_from_values(values: Values, counts: Counts | None = None) -> pa.Table:
    """Strings in memory in, an Arrow table of `affiliation` (string) and `n_occurrences` (int64) out.

    Args:
        values: a list, pandas Series, NumPy or Arrow array; None, NaN and NA are blank rows.
        counts: how often each occurs, positive integers; None means once each.

    Raises:
        UsageError: a value that is no string, a count that is no positive integer, lengths that differ.
    """
    import pyarrow as pa

    texts = text_array(_strings(values))
    numbers = (
        _counts(counts, len(texts)) if counts is not None else pa.repeat(pa.scalar(1, pa.int64()), len(texts))
    )
    return pa.table({"affiliation": texts, "n_occurrences": numbers})


def _strings(values: Any) -> list[str | None]:
    if isinstance(values, (str, bytes)):
        raise UsageError("give a list of strings, not one string")
    plain = _plain(values)
    wrong = next(
        (n for n, value in enumerate(plain) if value is not None and not isinstance(value, str)), None
    )
    if wrong is not None:
        kind = type(plain[wrong]).__name__
        raise UsageError(f"value {wrong} (from 0) is of type {kind}; affiliations must be strings or None")
    return cast(list[str | None], plain)


def _plain(values: Any) -> list[object]:
    """Values of any container as a list, all the ways to say "missing" as None."""
    if hasattr(values, "to_pylist"):
        return list(values.to_pylist())
    if hasattr(values, "notna"):
        values = values.astype(object).where(values.notna(), None)
    listed: Iterable[object] = values.tolist() if hasattr(values, "tolist") else values
    return [None if isinstance(value, float) and value != value else value for value in listed]


def _counts(counts: Any, n_rows: int) -> pa.Array:
    import pyarrow as pa

    plain = _plain(counts)
    if len(plain) != n_rows:
        raise UsageError(f"{len(plain)} counts for {n_rows} values; give one count for each")
    for n, count in enumerate(plain):
        if isinstance(count, bool) or not isinstance(count, (int, float)) or count < 1 or count != int(count):
            raise UsageError(f"count {n} (from 0) is {count!r}; counts must be positive integers")
    return pa.array([int(cast(int, count)) for count in plain], pa.int64())
