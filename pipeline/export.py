"""A finished run folder → tables of a database, all of them in one transaction."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.databases import Address, identifier, is_address, literal, read_address, write_address
from pipeline.errors import UsageError
from pipeline.reading import ReadingSettings, stage_rows
from pipeline.rows import ROW, StagedRows
from pipeline.run_folder import read_manifest
from pipeline.stores import Store, qualified, require_parent, store_of

if TYPE_CHECKING:
    import duckdb

#: Tables of a run folder that go into a database under their own names.
_TABLES = (
    *("mentions", "institutions", "sources", "authorships", "pairs", "judgements", "ledger", "timeline"),
    "set_aside",
)
#: Added columns of the resolved table that are no text.
_KINDS = {"match_probability": "DOUBLE", "is_dated": "BOOLEAN"}
#: What names an export: a row with the run's fingerprint and manifest. And the user's own table.
_RUN, _RESOLVED = "run", "resolved"
EXPORTED = (_RESOLVED, *_TABLES, _RUN)


def export_run(folder: str | Path, into: str, *, overwrite: bool = False) -> list[str]:
    """The folder of a finished run in; the names of the tables that a database now has of it out.

    A DuckDB file is made where it is not there. All tables come or none. The same run again changes nothing.

    Args:
        folder: of a finished run, with `resolved.*`.
        into: `duckdb:///FILE` or `postgresql://host/base`, and `?prefix=…&schema=…` where wanted.
        overwrite: replace tables of these names; a view is never replaced.

    Raises:
        UsageError: an address that is none, tables in the way, columns that DuckDB cannot hold.
        AffilError: no finished run, or the database is in use or cannot be written.
    """
    address, root = write_address(into), Path(folder)
    manifest = read_manifest(root)
    if manifest is None:
        raise UsageError(f"{root} is no finished run; give the output folder of `affil resolve`")
    with tempfile.TemporaryDirectory(prefix=".export-", dir=root) as scratch, store_of(address) as store:
        if _require_room(store, manifest["fingerprint"], overwrite):
            store.begin(drop=_taken(store))
            with store.made(Path(scratch)) as (database, local):
                _make(database, local, root, manifest)
            store.commit()
        return _taken(store)


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
        is_same = (source.server, source.path.resolve()) == (address.server, address.path.resolve())
        if is_same and source.table and source.table.casefold() in _names(address):
            raise UsageError(f"{source.table!r} is read and would be replaced; write {into}?prefix=… as well")
    if address.server is None and not address.path.exists():
        require_parent(address)
        return
    with store_of(address) as store:
        fingerprint = (read_manifest(Path(folder)) or {}).get("fingerprint", "")
        _require_room(store, fingerprint, overwrite)


def _names(address: Address) -> list[str]:
    return [f"{address.prefix}{name}".casefold() for name in EXPORTED]


def _taken(store: Store) -> list[str]:
    """Our names that something in the database has; to DuckDB `A` and `a` are one."""
    address = store.address
    if address.server:
        return [name for name in store.kinds() if name in [f"{address.prefix}{one}" for one in EXPORTED]]
    return [name for name in store.kinds() if name.casefold() in _names(address)]


def _require_room(store: Store, fingerprint: str, overwrite: bool) -> bool:
    """Whether there is something to do: not where this very run is there; else nothing may be in the way."""
    shown = store.address.shown
    if not store.has_schema():
        raise UsageError(f"{shown} has no schema {store.address.schema!r}; make it, or name another")
    known, taken = store.kinds(), _taken(store)
    views = [name for name in taken if known[name] == "view"]
    if views:
        raise UsageError(f"{shown}: {views[0]!r} is a view and stays; write ?prefix=… as well")
    if taken and fingerprint and _fingerprint(store, taken) == fingerprint:
        return False
    if taken and not overwrite:
        raise UsageError(
            f"{shown} has tables of these names ({', '.join(taken[:3])}); add --overwrite to replace them, or"
            " write ?prefix=… as well"
        )
    return True


def _fingerprint(store: Store, taken: list[str]) -> str | None:
    """Of the run whose tables are there, None where they are not all there or somebody else's."""
    prefix = store.address.prefix
    wanted = {f"{prefix}{name}".casefold() for name in (_RESOLVED, "mentions", "institutions", _RUN)}
    if not wanted <= {name.casefold() for name in taken}:
        return None
    found = store.first_row(f"{prefix}{_RUN}").get("fingerprint")
    return found if isinstance(found, str) else None


def _make(
    database: duckdb.DuckDBPyConnection, address: Address, root: Path, manifest: dict[str, Any]
) -> None:
    """All tables of a run, in a DuckDB."""
    for name in _TABLES:
        path = root / f"{name}.parquet"
        if path.exists():
            _create(database, address, name, f"SELECT * FROM read_parquet({literal(path)})")
    with tempfile.TemporaryDirectory(prefix=".export-", dir=root) as scratch:
        staged = _staged(root, manifest["reading"]["column"], Path(scratch))
        _create(database, address, _RESOLVED, _resolved(database, address, staged))
    values = (manifest["fingerprint"], manifest["created"], str(root), json.dumps(manifest))
    named = zip(values, ("fingerprint", "created", "folder", "manifest"), strict=True)
    _create(database, address, _RUN, f"SELECT {', '.join(f'{literal(v)} AS {n}' for v, n in named)}")


def _create(database: duckdb.DuckDBPyConnection, address: Address, name: str, select: str) -> None:
    database.execute(f"CREATE TABLE {qualified(address, address.prefix + name)} AS {select}")


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
    institutions = qualified(address, f"{address.prefix}institutions")
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
    known = database.sql(f"SELECT * FROM {qualified(address, address.prefix + 'institutions')}").columns
    fields = zip(plain[start:], map(staged.field, staged.columns[start:]), strict=True)
    return [
        f"i.{identifier(name)}"
        if name in known
        else f"CAST(NULLIF(CAST(s.{field} AS VARCHAR), '') AS {_KINDS.get(name, 'VARCHAR')})"
        for name, field in fields
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
