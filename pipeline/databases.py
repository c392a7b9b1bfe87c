"""Tables of databases as input and output: addresses, opening, reading; names are quoted, never run."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from blocking.memory import database_limit
from pipeline import postgres
from pipeline.errors import AffilError, UsageError

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

SCHEME, SERVER_SCHEMES = "duckdb", ("postgresql", "postgres")
#: Other databases that people name by address; how to get at them is in docs/databases.md.
OTHER_SCHEMES = ("mysql", "mariadb", "sqlite", "mssql", "oracle", "snowflake")
_READ_KEYS, _WRITE_KEYS = ("table", "schema", "column"), ("prefix", "schema")
_BATCH_ROWS = 65_536
#: DuckDB goes to disk beyond this, next to the database.
_MEMORY_LIMIT = 2_000_000_000
#: Types of DuckDB that Parquet lacks, or that would come back as something else; they become text.
_NOT_IN_PARQUET = re.compile(r"\b(INTERVAL|UNION|BIT|BIGNUM|VARIANT|GEOMETRY|TIME WITH TIME ZONE)\b")


@dataclass(frozen=True)
class Address:
    """What `duckdb:///file.db?table=works&column=aff` or `postgresql://host/base?table=works` says.

    Attributes:
        given: as the user wrote it.
        path: the database file; nowhere for a server.
        server: what the driver connects to, without the parts that are ours; None for a file.
        schema: schema of the table, or of the tables to write.
        table: the table or view to read; None in an address to write to.
        column: the column of affiliations, where the address names it.
        prefix: what the names of written tables begin with.
    """

    given: str
    path: Path
    schema: str = "main"
    table: str | None = None
    column: str | None = None
    prefix: str = "affil_"
    server: str | None = None

    @property
    def shown(self) -> str:
        """The database, for messages."""
        return self.server or str(self.path)


def is_address(given: object) -> bool:
    """Whether an input is the address of a database, of any kind, not a file."""
    found = re.match(r"([a-z0-9]+)(?:\+\w+)?://", str(given), re.IGNORECASE)
    return found is not None and found[1].lower() in (SCHEME, *SERVER_SCHEMES, *OTHER_SCHEMES)


def read_address(given: str) -> Address:
    """The address of a table to read: `duckdb:///FILE?table=NAME`, and `schema`, `column` where wanted.

    Or `postgresql://user@host:port/base?table=NAME`, whose other parts go to the server's own library.

    Three slashes stand before a path from here, four before one from the root; `%3F` is a `?` in a name.

    Raises:
        UsageError: another kind of database, a part that is missing or unknown.
    """
    return _address(given, _READ_KEYS)


def write_address(given: str) -> Address:
    """The address of tables to write: `duckdb:///FILE`, and `prefix`, `schema` where wanted.

    Raises:
        UsageError: another kind of database, a part that is unknown.
    """
    return _address(given, _WRITE_KEYS)


def _address(given: str, keys: Sequence[str]) -> Address:
    parts = urlsplit(given)
    scheme = parts.scheme.lower().partition("+")[0]
    if scheme not in (SCHEME, *SERVER_SCHEMES):
        # Without the rest of it: it may hold a password.
        raise UsageError(
            f"{scheme or given}: DuckDB (duckdb:///FILE) and PostgreSQL (postgresql://…) can be read and"
            " written; copy the table into one, or into Parquet (docs/databases.md)"
        )
    is_server = scheme in SERVER_SCHEMES
    if is_server and parts.password is not None:
        raise UsageError(
            "no password in an address, which histories and manifests keep; set PGPASSWORD, or use ~/.pgpass"
        )
    if not is_server and (parts.netloc or parts.fragment or not parts.path.strip("/")):
        raise UsageError(f"{given}: write duckdb:///FILE, with three slashes, %23 for a # in its name")
    try:
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise UsageError(f"{given}: {error}; write ?name=value&name=value after the file") from None
    own = [(k, v) for k, v in pairs if not is_server or k in (*_READ_KEYS, *_WRITE_KEYS)]
    if any(k not in keys or not v for k, v in own) or len(dict(own)) < len(own):
        raise UsageError(f"{given}: {', '.join(keys)} can stand after the ?, each once and with a value")
    if not is_server:
        return Address(given, Path(unquote(parts.path)[1:]), **dict(own))
    query = urlencode([pair for pair in pairs if pair not in own])
    server = parts._replace(scheme="postgresql", query=query).geturl()
    return Address(given, Path(os.devnull), server=server, **{"schema": "public"} | dict(own))


def identifier(name: str) -> str:
    """A name in, the same quoted for SQL out."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str | Path) -> str:
    """Text in, the same as an SQL string out."""
    return "'" + str(text).replace("'", "''") + "'"


