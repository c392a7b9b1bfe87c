"""Import: a published registry to one Parquet file, checked; what cannot be used is counted, not hidden."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import AffilError
from pipeline.registry.files import RegistrySchemaError, csv_records, json_records, opened
from pipeline.registry.registry import Registry
from pipeline.registry.relations import Edges, in_cycles
from pipeline.registry.ror import json_row
from pipeline.registry.schema import DISPLAY, RELATIONS, STATUSES, Row, arrow_schema
from pipeline.registry.tables import table_reader
from pipeline.writing import write_parquet

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH = 4096


@dataclass(frozen=True)
class ImportReport:
    """What an import found: counts, and a line for everything that was left out or put right."""

    n_records: int
    n_names: int
    n_by_status: dict[str, int]
    warnings: list[str]


def import_registry(
    source: str | Path, output: str | Path, prepare: Callable[[Registry], pa.Table] | None = None
) -> ImportReport:
    """A published registry (zip, JSON, JSONL, CSV) to a registry file at `output`, whole or not at all.

    Args:
        source: the file as published.
        output: the file to write.
        prepare: what is kept in the file besides the records: with `pipeline.linking.prepare_names` runs
            need not prepare the names again; None keeps nothing.

    Raises:
        UsageError: no such file, or one of another schema.
        AffilError: a file that is truncated, broken or empty, or an output that cannot be written.
    """
    import pyarrow as pa

    counts = Counter[str]()
    rows = _checked(read_rows(Path(source)), counts)
    batches = []
    while part := list(islice(rows, _BATCH)):
        batches.append(pa.RecordBatch.from_pylist(part, arrow_schema()))
    if not batches:
        raise AffilError(f"{source} holds no record with a name; nothing was written")
    table = _with_sound_relations(pa.Table.from_batches(batches), counts)
    write_parquet(prepare(Registry(table)) if prepare else table, output)
    status = Counter(table["status"].to_pylist())
    n_names = int(np.diff(table["names"].combine_chunks().offsets.to_numpy()).sum())
    return ImportReport(len(table), n_names, dict(sorted(status.items())), _warnings(counts))


def read_rows(path: Path) -> Iterator[Row]:
    """A published registry to rows, one at a time.

    Raises:
        UsageError, AffilError: as `import_registry`.
    """
    with opened(path) as (kind, stream):
        if kind == "json":
            for where, record in json_records(stream, str(path)):
                yield json_row(record, where)
            return
        reader = None
        for where, cells in csv_records(stream, str(path)):
            reader = reader or table_reader(list(cells), str(path))
            try:
                yield reader(cells)
            except ValueError as error:
                raise RegistrySchemaError(f"{where}: {error}; correct the cell") from error


def _checked(rows: Iterator[Row], counts: Counter[str]) -> Iterator[Row]:
    """Rows with an id that no earlier one has and with a name, of which one is the display name."""
    seen: set[str] = set()
    for row in rows:
        row["names"] = [n for n in row["names"] if n["value"] and n["value"].strip()]
        if not row["id"] or not row["names"]:
            counts["nameless"] += 1
            continue
        if row["id"] in seen:
            counts["repeated"] += 1
            continue
        seen.add(row["id"])
        if row["status"] not in STATUSES:
            counts["status"] += 1
            row["status"] = "active"
        if not any(DISPLAY in n["kinds"] for n in row["names"]):
            row["names"][0]["kinds"] = [DISPLAY, *row["names"][0]["kinds"]]
        counts["placeless"] += not any(p["country_code"] for p in row["places"])
        yield row


def _with_sound_relations(table: pa.Table, counts: Counter[str]) -> pa.Table:
    """The table without relations to records that it lacks, of unknown kinds, and without cycles."""
    import pyarrow as pa

    number = {record: i for i, record in enumerate(table["id"].to_pylist())}
    lists = table["relations"].combine_chunks()
    kind, other = lists.values.field("type").to_pylist(), lists.values.field("id").to_pylist()
    source = np.repeat(np.arange(len(table)), np.diff(lists.offsets.to_numpy()))
    target = np.array([number.get(i, -1) for i in other], np.int64)
    is_known = np.array([k in RELATIONS for k in kind], bool)
    is_kept = (target >= 0) & is_known
    cyclic = np.zeros(len(kind), bool)
    edges = Edges(
        source[is_kept], target[is_kept], [k for k, kept in zip(kind, is_kept, strict=True) if kept]
    )
    cyclic[is_kept] = in_cycles(edges, len(table))
    counts["missing"] = int((target < 0).sum())
    counts["unknown kind"] = int((~is_known & (target >= 0)).sum())
    counts["cyclic"] = int(cyclic.sum())
    is_kept &= ~cyclic
    ends = np.concatenate([[0], np.cumsum(np.bincount(source[is_kept], minlength=len(table)))])
    kept: Any = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), lists.values.filter(pa.array(is_kept)))
    at = table.schema.get_field_index("relations")
    return table.set_column(at, table.schema.field(at), kept).replace_schema_metadata(table.schema.metadata)


def _warnings(counts: Counter[str]) -> list[str]:
    texts = {
        "nameless": "records without an id or a name were left out",
        "repeated": "records have the id of an earlier one and were left out",
        "status": f"records have a status that is none of {', '.join(STATUSES)} and count as active",
        "placeless": "records have no country that is known; they are linked by name alone",
        "missing": "relations lead to records that the file lacks and were left out",
        "unknown kind": f"relations are none of {', '.join(RELATIONS)} and were left out",
        "cyclic": "relations make a record its own parent or successor in a circle and were left out",
    }
    return [f"{counts[key]:,} {text}" for key, text in texts.items() if counts[key]]
