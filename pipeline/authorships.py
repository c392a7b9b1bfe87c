"""Authorships: for every string of every author of a work, the institutions that it names."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

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

    found = _of_strings(frames)
    known, told = found.column("affiliation_id").combine_chunks(), found.drop_columns(["affiliation_id"])
    fields = [staged.field(name) for name in (*columns, staged.column)]
    ids = pq.read_table(sources, columns=["affiliation_id"]).column("affiliation_id")
    schema = authorship_schema()
    n_done = 0
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for batch in pq.ParquetFile(staged.path).iter_batches(columns=fields):
            mine = ids.slice(n_done, len(batch)).combine_chunks()
            n_done += len(batch)
            texts = [_text(batch.column(field)) for field in fields]
            # What no string of the run says has the last row: nothing.
            at = pc.fill_null(pc.index_in(mine, value_set=known), len(found) - 1)
            arrays = [*texts, mine, *told.take(at).columns]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def authorship_schema() -> pa.Schema:
    """Names and types of the columns of `authorships.parquet`."""
    import pyarrow as pa

    text, texts = pa.string(), pa.list_(pa.string())
    names = ("work_id", "author_id", "position", "affiliation", "affiliation_id")
    return pa.schema([*((name, text) for name in names), *_told_schema(text, texts)])


def _told_schema(text: pa.DataType, texts: pa.DataType) -> list[tuple[str, pa.DataType]]:
    import pyarrow as pa

    return [
        ("entity_ids", texts),
        ("preferred_names", texts),
        ("match_probabilities", pa.list_(pa.float64())),
        ("parent_entity_ids", texts),
        ("country_code", text),
        ("is_assigned", pa.bool_()),
    ]


def _of_strings(frames: RunFrames) -> pa.Table:
    """What is told of each string that names an organisation, and a last row for all others.

    The main institution comes first; the country is that which the string states for its main organisation,
    else that of the institution.
    """
    import pyarrow as pa

    records = frames.institutions.set_index("entity_id")
    name, place = records["preferred_name"].to_dict(), records["country_code"].to_dict()
    strings: dict[str | None, _Told] = {}
    columns = ("affiliation_id", "has_organization", "role", "entity_id", "match_probability", "country_code")
    for string, is_named, role, entity, probability, country in zip(
        *(frames.mentions[column].tolist() for column in columns), strict=True
    ):
        if is_named:
            told = strings.setdefault(string, _Told())
            if role == PARENT:
                told.parents.append(entity)
            elif entity not in told.entities:
                told.entities.append(entity)
                told.names.append(name[entity])
                told.probabilities.append(probability)
            if role == MAIN:
                told.country = _known(country) or _known(place[entity])
    strings[None] = _Told()
    return pa.table(
        {"affiliation_id": pa.array(list(strings), pa.string())}
        | {
            column: pa.array([getattr(told, attribute) for told in strings.values()], kind)
            for (column, kind), attribute in zip(
                _told_schema(pa.string(), pa.list_(pa.string())),
                ("entities", "names", "probabilities", "parents", "country", "is_assigned"),
                strict=True,
            )
        }
    )


@dataclass
class _Told:
    """What the run says of one string."""

    entities: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    probabilities: list[float] = field(default_factory=list)
    parents: list[str] = field(default_factory=list)
    country: str | None = None

    @property
    def is_assigned(self) -> bool:
        return bool(self.entities or self.parents)


def _known(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _text(column: pa.Array) -> pa.Array:
    """A column of the user as text, what is empty as null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    text = column.cast(pa.string())
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