@contextmanager
def opened(path: Path, shown: str, *, read_only: bool) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database file, open; errors of DuckDB become one line that names the file.

    Nothing is fetched: extensions are not installed on the way.
    """
    import duckdb

    config: dict[str, Any] = {
        "autoinstall_known_extensions": "false",
        "memory_limit": database_limit(_MEMORY_LIMIT),
    }
    try:
        database = duckdb.connect(str(path), read_only=read_only, config=config)
        try:
            yield database
        finally:
            database.close()
    except duckdb.Error as error:
        raise _plain(error, shown) from error


def _plain(error: duckdb.Error, shown: str) -> AffilError:
    text = " ".join(str(error).split())
    if "Could not set lock" in text or "different configuration" in text:
        holder = re.search(r"PID \d+", text)
        who = f"another program ({holder[0]})" if holder else "this or another program"
        return AffilError(f"{shown} is open in {who}; close it there and run again")
    return AffilError(f"{shown}: {text[:300]}; check the database with DuckDB {_version()}")


def _version() -> str:
    import duckdb

    return str(duckdb.__version__)


def require_database(address: Address) -> None:
    """Refuse a database file that is not there; whether a server is, reading finds out."""
    if address.server:
        return
    if address.path.is_dir():
        raise UsageError(f"{address.path} is a folder; name a DuckDB file")
    if not address.path.is_file():
        raise UsageError(f"no such file: {address.path}")


def kinds_of(database: duckdb.DuckDBPyConnection, schema: str) -> dict[str, str]:
    """Names in a schema of the open file, each with `table` or `view`."""
    found = database.execute(
        "SELECT table_name, CASE table_type WHEN 'VIEW' THEN 'view' ELSE 'table' END"
        " FROM information_schema.tables"
        " WHERE table_catalog = current_database() AND lower(table_schema) = lower(?) ORDER BY table_name",
        [schema],
    )
    return dict(found.fetchall())


def read_rows(address: Address) -> tuple[tuple[str, ...], Iterator[pa.RecordBatch]]:
    """The address of a table or view in, its column names and its rows in Arrow batches out.

    One thread reads, so that the same table gives the same batches. The rows are those of one moment.

    Raises:
        UsageError: no such table; the message lists those there are.
        AffilError: the file is no database or is in use, or the view cannot be read.
    """
    require_database(address)
    stream = _server_stream(address) if address.server else _stream(address)
    return next(stream), stream


def _server_stream(address: Address) -> Iterator[Any]:
    assert address.server is not None
    with postgres.connected(address.server) as cursor:
        known = postgres.kinds_of(cursor, address.schema)
        if address.table is None or address.table not in known:
            raise UsageError(_no_table(address, list(known)))
        yield from postgres.rows(cursor, f"{identifier(address.schema)}.{identifier(address.table)}")


def _stream(address: Address) -> Iterator[Any]:
    """The column names, then the batches: the connection lives as long as somebody reads."""
    with opened(address.path, str(address.path), read_only=True) as database:
        known = kinds_of(database, address.schema)
        if address.table is None or address.table.casefold() not in {name.casefold() for name in known}:
            raise UsageError(_no_table(address, list(known)))
        database.execute("SET threads = 1")
        table = f"{identifier(address.schema)}.{identifier(address.table)}"
        described = database.sql(f"SELECT * FROM {table}")
        columns = [
            f"CAST({identifier(name)} AS VARCHAR)" if _NOT_IN_PARQUET.search(str(kind)) else identifier(name)
            for name, kind in zip(described.columns, described.types, strict=True)
        ]
        yield tuple(described.columns)
        named = ", ".join(f"{column} AS c{number}" for number, column in enumerate(columns))
        yield from database.sql(f"SELECT {named} FROM {table}").to_arrow_reader(_BATCH_ROWS)


def _no_table(address: Address, known: list[str]) -> str:
    usual = "public" if address.server else "main"
    where = address.shown + ("" if address.schema == usual else f", schema {address.schema!r},")
    shown = ", ".join(known[:20]) + (f" … ({len(known)} in all)" if len(known) > 20 else "")
    there = f"it has {shown}" if known else "it has none"
    if address.table is None:
        return f"{address.given}: which table? add ?table=NAME; {there}"
    near = difflib.get_close_matches(address.table, known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"{where} has no table {address.table!r}; {there}{hint}"
