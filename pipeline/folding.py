"""Folding: rows → distinct affiliation strings with counts; and rows ← what became of each string."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from blocking.memory import database_limit
from pipeline.databases import literal
from pipeline.errors import AffilError, UsageError
from pipeline.records import Affiliations, SetAside
from pipeline.rows import ROW, StagedRows, list_of, rows_from_values
from pipeline.writing import atomic_path, csv_header, csv_lines, safe_cells

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from pipeline.rows import Counts, Values

logger = logging.getLogger(__name__)

BLANK = "blank"
#: Columns that `write_resolved` adds to the user's own.
RESOLVED_COLUMNS = ("entity_id", "preferred_name", "match_probability")
#: Columns of what strings resolved to that say for which years; no columns of the user's table.
SPAN_COLUMNS = ("from_year", "to_year")
#: A year outside of these is none: the oldest university is of 1088.
MIN_YEAR, MAX_YEAR = 1000, 2100
#: DuckDB goes to disk beyond this, next to the staged file.
MEMORY_LIMIT = 2_000_000_000
_BATCH_ROWS = 65_536
#: A string of these alone shows nothing: separators, control and format (zero-width) characters of Unicode,
#: and the letters that are blank by design: Hangul fillers, the empty Braille pattern.
_INVISIBLE = r"[\p{Z}\p{Cc}\p{Cf}\x{115F}\x{1160}\x{2800}\x{3164}\x{FFA0}]*"
_ID = "'a' || md5(raw)[:16]"
_ID_UNLESS_BLANK = f"CASE WHEN raw IS NULL OR regexp_full_match(raw, '{_INVISIBLE}') THEN NULL ELSE {_ID} END"


@dataclass(frozen=True)
class Folded:
    """Distinct strings in the order of their ids, the blank ones set aside, and how many rows there were."""

    affiliations: Affiliations
    set_aside: SetAside
    n_rows: int


def fold_rows(staged: StagedRows) -> Folded:
    """Staged rows in, distinct strings with the sum of their counts out.

    Memory holds the distinct strings, not the rows. NULL, empty and invisible strings are set aside as blank.

    Raises:
        AffilError: the staged file cannot be read, or there is no room to work in.
    """
    counts = (
        f"CAST({staged.field(staged.count_column)} AS BIGINT)" if staged.count_column is not None else "1"
    )
    select = f"SELECT {staged.field(staged.column)} AS raw, {counts} AS n FROM read_parquet(?)"
    with _database(staged.path) as database:
        return _fold(database, select, [str(staged.path)], staged.n_rows)


def fold_values(values: Values, counts: Counts | None = None) -> Folded:
    """Strings in memory in (list, pandas Series, NumPy or Arrow array), the same as `fold_rows` out.

    Raises:
        UsageError: a value that is no string, a count that is no positive integer, lengths that differ.
    """
    rows = rows_from_values(values, counts)
    with _database() as database:
        database.register("rows", rows)
        return _fold(database, "SELECT affiliation AS raw, n_occurrences AS n FROM rows", [], len(rows))


def sources_of(values: Values, ids: Sequence[str] | None = None) -> pa.Table:
    """Strings in memory in, (source_id, affiliation_id) of each out: `write_sources` without the file.

    Raises:
        UsageError: a value that is no string, or not one id for each.
    """
    import pyarrow as pa

    rows = rows_from_values(values)
    numbers = pa.array(
        [str(n) for n in range(1, len(rows) + 1)] if ids is None else [str(i) for i in ids], pa.string()
    )
    if len(numbers) != len(rows):
        raise UsageError(f"{len(numbers)} ids for {len(rows)} values; give one id for each")
    with _database() as database:
        database.register("rows", rows)
        found = database.sql(f"SELECT {_ID_UNLESS_BLANK} AS id FROM (SELECT affiliation AS raw FROM rows)")
        return pa.table({"source_id": numbers, "affiliation_id": found.to_arrow_table().column("id")})


def write_sources(staged: StagedRows, path: Path) -> None:
    """Staged rows in, a Parquet file of (source_id, affiliation_id) in row order out; null id where blank.

    `source_id` is the value of the id column as text, or the number of the row where none was named.
    """
    source = staged.field(staged.id_column) if staged.id_column is not None else ROW
    rows = f"SELECT CAST({source} AS VARCHAR) AS source_id, {staged.field(staged.column)} AS raw"
    select = f"""SELECT source_id, {_ID_UNLESS_BLANK} AS affiliation_id
        FROM ({rows} FROM read_parquet({literal(staged.path)}))"""
    with atomic_path(path) as temporary, _database(path) as database:
        # No ORDER BY: nothing is sorted or held, and by this setting DuckDB keeps the order of the file.
        database.execute("SET preserve_insertion_order = true")
        database.execute(f"COPY ({select}) TO {literal(temporary)} (FORMAT parquet, COMPRESSION zstd)")


def write_resolved(staged: StagedRows, entities: pa.Table, path: Path) -> None:
    """Staged rows and what each string resolved to in, the user's own table with three columns or more out.

    Parquet if the first input was, else UTF-8 CSV with the delimiter of the first input. The user's columns
    come back unaltered and in their order; `entity_id`, `preferred_name`, `match_probability` and what else
    there is follow, with `_affil` at the end of a name that the user already has. In CSV our own text, and
    only that, is kept from running as a spreadsheet formula by a leading apostrophe.

    Args:
        staged: what `pipeline.reading.stage_rows` returned.
        entities: columns affiliation_id, entity_id, preferred_name, match_probability, others; a row for each
            string, or with `SPAN_COLUMNS` one for each span of years of a string.
        path: the file to write.

    Raises:
        AffilError: `entities` has one string twice, or the file cannot be written.
    """
    import pyarrow as pa

    numbers = row_numbers(staged, entities)
    known = {*RESOLVED_COLUMNS, *SPAN_COLUMNS}
    names = (*RESOLVED_COLUMNS, *(n for n in entities.column_names[1:] if n not in known))
    added = {n: entities.column(n).combine_chunks() for n in names}
    kept = pa.types.is_floating, pa.types.is_boolean
    added = {n: c if any(k(c.type) for k in kept) else c.cast(pa.string()) for n, c in added.items()}
    if staged.kind == "parquet":
        _write_resolved_parquet(staged, added, numbers, path)
    else:
        _write_resolved_csv(staged, added, numbers, path)


def resolved_path(staged: StagedRows, folder: Path, stem: str = "resolved") -> Path:
    """Where `write_resolved` should write so that the extension tells the format."""
    return folder / f"{stem}.{staged.kind if staged.kind in ('parquet', 'tsv') else 'csv'}"


def added_names(columns: Sequence[str], added: Iterable[str] = RESOLVED_COLUMNS) -> list[str]:
    """The user's column names in, names for the added ones that clash with none of them out."""
    names = []
    for name in added:
        while name in columns:
            name += "_affil"
        names.append(name)
    return names


