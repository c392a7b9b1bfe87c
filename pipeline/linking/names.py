"""Names of a registry as mentions: what strings are compared with."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from pipeline.known_names import NONE
from pipeline.normalization import NormalizationSettings, normalize
from pipeline.places import Gazetteer
from pipeline.records import Affiliations, Forms, Int64s, Mention, Mentions
from pipeline.registry import Names, Registry
from pipeline.registry.schema import ACRONYM

#: What registries put behind names that several organisations have: `Siemens (Germany)`.
_BEHIND = re.compile(r"\s*\(([^()]*)\)$")


@dataclass(frozen=True)
class NameForms:
    """Every name of every record that can be linked to, as models compare it.

    Attributes:
        forms: one entry a name, in the order of `names`.
        names: the names, and the record of each.
    """

    forms: Forms
    names: Names


def linked_names(registry: Registry) -> Names:
    """The names of records that can be linked to: not of those that nothing stands for (withdrawn ones)."""
    every = registry.names
    kept = np.flatnonzero(registry.current[every.record] >= 0)
    return Names(every.record[kept], [every.value[i] for i in kept.tolist()], every.kind[kept])


def name_forms(
    registry: Registry, settings: NormalizationSettings | None = None, *, only: Int64s | None = None
) -> NameForms:
    """The names of a registry, each at the place of its record, in the forms that mentions have.

    Args:
        registry: its `linked_names` are taken.
        settings: how names are normalised.
        only: numbers of the names to take, ascending; None takes all.
    """
    every = linked_names(registry)
    city, region, country = (registry.place(part) for part in ("city", "region", "country_code"))
    acronyms, names = _acronyms(every, len(registry)), every
    if only is not None:
        names = Names(every.record[only], [every.value[i] for i in only.tolist()], every.kind[only])
    mentions = []
    for record, value in zip(names.record.tolist(), names.value, strict=True):
        name = bare_name(value)
        town, state = place_name(city[record], country[record]), place_name(region[record], country[record])
        mentions.append(
            Mention(
                organization=name,
                city=town,
                region=state,
                country_code=country[record],
                context=", ".join(
                    p for p in (name, town, state, Gazetteer.load().country_name(country[record])) if p
                ),
                acronyms=acronyms[record],
            )
        )
    number = np.arange(len(mentions))
    ids = [str(i) for i in number.tolist()]
    strings = Affiliations(ids, names.value, np.ones(len(mentions), np.int64))
    # A record is what its names say, not what the package knows of them.
    settings = replace(settings or NormalizationSettings(), known_names=NONE)
    return NameForms(normalize(Mentions(strings, number, mentions), settings), names)


def _acronyms(names: Names, n_records: int) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = [()] * n_records
    for i in np.flatnonzero(names.is_kind(ACRONYM)).tolist():
        found[names.record[i]] += (names.value[i],)
    return found


def bare_name(value: str) -> str:
    """A name without the country in brackets behind it."""
    behind = _BEHIND.search(value)
    if behind and any(p.kind == "country" for p in Gazetteer.load().lookup(behind[1])):
        return value[: behind.start()]
    return value


@lru_cache(maxsize=100_000)
def place_name(name: str | None, country_code: str | None) -> str | None:
    """A place as a registry spells it to the spelling that parsing gives, where the place lists know it."""
    found = {p.name for p in Gazetteer.load().lookup(name or "") if p.country_code == country_code}
    return found.pop() if len(found) == 1 else name
