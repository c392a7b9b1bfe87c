"""A finished run folder → tables of a DuckDB file, all of them in one transaction."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.databases import (
    Address,
    identifier,
    is_address,
    kinds_of,
    literal,
    opened,
    read_address,
    write_address,
)
from pipeline.errors import UsageError
from pipeline.reading import ReadingSettings, stage_rows
from pipeline.rows import ROW, StagedRows
from pipeline.run_folder import read_manifest

if TYPE_CHECKING:
    import duckdb

#: Tables of a run folder that go into a database under their own names.
_TABLES = ("mentions", "institutions", "sources", "authorships", "pairs", "judgements", "ledger", "set_aside")
#: What names an export: a row with the run's fingerprint and manifest. And the user's own table.
_RUN, _RESOLVED = "run", "resolved"
EXPORTED = (_RESOLVED, *_TABLES, _RUN)


def export_run(folder: str | Path, into: str, *, overwrite: bool = False) -> list[str]:
    """The folder of a finished run in; the names of the tables that a DuckDB file now has of it out.

    The file is made where it is not there. All tables come or none. The same run again changes nothing.

    Args:
        folder: of a finished run, with `resolved.*`.
        into: `duckdb:///FILE`, and `?prefix=…&schema=…` where wanted.
        overwrite: replace tables of these names; a view is never replaced.

    Raises:
        UsageError: an address that is none, tables in the way, columns that DuckDB cannot hold.
        AffilError: no finished run, or the database is in use or cannot be written.
    """
    address, root = write_address(into), Path(folder)
    manifest = read_manifest(root)
    if manifest is None:
        raise UsageError(f"{root} is no finished run; give the output folder of `affil resolve`")
    with tempfile.TemporaryDirectory(prefix=".export-", dir=root) as scratch, _written(address) as database:
        if not _require_room(database, address, manifest["fingerprint"], overwrite):
            return _named(address, kinds_of(database, address.schema))
        database.begin()
        for name in _named(address, kinds_of(database, address.schema)):
            database.execute(f"DROP TABLE {_qualified(address, name)}")
        for name in _TABLES:
            path = root / f"{name}.parquet"
            if path.exists():
                _create(database, address, name, f"SELECT * FROM read_parquet({literal(path)})")
        staged = _staged(root, manifest["reading"]["column"], Path(scratch))
        _create(database, address, _RESOLVED, _resolved(database, address, staged))
        values = (manifest["fingerprint"], manifest["created"], str(root), json.dumps(manifest))
        named = zip(values, ("fingerprint", "created", "folder", "manifest"), strict=True)
        _create(database, address, _RUN, f"SELECT {', '.join(f'{literal(v)} AS {n}' for v, n in named)}")
        database.commit()
        return _named(address, kinds_of(database, address.schema))


def check_export(into: str, inputs: Sequence[str], folder: str | Path, *, overwrite: bool) -> None:
    """Refuse what `export_run` would refuse, before the work: names that are taken, a file in use.

    Args:
        into: the address to write to.
        inputs: inputs of the run; none of them may be a table that would be replaced.
        folder: where the run is, or will be.
        overwrite: whether tables may be replaced.
    """
    address = write_address(into)
    for source in map(read_address, filter(is_address, inputs)):
        is_same = source.path.resolve() == address.path.resolve()
        if is_same and source.table and source.table.casefold() in _names(address):
            raise UsageError(f"{source.table!r} is read and would be replaced; write {into}?prefix=… as well")
    if not address.path.exists():
        _require_parent(address)
        return
    with _written(address) as database:
        fingerprint = (read_manifest(Path(folder)) or {}).get("fingerprint", "")
        _require_room(database, address, fingerprint, overwrite)


def _names(address: Address) -> list[str]:
    return [f"{address.prefix}{name}".casefold() for name in EXPORTED]


def _named(address: Address, known: dict[str, str]) -> list[str]:
    return [name for name in known if name.casefold() in _names(address)]


def _qualified(address: Address, name: str) -> str:
    return f"{identifier(address.schema)}.{identifier(name)}"


def _require_parent(address: Address) -> None:
    if not address.path.parent.is_dir():
        raise UsageError(f"no such folder: {address.path.parent}; make it, or write to another file")
    if address.schema != "main":
        raise UsageError(f"{address.path} is new and has no schema {address.schema!r}; make it first")


@contextmanager
def _written(address: Address) -> Iterator[duckdb.DuckDBPyConnection]:
    """The database, open for writing; a file that was made for nothing is taken away again."""
    if address.path.is_dir():
        raise UsageError(f"{address.path} is a folder; name a DuckDB file")
    is_new = not address.path.exists()
    if is_new:
        _require_parent(address)
    try:
        with opened(address.path, str(address.path), read_only=False) as database:
            yield database
    except BaseException:
        if is_new:
            for path in (address.path, address.path.with_name(f"{address.path.name}.wal")):
                path.unlink(missing_ok=True)
        raise


def _require_room(
    database: duckdb.DuckDBPyConnection, address: Address, fingerprint: str, overwrite: bool
) -> bool:
    """Whether there is something to do: not where this very run is there; else nothing may be in the way."""
    schemas = database.execute(
        "SELECT 1 FROM duckdb_schemas() WHERE lower(schema_name) = lower(?)"
        " AND database_name = current_database()",
        [address.schema],
    )
    if not schemas.fetchall():
        raise UsageError(f"{address.path} has no schema {address.schema!r}; make it, or name another")
    known = kinds_of(database, address.schema)
    taken = _named(address, known)
    views = [name for name in taken if known[name] == "view"]
    if views:
        raise UsageError(f"{address.path}: {views[0]!r} is a view and stays; write ?prefix=… as well")
    if taken and _fingerprint(database, address, taken) == fingerprint != "":
        return False
    if taken and not overwrite:
        raise UsageError(
            f"{address.path} has tables of these names ({', '.join(taken[:3])}); add --overwrite to replace"
            " them, or write ?prefix=… after the file"
        )
    return True


def _fingerprint(database: duckdb.DuckDBPyConnection, address: Address, taken: list[str]) -> str | None:
    """Of the run whose tables are there, None where they are not all there or somebody else's."""
    wanted = {f"{address.prefix}{name}".casefold() for name in (_RESOLVED, "mentions", "institutions", _RUN)}
    if not wanted <= {name.casefold() for name in taken}:
        return None
    table = _qualified(address, f"{address.prefix}{_RUN}")
    if "fingerprint" not in database.sql(f"SELECT * FROM {table}").columns:
        return None
    rows = database.execute(f"SELECT fingerprint FROM {table} LIMIT 1").fetchall()
    return str(rows[0][0]) if rows else None


