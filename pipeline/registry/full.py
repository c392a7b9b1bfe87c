"""A record in full: all that a registry says of one organisation, and of what was before and after it."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.records import RegistryRecord, RelatedRecord
from pipeline.registry.history import chain_of, last_year
from pipeline.registry.registry import Registry
from pipeline.registry.schema import NAME_FORMS


def full_record(registry: Registry, number: int, probability: float) -> RegistryRecord:
    """One record, and how probable it is that an institution is it."""
    columns = [name for name in registry.table.column_names if name != NAME_FORMS]
    row = registry.table.select(columns).slice(number, 1).to_pylist()[0]
    place = row["places"][0] if row["places"] else dict[str, Any]()
    child, parent = registry.parents
    low, high = np.searchsorted(child, [number, number + 1])
    return RegistryRecord(
        id=row["id"],
        name=registry.name[number],
        probability=probability,
        names=tuple((n["value"], n["lang"]) for n in row["names"]),
        city=place.get("city"),
        region=place.get("region"),
        country_code=place.get("country_code"),
        latitude=place.get("latitude"),
        longitude=place.get("longitude"),
        established=row["established"],
        types=tuple(row["types"] or ()),
        domains=tuple(row["domains"] or ()),
        links=tuple(row["links"] or ()),
        external_ids=tuple(f"{e['type']}:{v}" for e in row["external_ids"] or () for v in e["values"] or ()),
        parent_ids=tuple(registry.id[i] for i in parent[low:high].tolist()),
        child_ids=tuple(registry.id[i] for i in child[parent == number].tolist()),
        earlier=tuple(
            RelatedRecord(registry.id[i], registry.name[i], last_year(registry, i, number))
            for i in chain_of(registry, number)
        ),
        later=tuple(
            RelatedRecord(registry.id[i], registry.name[i], registry.established[i])
            for i in registry.successors.get(number, ())
        ),
    )
