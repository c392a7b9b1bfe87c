"""Registries in CSV: ROR's own two forms, and the form for any other list of organisations."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from pipeline.places import Gazetteer
from pipeline.registry.files import RegistrySchemaError
from pipeline.registry.ror import external_id, place
from pipeline.registry.schema import (
    ACRONYM,
    ALIAS,
    DISPLAY,
    LABEL,
    PARENT,
    SUCCESSOR,
    Name,
    Place,
    Relation,
    Row,
)

Reader = Callable[[Mapping[str, str]], Row]
#: `en: …; no_lang_code: …`
_LANGUAGE = re.compile(r"(?:^|;\s*)(no_lang_code|[a-z]{2,3}):\s+")
_RELATION = re.compile(r"([a-z]+):\s*([^;]*)", re.IGNORECASE)
#: Columns of the general form; those named `alias…` and `acronym…` can be any number.
COLUMNS = (
    *("id", "name", "alias", "acronym", "city", "region", "country", "latitude", "longitude"),
    *("parent_id", "successor_id", "status", "established", "type", "domain"),
)


def table_reader(header: Sequence[str], source: str) -> Reader:
    """The header of a CSV to what reads its rows.

    Raises:
        RegistrySchemaError: no column of ids or of names, or in the general form a column that is not known.
    """
    if "names.types.ror_display" in header:
        return _row_v2
    if "country.country_code" in header:
        return _row_v1
    missing = [name for name in ("id", "name") if name not in header]
    unknown = [h for h in header if not h.startswith(("alias", "acronym")) and h not in COLUMNS]
    if missing or unknown:
        what = f"no column {missing[0]!r}" if missing else f"unknown column {unknown[0]!r}"
        raise RegistrySchemaError(
            f"{source}: {what} (columns: {', '.join(header[:10])}); give ROR's CSV, or one with"
            f" {', '.join(COLUMNS)}, of which id and name are needed"
        )
    return _row


def _row(cells: Mapping[str, str]) -> Row:
    """The general form; cells with several values part them with `|`."""
    names = [Name(value=cells["name"], kinds=[DISPLAY, LABEL], lang=None)]
    for kind in (ALIAS, ACRONYM):
        values = [v for column, cell in cells.items() if column.startswith(kind) for v in _parts(cell, "|")]
        names += [Name(value=value, kinds=[kind], lang=None) for value in values]
    relations = [
        Relation(type=kind, id=value)
        for kind, column in ((PARENT, "parent_id"), (SUCCESSOR, "successor_id"))
        for value in _parts(cells.get(column, ""), "|")
    ]
    degrees = (cells.get("latitude"), cells.get("longitude"))
    country = country_code(cells.get("country", ""))
    row = _bare(cells, names, [place(cells.get("city"), cells.get("region"), country, degrees, None)])
    row["types"] = [t.lower() for t in _parts(cells.get("type", ""), "|")]
    row["domains"] = _parts(cells.get("domain", ""), "|")
    row["relations"] = relations
    return row


def country_code(text: str) -> str | None:
    """A country's name or code to its code; None where there is none, or none that is known."""
    text = text.strip()
    if re.fullmatch(r"[A-Z]{2}", text):
        return text
    codes = {p.country_code for p in Gazetteer.load().lookup(text) if p.kind == "country"} if text else set()
    return codes.pop() if len(codes) == 1 else None


def _row_v2(cells: Mapping[str, str]) -> Row:
    where = "locations.geonames_details."
    names = [
        Name(
            value=cells["names.types.ror_display"],
            kinds=[DISPLAY],
            lang=_language(cells.get("ror_display_lang", "")),
        )
    ]
    names += _by_language(cells.get("names.types.label", ""), LABEL)
    names += _by_language(cells.get("names.types.alias", ""), ALIAS)
    names += _by_language(cells.get("names.types.acronym", ""), ACRONYM)
    at = place(
        cells.get(f"{where}name"),
        cells.get(f"{where}country_subdivision_name"),
        cells.get(f"{where}country_code"),
        (cells.get(f"{where}lat"), cells.get(f"{where}lng")),
        cells.get("locations.geonames_id"),
    )
    row = _bare(cells, names, [at])
    row["domains"] = _parts(cells.get("domains", ""))
    row["links"] = [v for c in ("website", "wikipedia") for v in _parts(cells.get(f"links.type.{c}", ""))]
    for kind in ("fundref", "grid", "isni", "wikidata"):
        column = f"external_ids.type.{kind}"
        if every := _parts(cells.get(f"{column}.all", "")):
            row["external_ids"].append(external_id(kind, cells.get(f"{column}.preferred") or None, every))
    return row


def _row_v1(cells: Mapping[str, str]) -> Row:
    names = [Name(value=cells["name"], kinds=[DISPLAY, LABEL], lang=None)]
    names += _by_language(cells.get("labels", ""), LABEL)
    for column, kind in (("aliases", ALIAS), ("acronyms", ACRONYM)):
        names += [Name(value=value, kinds=[kind], lang=None) for value in _parts(cells.get(column, ""))]
    address = "addresses[0]."
    at = place(
        cells.get(f"{address}city"),
        cells.get(f"{address}geonames_city.geonames_admin1.name") or cells.get(f"{address}state"),
        cells["country.country_code"],
        (cells.get(f"{address}lat"), cells.get(f"{address}lng")),
        cells.get(f"{address}geonames_city.id"),
    )
    row = _bare(cells, names, [at])
    row["links"] = [v for c in ("links", "wikipedia_url") for v in _parts(cells.get(c, ""))]
    for kind in ("GRID", "ISNI", "FundRef", "Wikidata"):
        column = f"external_ids.{kind}"
        if every := _parts(cells.get(f"{column}.all", "")):
            row["external_ids"].append(external_id(kind, cells.get(f"{column}.preferred") or None, every))
    return row


def _bare(cells: Mapping[str, str], names: list[Name], places: list[Place]) -> Row:
    """What all forms have in common."""
    established = cells.get("established", "").strip()
    return Row(
        id=cells["id"].strip(),
        status=(cells.get("status", "").strip() or "active").lower(),
        names=[n for n in names if n["value"].strip()],
        places=places,
        types=[t.lower() for t in _parts(cells.get("types", ""))],
        domains=[],
        links=[],
        established=int(float(established)) if established else None,
        external_ids=[],
        relations=[
            Relation(type=kind.lower(), id=value)
            for kind, values in _RELATION.findall(cells.get("relationships", "").replace("://", "\0"))
            for value in _parts(values.replace("\0", "://"), ",")
        ],
    )


def _parts(cell: str, separator: str = ";") -> list[str]:
    return [part.strip() for part in cell.split(separator) if part.strip()]


def _by_language(cell: str, kind: str) -> list[Name]:
    """`en: A, B; de: C` to names.

    ROR joins the names of one language with commas, which names have too: only acronyms are taken apart.
    """
    pieces = _LANGUAGE.split(cell)
    found = [("", pieces[0]), *zip(pieces[1::2], pieces[2::2], strict=True)]
    return [
        Name(value=value, kinds=[kind], lang=_language(lang))
        for lang, text in found
        for value in (_parts(text.replace(";", ","), ",") if kind == ACRONYM else _parts(text))
    ]


def _language(code: str) -> str | None:
    return code if code and code != "no_lang_code" else None