def _create(database: duckdb.DuckDBPyConnection, address: Address, name: str, select: str) -> None:
    database.execute(f"CREATE TABLE {_qualified(address, address.prefix + name)} AS {select}")


def _staged(folder: Path, column: str, scratch: Path) -> StagedRows:
    """The resolved table of the run, under positional names."""
    path = next(iter(sorted(folder.glob("resolved.*"))), None)
    if path is None:
        raise UsageError(f"{folder} has no resolved table: it was not made by `affil resolve`")
    return stage_rows([path], scratch / "rows.parquet", ReadingSettings(column, encoding="utf-8"))


def _resolved(database: duckdb.DuckDBPyConnection, address: Address, staged: StagedRows) -> str:
    """What selects the user's own table with its institutions, in the order of its rows."""
    added = _added(database, address, staged)
    names = _distinct_names(staged, len(added))
    values = [*(f"s.{staged.field(c)}" for c in staged.columns[: -len(added)]), *added]
    columns = ", ".join(f"{v} AS {identifier(n)}" for v, n in zip(values, names, strict=True))
    institutions = _qualified(address, f"{address.prefix}institutions")
    entity = staged.field(staged.columns[-len(added)])
    return (
        f"SELECT {columns} FROM read_parquet({literal(staged.path)}) AS s"
        f" LEFT JOIN {institutions} AS i ON i.entity_id = s.{entity} ORDER BY s.{ROW}"
    )


def _added(database: duckdb.DuckDBPyConnection, address: Address, staged: StagedRows) -> list[str]:
    """The expressions of our own columns, the last ones: names and ids from their record, as it has them.

    In CSV every value is text, and a text that a spreadsheet would run has an apostrophe before it.
    """
    plain = [re.sub(r"(_affil)*$", "", name) for name in staged.columns]
    start = max(n for n, name in enumerate(plain) if name == "entity_id")
    known = database.sql(f"SELECT * FROM {_qualified(address, address.prefix + 'institutions')}").columns
    return [
        f"i.{identifier(name)}"
        if name in known
        else f"CAST(NULLIF(CAST(s.{staged.field(column)} AS VARCHAR), '') AS DOUBLE)"
        for name, column in zip(plain[start:], staged.columns[start:], strict=True)
    ]


def _distinct_names(staged: StagedRows, n_added: int) -> list[str]:
    """Column names for DuckDB, to which `ID` and `id` are one: ours give way, the user's cannot."""
    names = list(staged.columns[:-n_added])
    folded = [name.casefold() for name in names]
    wrong = next((n for n, f in zip(names, folded, strict=True) if not n or folded.count(f) > 1), None)
    if wrong is not None:
        raise UsageError(
            f"column {wrong!r}: DuckDB wants names that are not empty and differ in more than case; rename it"
        )
    for name in staged.columns[-n_added:]:
        while name.casefold() in folded:
            name += "_affil"
        names.append(name)
        folded.append(name.casefold())
    return names
