"""ROR's records in JSON (schema 2, schema 1, and a flat form of either) to rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.registry.files import RegistrySchemaError
from pipeline.registry.schema import ACRONYM, ALIAS, DISPLAY, LABEL, ExternalId, Name, Place, Row

_KIND_OF = {"ror_display": DISPLAY, "label": LABEL, "alias": ALIAS, "acronym": ACRONYM}


def json_row(record: Mapping[str, Any], where: str) -> Row:
    """One record, and where it stands, to a row.

    Raises:
        RegistrySchemaError: it has neither the names of schema 2 nor the name of schema 1.
    """
    if not isinstance(record.get("id"), str) or not ("names" in record or "name" in record):
        raise RegistrySchemaError(
            f"{where}: not a registry record (its keys: {', '.join(list(record)[:8]) or 'none'}); it needs"
            " id, and names (ROR schema 2) or name (schema 1)"
        )
    try:
        return Row(
            id=record["id"].strip(),
            status=str(record.get("status") or "active").lower(),
            names=_names(record) if "names" in record else _names_v1(record),
            places=_places(record),
            types=[str(t).lower() for t in record.get("types") or []],
            domains=[str(d) for d in record.get("domains") or []],
            links=_links(record),
            established=record.get("established"),
            external_ids=_external_ids(record.get("external_ids") or []),
            relations=[
                {"type": str(r["type"]).lower(), "id": str(r["id"])}
                for r in record.get("relationships") or []
            ],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise RegistrySchemaError(
            f"{where}: a registry record of a form that is not known ({reason})"
        ) from error


def _names(record: Mapping[str, Any]) -> list[Name]:
    return [
        Name(
            value=n["value"],
            kinds=[_KIND_OF[t] for t in n.get("types") or [] if t in _KIND_OF],
            lang=n.get("lang"),
        )
        for n in record["names"]
    ]


def _names_v1(record: Mapping[str, Any]) -> list[Name]:
    found = [Name(value=record["name"], kinds=[DISPLAY, LABEL], lang=None)]
    found += [Name(value=n["label"], kinds=[LABEL], lang=n.get("iso639")) for n in record.get("labels") or []]
    for key, kind in (("aliases", ALIAS), ("acronyms", ACRONYM)):
        found += [Name(value=value, kinds=[kind], lang=None) for value in record.get(key) or []]
    return found


def _places(record: Mapping[str, Any]) -> list[Place]:
    if "addresses" in record:
        country = (record.get("country") or {}).get("country_code")
        return [_place_v1(a, country) for a in record["addresses"] or [{}]]
    return [_place(location) for location in record.get("locations") or []]


def _place(location: Mapping[str, Any]) -> Place:
    details = location.get("geonames_details")
    if details is None:  # The flat form.
        region = {"country_subdivision_name": location.get("region")}
        details = {**location, **region, "name": location.get("city")}
    return place(
        details.get("name"),
        details.get("country_subdivision_name"),
        details.get("country_code"),
        (details.get("lat"), details.get("lng")),
        location.get("geonames_id"),
    )


def _place_v1(address: Mapping[str, Any], country: str | None) -> Place:
    geonames = address.get("geonames_city") or {}
    region = (geonames.get("geonames_admin1") or {}).get("name") or address.get("state")
    degrees = (address.get("lat"), address.get("lng"))
    return place(address.get("city"), region, country, degrees, geonames.get("id"))


def place(
    city: str | None, region: str | None, country: str | None, degrees: tuple[Any, Any], geonames: Any
) -> Place:
    """Parts of a place, empty or None where unknown, to a place; degrees are latitude and longitude."""
    latitude, longitude = (None if d in (None, "") else float(d) for d in degrees)
    return Place(
        city=city or None,
        region=region or None,
        country_code=(country or "").upper() or None,
        latitude=latitude,
        longitude=longitude,
        geonames_id=int(geonames) if geonames else None,
    )


def _links(record: Mapping[str, Any]) -> list[str]:
    links = [link["value"] if isinstance(link, dict) else str(link) for link in record.get("links") or []]
    return [*links, record["wikipedia_url"]] if record.get("wikipedia_url") else links


def _external_ids(found: Any) -> list[ExternalId]:
    """Schema 2 has a list, schema 1 a mapping to preferred and all, the flat form a mapping to values."""
    if isinstance(found, Mapping):
        items: Iterable[tuple[str, Any]] = found.items()
    else:
        items = ((entry["type"], entry) for entry in found)
    return [external_id(kind, *_values(value)) for kind, value in items]


def _values(value: Any) -> tuple[str | None, list[str]]:
    if isinstance(value, Mapping):
        every = value.get("all") or []
        return value.get("preferred"), [every] if isinstance(every, str) else list(every)
    return None, [value] if isinstance(value, str) else list(value)


def external_id(kind: str, preferred: str | None, every: list[str]) -> ExternalId:
    """The name of a system, its preferred identifier if it has one, and all of them, to one entry."""
    return ExternalId(
        type=kind.lower(), values=list(dict.fromkeys([preferred, *every] if preferred else every))
    )
