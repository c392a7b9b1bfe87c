"""The file of an imported registry: one Parquet row a record, with a version in its metadata."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    import pyarrow as pa

#: Under this key of the Parquet metadata stands the version; a file of another version is refused.
FORMAT_KEY, FORMAT = b"affiliation-resolver registry", b"1"

#: Column that an import adds: the names as models compare them (`pipeline.linking.prepared`).
NAME_FORMS = "name_forms"

#: What a name can be; one name can be several of them.
DISPLAY, LABEL, ALIAS, ACRONYM = "display", "label", "alias", "acronym"
KINDS = (DISPLAY, LABEL, ALIAS, ACRONYM)
#: `active`; `inactive`: the organisation is no more; `withdrawn`: the record was a mistake or a duplicate.
STATUSES = ("active", "inactive", "withdrawn")
PARENT, CHILD, SUCCESSOR, PREDECESSOR, RELATED = "parent", "child", "successor", "predecessor", "related"
RELATIONS = (PARENT, CHILD, SUCCESSOR, PREDECESSOR, RELATED)


class Name(TypedDict):
    """One name: its text, what it is (of `KINDS`), its language as ISO 639-1 or None."""

    value: str
    kinds: list[str]
    lang: str | None


class Place(TypedDict):
    """Where an organisation is; country as ISO 3166-1 alpha-2, degrees north and east (WGS 84)."""

    city: str | None
    region: str | None
    country_code: str | None
    latitude: float | None
    longitude: float | None
    geonames_id: int | None


class ExternalId(TypedDict):
    """Identifiers of one other system, its name in lower case; the preferred one first."""

    type: str
    values: list[str]


class Relation(TypedDict):
    """A record that this one has to do with: `parent` means that the other is the parent of this one."""

    type: str
    id: str


class Row(TypedDict):
    """One record, whatever the form that it was published in."""

    id: str
    status: str
    names: list[Name]
    places: list[Place]
    types: list[str]
    domains: list[str]
    links: list[str]
    established: int | None
    external_ids: list[ExternalId]
    relations: list[Relation]


def arrow_schema() -> pa.Schema:
    """Columns and types of the file."""
    import pyarrow as pa

    text, texts = pa.string(), pa.list_(pa.string())
    place: list[tuple[str, Any]] = [("city", text), ("region", text), ("country_code", text)]
    place += [("latitude", pa.float64()), ("longitude", pa.float64()), ("geonames_id", pa.int64())]
    return pa.schema(
        [
            ("id", text),
            ("status", text),
            ("names", pa.list_(pa.struct([("value", text), ("kinds", texts), ("lang", text)]))),
            ("places", pa.list_(pa.struct(place))),
            ("types", texts),
            ("domains", texts),
            ("links", texts),
            ("established", pa.int64()),
            ("external_ids", pa.list_(pa.struct([("type", text), ("values", texts)]))),
            ("relations", pa.list_(pa.struct([("type", text), ("id", text)]))),
        ],
        metadata={FORMAT_KEY: FORMAT},
    )
