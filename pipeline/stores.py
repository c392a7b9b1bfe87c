"""Where tables of a run can go: a DuckDB file or a PostgreSQL server, each in one transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pipeline import postgres
from pipeline.databases import Address, identifier, kinds_of, opened
from pipeline.errors import UsageError

if TYPE_CHECKING:
    import duckdb

_BATCH_ROWS = 65_536


class Store(Protocol):
    """An open database with a place for tables; what is not committed has not happened."""

    address: Address

    def has_schema(self) -> bool:
        """Whether the schema of the address is there."""
        ...

    def kinds(self) -> dict[str, str]:
        """Names in the schema, each with `table` or `view`."""
        ...

    def first_row(self, name: str) -> dict[str, Any]:
        """The first row of a table by its columns; nothing of an empty one."""
        ...

    def begin(self, drop: list[str]) -> None:
        """Begin a transaction, without these tables."""
        ...

    def made(self, scratch: Path) -> Any:
        """A context in which tables are made in DuckDB, at the address that it gives with the connection."""
        ...

    def commit(self) -> None:
        """Keep what was made."""
        ...


@contextmanager
def store_of(address: Address) -> Iterator[Store]:
    """The database of an address, open for writing; a file that was made for nothing is taken away again.

    Raises:
        UsageError: a folder, or a new file in a folder or with a schema that is not there.
        AffilError: the file is in use or no database, the server refuses.
    """
    if address.server is not None:
        with postgres.connected(address.server) as cursor:
            yield _Server(address, cursor)
        return
    if address.path.is_dir():
        raise UsageError(f"{address.path} is a folder; name a DuckDB file")
    is_new = not address.path.exists()
    if is_new:
        require_parent(address)
    try:
        with opened(address.path, str(address.path), read_only=False) as database:
            yield _File(address, database)
    except BaseException:
        if is_new:
            for path in (address.path, address.path.with_name(f"{address.path.name}.wal")):
                path.unlink(missing_ok=True)
        raise


def require_parent(address: Address) -> None:
    """Refuse a new file where no file can be, or with a schema of its own."""
    if not address.path.parent.is_dir():
        raise UsageError(f"no such folder: {address.path.parent}; make it, or write to another file")
    if address.schema != "main":
        raise UsageError(f"{address.path} is new and has no schema {address.schema!r}; make it first")


def qualified(address: Address, name: str) -> str:
    """A table of the address's schema, quoted."""
    return f"{identifier(address.schema)}.{identifier(name)}"


@dataclass
class _File:
    address: Address
    database: duckdb.DuckDBPyConnection

    def has_schema(self) -> bool:
        found = self.database.execute(
            "SELECT 1 FROM duckdb_schemas() WHERE lower(schema_name) = lower(?)"
            " AND database_name = current_database()",
            [self.address.schema],
        )
        return bool(found.fetchall())

    def kinds(self) -> dict[str, str]:
        return kinds_of(self.database, self.address.schema)

    def first_row(self, name: str) -> dict[str, Any]:
        found = self.database.execute(f"SELECT * FROM {qualified(self.address, name)} LIMIT 1")
        columns = [column[0] for column in found.description or ()]
        return next((dict(zip(columns, row, strict=True)) for row in found.fetchall()), {})

    def begin(self, drop: list[str]) -> None:
        self.database.begin()
        for name in drop:
            self.database.execute(f"DROP TABLE {qualified(self.address, name)}")

    @contextmanager
    def made(self, scratch: Path) -> Iterator[tuple[duckdb.DuckDBPyConnection, Address]]:
        yield self.database, self.address

    def commit(self) -> None:
        self.database.commit()


@dataclass
class _Server:
    address: Address
    cursor: Any

    def has_schema(self) -> bool:
        self.cursor.execute("SELECT 1 FROM pg_namespace WHERE nspname = $1", (self.address.schema,))
        return bool(self.cursor.fetchall())

    def kinds(self) -> dict[str, str]:
        return postgres.kinds_of(self.cursor, self.address.schema)

    def first_row(self, name: str) -> dict[str, Any]:
        self.cursor.execute(f"SELECT * FROM {qualified(self.address, name)} LIMIT 1")
        return next(iter(self.cursor.fetch_arrow_table().to_pylist()), {})

    def begin(self, drop: list[str]) -> None:
        # The driver begins a transaction by itself.
        for name in drop:
            self.cursor.execute(f"DROP TABLE {qualified(self.address, name)}")

    @contextmanager
    def made(self, scratch: Path) -> Iterator[tuple[duckdb.DuckDBPyConnection, Address]]:
        """Made in a file of their own, then sent as Arrow batches."""
        local = replace(self.address, path=scratch / "tables.db", schema="main", server=None)
        with opened(local.path, str(local.path), read_only=False) as database:
            yield database, local
            for name in kinds_of(database, local.schema):
                batches = database.sql(f"SELECT * FROM {qualified(local, name)}").to_arrow_reader(_BATCH_ROWS)
                self.cursor.adbc_ingest(name, batches, mode="create", db_schema_name=self.address.schema)

    def commit(self) -> None:
        self.cursor.connection.commit()
