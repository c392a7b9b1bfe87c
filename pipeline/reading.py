"""Reading: input files of any supported format → one staged Parquet file of rows, in constant memory."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.encodings import find_encoding
from pipeline.errors import AffilError, UsageError
from pipeline.formats import READERS, Rows, translated
from pipeline.inputs import STDIN, TEXT_KINDS, TYPED_KINDS, InputFile, locate, sniff_delimiter
from pipeline.records import Progress
from pipeline.rows import FILE, ROW, StagedRows, choose_column, field_name, require_column
from pipeline.works import AUTHOR_COLUMNS, FORMATS, YEAR, read_works
from pipeline.writing import atomic_path, unwritable

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)
#: More digits than any real count has; the sum of a billion such still fits 64 bits.
_COUNT_PATTERN = r"^0*[1-9][0-9]{0,8}$"
_MAX_COUNT = 10**9


@dataclass(frozen=True)
class ReadingSettings:
    """What the user knows of the input; None is to find out.

    Attributes:
        column: the column of affiliation strings.
        id_column: a column of source ids; without it the number of the row (from 1) is the id.
        count_column: a column of positive integers, how often the string occurs; without it once a row.
        encoding: of text files, as Python names it.
        author_columns: the columns of work, author and position, where each row is an authorship.
        works: the input is JSONL of works as `openalex`, `crossref` or `datacite` publishes them.
        year_column: a column of years: a row then has the registry's record of that year.
    """

    column: str | None = None
    id_column: str | None = None
    count_column: str | None = None
    encoding: str | None = None
    author_columns: tuple[str, ...] | None = None
    works: str | None = None
    year_column: str | None = None

    def __post_init__(self) -> None:
        if self.author_columns is not None and len(self.author_columns) != 3:
            asked = ",".join(self.author_columns)
            raise UsageError(f"--author-columns takes three names, of work, author, position; got {asked!r}")
        if self.works is not None and self.works not in FORMATS:
            raise UsageError(f"works must be one of {', '.join(FORMATS)}, got {self.works!r}")
        if self.works is not None and (self.author_columns or self.column or self.year_column):
            raise UsageError(
                "works bring their own columns; leave --column, --author-columns and --year-column out"
            )
        names = (self.column, self.id_column, self.count_column, self.year_column)
        given = [name for name in names if name is not None]
        if self.count_column is not None and given.count(self.count_column) > 1:
            raise UsageError(
                f"column {self.count_column!r} cannot hold counts and something else; give another"
            )

    @property
    def authorship(self) -> tuple[str, ...] | None:
        """The columns of work, author and position, None where rows are no authorships."""
        return AUTHOR_COLUMNS if self.works else self.author_columns

    @property
    def years(self) -> str | None:
        """The column of years, None where rows have none."""
        return YEAR if self.works else self.year_column


def stage_rows(
    inputs: Sequence[str | Path],
    staged: Path,
    settings: ReadingSettings = ReadingSettings(),
    on_progress: Progress | None = None,
) -> StagedRows:
    """Paths (or `-` for standard input) in, all their rows as a Parquet file at `staged` out, and what it is.

    Values of text formats and workbooks come out as strings, character for character; Parquet keeps its
    types. Memory does not grow with the number of rows.

    Args:
        inputs: CSV, TSV, JSONL, Parquet, XLSX, plain text; each also gzip; tables of DuckDB files. All with
            the same columns.
        staged: the file to write; it appears whole or not at all.
        settings: columns and encoding.
        on_progress: called with (bytes read, bytes in all).

    Raises:
        UsageError: a file, column or extension that is not there or not supported.
        AffilError: content that is broken, empty, in an unknown encoding, or that differs between files.
    """
    if not inputs:
        raise UsageError("no input; give at least one file, or - for standard input")
    started = time.perf_counter()
    staged = Path(staged)
    try:
        staged.parent.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(prefix=".reading-", dir=staged.parent) as scratch,
            atomic_path(staged) as target,
        ):
            description = _stage(inputs, Path(scratch), target, settings, on_progress)
    except OSError as error:
        raise unwritable(error, staged) from error
    logger.info(
        "read %d rows of %d inputs in %.1f s", description.n_rows, len(inputs), time.perf_counter() - started
    )
    return replace(description, path=staged)


def _stage(
    inputs: Sequence[str | Path],
    scratch: Path,
    target: Path,
    settings: ReadingSettings,
    on_progress: Progress | None,
) -> StagedRows:
    files, warnings = [], []
    for given in inputs:
        with translated(_shown(given)):
            file = locate(given, scratch)
            warnings += _settle_text(file, settings.encoding)
            files.append(file)
    if len({file.kind in TYPED_KINDS for file in files}) > 1:
        raise UsageError(
            "Parquet and other formats in one run (a table of a database is as Parquet); convert them to one"
            " format, or run them one by one"
        )
    settings = replace(settings, column=_asked_column(files, settings.column))
    staging = _Staging(target, settings, on_progress, sum(file.n_bytes() for file in files))
    try:
        for file in files:
            staging.add(file)
        return staging.finish(files[0], warnings)
    finally:
        staging.close()


def _asked_column(files: Sequence[InputFile], asked: str | None) -> str | None:
    """The column of affiliations that the user names, as an option or in an address; None where nowhere."""
    named = [file.address.column for file in files if file.address is not None and file.address.column]
    found = dict.fromkeys([*([asked] if asked is not None else []), *named])
    if len(found) > 1:
        raise UsageError(f"--column and addresses name different columns ({', '.join(found)}); name one")
    return next(iter(found), None)


def read_table(given: str | Path) -> pa.Table:
    """One file of any supported format in, all its columns in memory out: for labels, not for a corpus.

    Values of text formats and workbooks are strings; lists and objects of JSONL are JSON.

    Raises:
        UsageError: a file or extension that is not there or not supported.
        AffilError: content that is broken, empty or in an unknown encoding.
    """
    import pyarrow as pa

    columns, batches = _whole(given)
    if not batches:
        raise AffilError(f"{_shown(given)} has no rows, only a header; give a file with at least one row")
    return pa.Table.from_batches(batches).rename_columns(columns)


def read_cells(given: str | Path) -> tuple[list[str], list[list[str | None]]]:
    """One small file of any supported format in, its column names and its rows as text out; no rows will do.

    Raises:
        UsageError, AffilError: as for `read_table`.
    """
    columns, batches = _whole(given)
    return columns, [
        [value if value is None or isinstance(value, str) else str(value) for value in row]
        for batch in batches
        for row in zip(*(column.to_pylist() for column in batch.columns), strict=True)
    ]


def _whole(given: str | Path) -> tuple[list[str], list[pa.RecordBatch]]:
    with tempfile.TemporaryDirectory(prefix="affil-") as scratch, translated(_shown(given)):
        file = locate(given, Path(scratch))
        _settle_text(file, None)
        rows = READERS[file.kind](file)
        return list(rows.columns), list(rows.batches)


def _shown(given: str | Path) -> str:
    return "standard input" if str(given) == STDIN else str(given)


def _settle_text(file: InputFile, asked: str | None) -> list[str]:
    """Encoding and delimiter of a text file, found and set; warnings out."""
    if file.kind not in TEXT_KINDS:
        return []
    file.encoding, warning = find_encoding(file.open_bytes, file.name, asked)
    if file.kind == "tsv":
        file.delimiter = "\t"
    elif file.kind == "csv":
        with file.open_text(newline="") as stream:
            file.delimiter = sniff_delimiter(stream.read(1 << 16))
    return [warning] if warning else []


class _Staging:
    """One staged file in the making; the first input says which columns there are."""

    def __init__(
        self, target: Path, settings: ReadingSettings, on_progress: Progress | None, n_bytes: int
    ) -> None:
        self._target, self._settings = target, settings
        self._on_progress, self._n_bytes, self._n_bytes_done = on_progress, n_bytes, 0
        self._first: InputFile | None = None
        self._columns: tuple[str, ...] = ()
        self._column = ""
        self._schema: pa.Schema | None = None
        self._writer: pa.parquet.ParquetWriter | None = None
        self._n_rows = 0
        self._n_escaped = 0

    def add(self, file: InputFile) -> None:
        """All rows of one input."""
        with translated(file.name):
            rows = self._rows(file)
        if self._first is None:
            self._begin(file, rows)
        order = self._order(file, rows)
        n_before = self._n_rows
        for batch in _guarded(rows.batches, file.name):
            self._write(file, batch, order, n_before)
            self._refuse_nested(file, rows)
            if self._on_progress is not None:
                self._on_progress(min(self._n_bytes_done + file.n_bytes_read(), self._n_bytes), self._n_bytes)
        if self._n_rows == n_before:
            raise AffilError(f"{file.name} has no rows, only a header; give a file with at least one row")
        self._n_bytes_done += file.n_bytes()

    def _rows(self, file: InputFile) -> Rows:
        if self._settings.works is None:
            return READERS[file.kind](file)
        if file.kind != "jsonl":
            raise UsageError(f"{file.name}: works are read from JSONL, one work a line; this is {file.kind}")
        return read_works(file, self._settings.works)

    def _begin(self, file: InputFile, rows: Rows) -> None:
        self._first, self._columns = file, rows.columns
        if len(set(rows.columns)) < len(rows.columns):
            twice = next(name for name in rows.columns if rows.columns.count(name) > 1)
            raise AffilError(f"{file.name}: two columns are named {twice!r}; rename one of them")
        chosen = self._settings
        authorship = chosen.authorship or ()
        others = (chosen.id_column, chosen.count_column, chosen.years, *authorship)
        for name in others:
            if name is not None:
                require_column(rows.columns, name)
        self._column = choose_column(rows.columns, chosen.column, others)

    def _order(self, file: InputFile, rows: Rows) -> list[int | None]:
        """Where in this file's batches each column stands; None for a JSON field that no line of it has."""
        where = {name: number for number, name in enumerate(rows.columns)}
        extra = [name for name in rows.columns if name not in self._columns]
        missing = [name for name in self._columns if name not in where]
        if len(where) < len(rows.columns) or extra or (missing and file.kind != "jsonl"):
            first = self._first.name if self._first else ""
            differ = ", ".join(repr(name) for name in (extra + missing)[:10]) or "one of them twice"
            raise AffilError(f"{file.name} has other columns than {first}: {differ}; make them the same")
        return [where.get(name) for name in self._columns]

    def _write(self, file: InputFile, batch: pa.RecordBatch, order: list[int | None], n_before: int) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        arrays = [pa.nulls(len(batch), pa.string()) if n is None else batch.column(n) for n in order]
        first_row = self._n_rows - n_before + 1
        chosen = self._columns.index(self._column)
        arrays[chosen] = _as_text(arrays[chosen], self._column, file.name, first_row)
        if self._settings.count_column is not None:
            counts = arrays[self._columns.index(self._settings.count_column)]
            _check_counts(counts, self._settings.count_column, file.name, first_row)
        rows = pa.array(range(self._n_rows + 1, self._n_rows + len(batch) + 1), pa.int64())
        names = [field_name(number) for number in range(len(arrays))] + [ROW, FILE]
        out = pa.RecordBatch.from_arrays([*arrays, rows, pa.repeat(file.name, len(batch))], names=names)
        if self._writer is None:
            self._schema = out.schema
            self._writer = pq.ParquetWriter(self._target, out.schema, compression="zstd")
        elif out.schema != self._schema:
            wrong = next(
                n for n, (a, b) in enumerate(zip(out.schema, self._schema or (), strict=True)) if a != b
            )
            raise AffilError(
                f"{file.name}: column {self._columns[wrong]!r} has another type; make them the same"
            )
        self._writer.write_batch(out)
        self._n_rows += len(batch)

    def _refuse_nested(self, file: InputFile, rows: Rows) -> None:
        chosen = self._settings
        others = (chosen.id_column, chosen.count_column, chosen.years, *(chosen.authorship or ()))
        for name in (self._column, *others):
            if name in rows.nested:
                raise AffilError(
                    f"{file.name}, line {rows.nested[name]}: field {name!r} holds a list or an object,"
                    " not a string; write one line for each string"
                )

    def finish(self, first: InputFile, warnings: list[str]) -> StagedRows:
        """The description of the file."""
        assert self._writer is not None
        chosen = self._settings
        names = (self._column, chosen.id_column, chosen.count_column)
        return StagedRows(
            *(self._target, self._columns, *names, self._n_rows),
            *("parquet" if first.kind in TYPED_KINDS else first.kind, first.delimiter, tuple(warnings)),
            chosen.years,
        )

    def close(self) -> None:
        """Lets go of the file; with the last bytes of it if all went well."""
        if self._writer is not None:
            self._writer.close()


