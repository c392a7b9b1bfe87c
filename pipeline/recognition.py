"""Recognition: mentions to the known records that their strings name, chosen by place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipeline.concepts import concept_tokens
from pipeline.known_names import Found, KnownNames
from pipeline.records import KnownRecords
from pipeline.rows import list_of, text_array, tuples_of
from pipeline.text import compare

if TYPE_CHECKING:
    import pyarrow as pa

Place = tuple[str | None, str | None]
#: An acronym of fewer letters names too many organisations to be taken without a country.
_SAFE_ACRONYM = 4
#: Attributes of `KnownRecords`: lists of records, and places.
_RECORDS = ("organization", "within", "mentioned")
_PLACES = ("country_code", "city")


def recognize(
    names: KnownNames, organization: Sequence[str], context: Sequence[str], place: Sequence[Place]
) -> KnownRecords:
    """What a table of known names says of mentions.

    Args:
        names: the table.
        organization: concept text of each mention's organisation, "" for none.
        context: concept text of each mention's context.
        place: (country code, city) of each mention, None for what is unknown.
    """
    texts = [text.split() for text in context]
    main: list[tuple[int, ...]] = []
    within: list[tuple[int, ...]] = []
    mentioned: list[tuple[int, ...]] = []
    filled: list[Place] = []
    for own, text, found, at in zip(organization, texts, names.within(texts), place, strict=True):
        called, called_in_part, anywhere = _of_mention(names, own.split(), text, found, at)
        main.append(tuple(sorted(called)))
        within.append(tuple(sorted(called_in_part)))
        mentioned.append(tuple(sorted(anywhere)))
        filled.append(_filled(names, called, at))
    countries, cities = [country for country, _ in filled], [city for _, city in filled]
    return KnownRecords(main, within, mentioned, countries, cities, names.source)


def _of_mention(
    names: KnownNames, own: Sequence[str], text: Sequence[str], found: Sequence[Found], place: Place
) -> tuple[set[int], set[int], set[int]]:
    """Records that the organisation is called by, that part of its name is called by, that are named at all.

    A longer name that holds the whole organisation outranks it: parsing can cut `University of Massachusetts
    Medical School` short.
    """
    stands = [(set(text[f.start : f.end]), _fitting(names, f.records, place)) for f in found]
    stands = [(tokens, records) for tokens, records in stands if records]
    words = set(own)
    longer = next((records for tokens, records in stands if words and words <= tokens), set())
    main = longer or _called(names, own, place)
    within = set() if main else next((records for tokens, records in stands if tokens < words), set())
    return main, within, main.union(*(records for _, records in stands))


def _called(names: KnownNames, own: Sequence[str], place: Place) -> set[int]:
    """Records that an organisation is called by, with its city behind it or bare."""
    if not own:
        return set()
    with_city = names.named([*own, *concept_tokens(compare(place[1]))]) if place[1] else ()
    records = _fitting(names, with_city, place) or _fitting(names, names.named(own), place)
    is_doubtful = len(own) == 1 and place[0] is None and (len(records) > 1 or len(own[0]) < _SAFE_ACRONYM)
    return set() if is_doubtful else records


def _fitting(names: KnownNames, records: Sequence[int], place: Place) -> set[int]:
    """Records whose country is not another; of several, those of the city, and those that still exist."""
    country, city = place
    places = {r: names.places[names.place[r]] for r in records}
    if country is not None:
        places = {r: p for r, p in places.items() if p[0] in (country, None)}
    for narrower in (
        {r for r, p in places.items() if city is not None and p[1] == city},
        {r for r in places if names.is_current[r]},
    ):
        if len(places) > 1 and narrower & places.keys():
            places = {r: p for r, p in places.items() if r in narrower}
    return set(places)


def _filled(names: KnownNames, records: set[int], place: Place) -> Place:
    """A mention's place, and where it names none that of its only record."""
    if len(records) != 1:
        return place
    country, city = names.places[names.place[next(iter(records))]]
    return place[0] or country, place[1] or city


def known_columns(known: KnownRecords) -> dict[str, pa.Array]:
    """What is known of mentions to Arrow columns, by names that begin with `known_`."""
    import pyarrow as pa

    columns = {f"known_{name}": pa.array(getattr(known, name), pa.list_(pa.int32())) for name in _RECORDS}
    return columns | {f"known_{name}": text_array(getattr(known, name)) for name in _PLACES}


def known_records(table: pa.Table, known_names: str) -> KnownRecords | None:
    """Columns of `known_columns` back to what the table of that name says; None where there are none."""
    if f"known_{_RECORDS[0]}" not in table.column_names:
        return None
    columns: dict[str, Any] = {name: tuples_of(table.column(f"known_{name}")) for name in _RECORDS}
    columns |= {name: list_of(table.column(f"known_{name}")) for name in _PLACES}
    return KnownRecords(**columns, table=known_names)