def _fold(database: duckdb.DuckDBPyConnection, select: str, params: list[str], n_rows: int) -> Folded:
    import pyarrow.compute as pc

    started = time.perf_counter()
    found = database.sql(
        f"""WITH folded AS (
            SELECT coalesce(raw, '') AS raw, CAST(sum(n) AS BIGINT) AS n FROM ({select}) GROUP BY ALL
        )
        SELECT {_ID} AS id, raw, n, regexp_full_match(raw, '{_INVISIBLE}') AS is_blank
        FROM folded ORDER BY id""",
        params=params,
    )
    ids: list[str] = []
    strings: list[str] = []
    counts = [np.empty(0, np.int64)]
    aside = SetAside.empty()
    for batch in found.to_arrow_reader(_BATCH_ROWS):
        kept = batch.filter(pc.invert(batch.column("is_blank")))
        ids += list_of(kept.column("id"))
        strings += list_of(kept.column("raw"))
        counts.append(kept.column("n").to_numpy())
        aside += _blanks(batch.filter(batch.column("is_blank")))
    affiliations = Affiliations(ids, strings, np.concatenate(counts))
    _refuse_collisions(affiliations)
    seconds = time.perf_counter() - started
    logger.info("folded %d rows into %d strings in %.1f s", n_rows, len(affiliations), seconds)
    return Folded(affiliations, aside, n_rows)


def _blanks(batch: pa.RecordBatch) -> SetAside:
    n = len(batch)
    counts = batch.column("n").to_pylist()
    return SetAside(list_of(batch.column("raw")), [BLANK] * n, counts, [True] * n, [-1] * n)


def _refuse_collisions(affiliations: Affiliations) -> None:
    # 64 bits: a chance of 3 in a million at ten million strings, and then a merge without evidence.
    ids = affiliations.affiliation_id
    twin = next((n for n in range(1, len(ids)) if ids[n] == ids[n - 1]), None)
    if twin is not None:
        raise AffilError(
            f"two strings have one id {ids[twin]}: {affiliations.affiliation[twin - 1]!r} and"
            f" {affiliations.affiliation[twin]!r}; alter one of them"
        )