def _guarded(batches: Iterator[pa.RecordBatch], name: str) -> Iterator[pa.RecordBatch]:
    """The same batches; what goes wrong in reading them, and only that, is laid at the file's door."""
    with translated(name):
        yield from batches


def _as_text(array: pa.Array, column: str, name: str, first_row: int) -> pa.Array:
    """Affiliations as Arrow strings of valid UTF-8, whatever kind of text Parquet had them in."""
    import pyarrow as pa

    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    raw_kinds = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_null)
    if not any(is_kind(array.type) for is_kind in kinds + raw_kinds):
        raise UsageError(f"{name}: column {column!r} holds {array.type}, not strings; give another --column")
    try:
        text = array.cast(pa.string())
        text.validate(full=True)
    except pa.ArrowInvalid:
        end = first_row + len(array) - 1
        raise AffilError(
            f"{name}, rows {first_row} to {end}: column {column!r} has bytes that are not UTF-8;"
            " write the file again"
        ) from None
    return text


def _check_counts(counts: pa.Array, column: str, name: str, first_row: int) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_string(counts.type) or pa.types.is_large_string(counts.type):
        is_good = pc.match_substring_regex(counts, _COUNT_PATTERN)
    elif (
        pa.types.is_integer(counts.type)
        or pa.types.is_floating(counts.type)
        or pa.types.is_decimal(counts.type)
    ):
        is_whole = pc.equal(pc.floor(counts), counts)
        is_good = pc.and_(is_whole, pc.and_(pc.greater_equal(counts, 1), pc.less(counts, _MAX_COUNT)))
    else:
        raise UsageError(
            f"{name}: column {column!r} holds {counts.type}, not counts; give another --count-column"
        )
    wrong = pc.index(pc.fill_null(is_good, False), False).as_py()
    if wrong >= 0:
        value = counts[wrong].as_py()
        raise AffilError(
            f"{name}, row {first_row + wrong}: count {value!r} in column {column!r} is no positive integer"
            f" below {_MAX_COUNT}; correct it"
        )
