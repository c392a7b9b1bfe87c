"""Authorships: for every string of every author of a work, the institutions that it names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipeline.folding import row_numbers
from pipeline.linked_tables import RecordsOfYears
from pipeline.records import MAIN, PARENT
from pipeline.rows import StagedRows
from pipeline.tables import RunFrames
from pipeline.writing import atomic_path

if TYPE_CHECKING:
    import pyarrow as pa


def write_authorships(
    staged: StagedRows, columns: tuple[str, ...], sources: Path, frames: RunFrames, path: Path
) -> None:
    """Staged rows and the tables of a run in, one row a row of the input, in its order, out (Parquet).

    Rows without a string, and strings that name no organisation, stay: `is_assigned` is false.

    Args:
        staged: what `pipeline.reading.stage_rows` returned.
        columns: the user's columns of work, author and position.
        sources: the file of `write_sources`, which says which string each row holds.
        frames: the tables of the run.
        path: the file to write.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    has_registry = "registry_id" in frames.institutions
    is_by_year = has_registry and staged.year_column is not None
    found = _of_strings(frames, is_by_year=is_by_year)
    schema = authorship_schema(has_registry=has_registry, is_by_year=is_by_year)
    told = found.select(schema.names[_N_OF_ROW:])
    numbers = row_numbers(staged, found)
    fields = [staged.field(name) for name in (*columns, staged.column)]
    ids = pq.read_table(sources, columns=["affiliation_id"]).column("affiliation_id")
    n_done = 0
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for batch in pq.ParquetFile(staged.path).iter_batches(columns=fields):
            mine = ids.slice(n_done, len(batch)).combine_chunks()
            at = numbers.slice(n_done, len(batch)).combine_chunks()
            n_done += len(batch)
            texts = [_text(batch.column(field)) for field in fields]
            # What no string of the run says has the last row: nothing.
            arrays = [*texts, mine, *told.take(pc.fill_null(at, len(found) - 1)).columns]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


#: Columns of `authorship_schema` that the row itself says.
_N_OF_ROW = 5


def authorship_schema(*, has_registry: bool = False, is_by_year: bool = False) -> pa.Schema:
    """Names and types of the columns of `authorships.parquet`."""
    import pyarrow as pa

    text, texts = pa.string(), pa.list_(pa.string())
    names = ("work_id", "author_id", "position", "affiliation", "affiliation_id")
    told: list[tuple[str, pa.DataType]] = [
        ("entity_ids", texts),
        ("preferred_names", texts),
        ("match_probabilities", pa.list_(pa.float64())),
        ("parent_entity_ids", texts),
        ("country_code", text),
        ("is_assigned", pa.bool_()),
    ]
    if has_registry:
        told += [("registry_ids", texts), ("registry_parent_ids", texts)]
    if is_by_year:
        told += [("registry_ids_then", texts), ("is_dated", pa.list_(pa.bool_()))]
    return pa.schema([*((name, text) for name in names), *told])


def _of_strings(frames: RunFrames, *, is_by_year: bool) -> pa.Table:
    """What is told of each string that names an organisation, and a last row for all others.

    The main institution comes first; the country is that which the string states for its main organisation,
    else that of the institution. By year there is a row for each span of years (`from_year`, `to_year`).
    """
    import pyarrow as pa

    known = [c for c in _Record._fields if c in frames.institutions]
    columns = zip(*(frames.institutions[c].tolist() for c in known), strict=True)
    records = {record.entity_id: record for record in (_Record(*values) for values in columns)}
    mentions = frames.mentions[frames.mentions["has_organization"]]
    named = zip(*(mentions[c].tolist() for c in _Named._fields), strict=True)
    years = RecordsOfYears.of(frames.timeline if is_by_year else None)
    told: list[_Told] = []
    for string, own in groupby(map(_Named._make, named), attrgetter("affiliation_id")):
        rows = list(own)
        spans = years.spans([row.mention_id for row in rows])
        told += [_told(string, span, rows, records, years) for span in spans]
    told.append(_Told(None, *_NO_SPAN))
    kinds = {"affiliation_id": pa.string(), "from_year": pa.int32(), "to_year": pa.int32()}
    schema = authorship_schema(has_registry=True, is_by_year=True)
    kinds |= {name: schema.field(name).type for name in schema.names[_N_OF_ROW:]}
    table = pa.table({n: pa.array([getattr(t, n) for t in told], kind) for n, kind in kinds.items()})
    return table if is_by_year else table.drop_columns(["from_year", "to_year"])


#: The last row is of no string, and so of no year.
_NO_SPAN = (0, 0)


class _Named(NamedTuple):
    """What is asked of a mention."""

    affiliation_id: str
    mention_id: str
    role: str
    entity_id: str
    match_probability: float
    country_code: object


class _Record(NamedTuple):
    """What is asked of an institution; the last two only where there is a registry."""

    entity_id: str
    preferred_name: str
    country_code: object
    registry_id: object = None
    parent_ids: Sequence[str] = ()


def _told(
    string: str,
    span: tuple[int, int],
    rows: Sequence[_Named],
    records: Mapping[str, _Record],
    years: RecordsOfYears,
) -> _Told:
    """The mentions of a string, and the records of all institutions, to what is said of some years."""
    told = _Told(string, *span)
    for row in rows:
        record = records[row.entity_id]
        registry_id = _known(record.registry_id)
        if row.role == PARENT:
            told.parent_entity_ids.append(row.entity_id)
        elif row.entity_id not in told.entity_ids:
            told.entity_ids.append(row.entity_id)
            told.preferred_names.append(record.preferred_name)
            told.match_probabilities.append(row.match_probability)
            told.registry_ids.append(registry_id)
            then, is_dated = years.at(row.mention_id, registry_id, span[0])
            told.registry_ids_then.append(then)
            told.is_dated.append(is_dated)
            told.registry_parent_ids += list(record.parent_ids)
        if row.role == MAIN:
            told.country_code = _known(row.country_code) or _known(record.country_code)
    told.registry_parent_ids = list(dict.fromkeys(told.registry_parent_ids))
    return told


@dataclass
class _Told:
    """What the run says of one string in some years."""

    affiliation_id: str | None
    from_year: int
    to_year: int
    entity_ids: list[str] = field(default_factory=list)
    preferred_names: list[str] = field(default_factory=list)
    match_probabilities: list[float] = field(default_factory=list)
    parent_entity_ids: list[str] = field(default_factory=list)
    country_code: str | None = None
    registry_ids: list[str | None] = field(default_factory=list)
    registry_parent_ids: list[str] = field(default_factory=list)
    registry_ids_then: list[str | None] = field(default_factory=list)
    is_dated: list[bool] = field(default_factory=list)

    @property
    def is_assigned(self) -> bool:
        return bool(self.entity_ids or self.parent_entity_ids)


def _known(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _text(column: pa.Array) -> pa.Array:
    """A column of the user as text, what is empty as null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    text = column.cast(pa.string())
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