@contextmanager
def _database(near: Path | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB in memory that spills next to `near`; its errors become ours."""
    import duckdb

    folder = near.parent if near is not None else None
    with tempfile.TemporaryDirectory(prefix=".folding-", dir=folder, ignore_cleanup_errors=True) as scratch:
        config: dict[str, Any] = {"memory_limit": database_limit(MEMORY_LIMIT), "temp_directory": scratch}
        database = duckdb.connect(":memory:", config=config)
        try:
            yield database
        except (duckdb.IOException, duckdb.OutOfMemoryException, duckdb.InvalidInputException) as error:
            place = near if near is not None else "the temporary folder"
            message = " ".join(str(error).split())[:300]
            raise AffilError(
                f"cannot work on {place}: {message}; free some space or choose another --output"
            ) from error
        finally:
            database.close()


def row_numbers(staged: StagedRows, strings: pa.Table) -> pa.ChunkedArray:
    """For each staged row the row of its string in a table, in row order; 4 bytes a row.

    Args:
        staged: the rows.
        strings: column affiliation_id, each once; or with `SPAN_COLUMNS` once for each span of years, both
            ends included, where a row without a year counts as of the last.

    Returns:
        int32, null where the table has no such string.

    Raises:
        AffilError: the table has one string twice.
    """
    import pyarrow as pa

    ids = strings.column("affiliation_id")
    columns = {"id": ids.cast(pa.string()), "number": pa.array(range(len(ids)), pa.int32())}
    is_same, year = f"known.id = {_ID}", "NULL"
    if "from_year" in strings.column_names:
        columns |= {name: strings.column(name) for name in SPAN_COLUMNS}
        is_same += " AND coalesce(year, 9999) BETWEEN from_year AND to_year"
        year = _year(staged)
    elif len(ids.unique()) < len(ids):
        raise AffilError("entities name one affiliation_id twice; give one row for each")
    known = pa.table(columns)
    rows = f"SELECT {ROW}, {staged.field(staged.column)} AS raw, {year} AS year FROM read_parquet(?)"
    joined = f"SELECT number FROM ({rows}) AS s LEFT JOIN known ON {is_same} ORDER BY {ROW}"
    with _database(staged.path) as database:
        database.register("known", known)
        return database.sql(joined, params=[str(staged.path)]).to_arrow_table().column("number")


def _year(staged: StagedRows) -> str:
    """The year of a row as SQL, NULL where it has none: `2019`, `2019.0`, `2019-05-01`."""
    if staged.year_column is None:
        return "NULL"
    text = f"trim(CAST({staged.field(staged.year_column)} AS VARCHAR))"
    digits = f"TRY_CAST(regexp_extract({text}, '^([0-9]{{4}})([.]0*|[-/T ].*)?$', 1) AS INTEGER)"
    return f"CASE WHEN {digits} BETWEEN {MIN_YEAR} AND {MAX_YEAR} THEN {digits} END"


def year_warnings(staged: StagedRows) -> list[str]:
    """A line for the rows whose year is none, if there are any; empty cells are no mistake."""
    if staged.year_column is None:
        return []
    text = f"CAST({staged.field(staged.year_column)} AS VARCHAR)"
    rows = f"SELECT {text} AS text, {_year(staged)} AS year FROM read_parquet(?)"
    asked = f"SELECT count(*), min(text) FROM ({rows}) WHERE year IS NULL AND trim(coalesce(text, '')) <> ''"
    with _database(staged.path) as database:
        n, example = database.sql(asked, params=[str(staged.path)]).fetchall()[0]
    if not n:
        return []
    return [
        f"{n:,} rows have a year in column {staged.year_column!r} that is none from {MIN_YEAR} to {MAX_YEAR}"
        f" (such as {example[:20]!r}); they count as rows without a year"
    ]


def _with_entities(
    staged: StagedRows, added: list[pa.Array], numbers: pa.ChunkedArray
) -> Iterator[list[pa.Array]]:
    """The user's columns and the added ones, batch by batch."""
    import pyarrow.parquet as pq

    fields = [staged.field(column) for column in staged.columns]
    source = pq.ParquetFile(staged.path)
    n_done = 0
    for number in range(source.num_row_groups):
        # Row groups are small where cells are large, so a batch never outgrows one.
        for batch in source.iter_batches(row_groups=[number], columns=fields):
            mine = numbers.slice(n_done, len(batch)).combine_chunks()
            n_done += len(batch)
            yield [*(batch.column(field) for field in fields), *(column.take(mine) for column in added)]


def _write_resolved_parquet(
    staged: StagedRows, added: dict[str, pa.Array], numbers: pa.ChunkedArray, path: Path
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kept = pq.read_schema(staged.path)
    types = [
        *(kept.field(staged.field(column)).type for column in staged.columns),
        *(a.type for a in added.values()),
    ]
    schema = pa.schema(list(zip(_resolved_names(staged, added), types, strict=True)))
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for arrays in _with_entities(staged, list(added.values()), numbers):
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))


def _write_resolved_csv(
    staged: StagedRows, added: dict[str, pa.Array], numbers: pa.ChunkedArray, path: Path
) -> None:

    delimiter = staged.delimiter or ","
    # Made safe once a string, not once a row.
    cells = [safe_cells(column) for column in added.values()]
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        handle.write(csv_header(_resolved_names(staged, added), delimiter))
        for arrays in _with_entities(staged, cells, numbers):
            handle.write(csv_lines(arrays, delimiter))


def _resolved_names(staged: StagedRows, added: Iterable[str]) -> list[str]:
    return [*staged.columns, *added_names(staged.columns, added)]
