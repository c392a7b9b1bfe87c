"""Tables of a PostgreSQL server as input and output; rows come as Arrow batches, never as objects."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pipeline.errors import AffilError

if TYPE_CHECKING:
    import pyarrow as pa

#: Types that Arrow and Parquet have too; the others (numeric, json, uuid, interval …) become text.
_PLAIN = frozenset(
    [
        *("bool", "int2", "int4", "int8", "float4", "float8", "text", "varchar", "bpchar", "name"),
        *("date", "timestamp", "timestamptz", "bytea"),
    ]
)


@contextmanager
def connected(uri: str) -> Iterator[Any]:
    """A cursor in a transaction, which is undone with the block unless it was committed.

    Errors of the driver become one line.

    Raises:
        AffilError: there is no driver, or the server refuses.
    """
    try:
        import adbc_driver_postgresql.dbapi as driver
    except ImportError as error:
        raise AffilError(
            "PostgreSQL needs its driver: pip install 'affiliation-resolver[postgres]'"
        ) from error
    try:
        with driver.connect(uri) as connection, connection.cursor() as cursor:
            yield cursor
    except driver.Error as error:
        raise AffilError(f"{uri}: {' '.join(str(error).split())[:300]}; check the address") from error


def kinds_of(cursor: Any, schema: str) -> dict[str, str]:
    """Names in a schema, each with `table` or `view`; what belongs to another server is a view, too."""
    cursor.execute(
        "SELECT relname, CASE WHEN relkind IN ('r', 'p') THEN 'table' ELSE 'view' END FROM pg_class"
        " JOIN pg_namespace ON pg_namespace.oid = relnamespace"
        " WHERE nspname = $1 AND relkind IN ('r', 'p', 'v', 'm', 'f') ORDER BY relname",
        (schema,),
    )
    return dict(cursor.fetchall())


def rows(cursor: Any, table: str) -> Iterator[Any]:
    """A quoted table in; the names of its columns, then its rows in Arrow batches, out.

    Rows come as they lie on disk, so that the same table gives the same rows in the same order.
    """
    for setting in ("synchronize_seqscans = off", "max_parallel_workers_per_gather = 0"):
        cursor.execute(f"SET {setting}")
    cursor.execute(f"SELECT * FROM {table} LIMIT 0")
    schema: pa.Schema = cursor.fetch_record_batch().schema
    columns = [_selected(field) for field in schema]
    yield tuple(schema.names)
    named = ", ".join(f"{column} AS c{number}" for number, column in enumerate(columns))
    cursor.execute(f"SELECT {named} FROM {table}")
    yield from cursor.fetch_record_batch()


def _selected(field: pa.Field) -> str:
    name = '"' + field.name.replace('"', '""') + '"'
    kind = (field.metadata or {}).get(b"POSTGRESQL:type", b"").decode()
    return name if kind in _PLAIN else f"CAST({name} AS text)"
