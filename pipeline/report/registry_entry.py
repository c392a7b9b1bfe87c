"""What a registry says of an institution, as the report shows it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.report.wording import as_number, is_missing, percent, shorten, sureness

if TYPE_CHECKING:
    import pandas as pd

#: An id that may be followed: an address of its own, nothing that a page could run.
_ADDRESS = re.compile(r"https://[\w.-]+/[\w./-]*")
#: Columns of lists, and what people call them.
_LISTS = {
    "types": "Type",
    "external_ids": "Other identifiers",
    "domains": "Domain",
    "links": "On the web",
    "parent_ids": "Part of",
    "child_ids": "Parts",
}


@dataclass(frozen=True)
class RegistryEntry:
    """One record: its id, an address to follow (or ""), how probable it is, all else by label."""

    id: str
    link: str
    probability: str
    sureness: str
    entries: list[tuple[str, list[str]]]


def registry_entry(row: Mapping[Hashable, Any], members: pd.DataFrame, n_values: int) -> RegistryEntry | None:
    """The row of an institution and its mentions to what is shown; None where it is no record.

    Of each list `n_values` are shown.
    """
    if "registry_id" not in row or is_missing(row["registry_id"]):
        return None
    record, probability = shorten(row["registry_id"], 120), as_number(row["registry_probability"])
    entries = [("Evidence", _votes(members, str(row["registry_id"])))]
    entries += [(label, _items(row[column])) for column, label in _LISTS.items()]
    entries += [("Established", _items([row["established"]])), ("Coordinates", _degrees(row))]
    entries += [("Before", _related(row, "earlier", "to")), ("After", _related(row, "later", "from"))]
    entries += [("From the registry", _adopted(row))]
    shown = [(label, _cut(values, n_values)) for label, values in entries if values]
    link = record if _ADDRESS.fullmatch(record) else ""
    return RegistryEntry(record, link, percent(probability), sureness(probability), shown)


def _votes(members: pd.DataFrame, record: str) -> list[str]:
    """How many of the mentions link to the record by themselves, and to which others the rest do."""
    if "link_id" not in members:
        return []
    own = members["link_id"] == record
    mean = members["link_probability"][own].mean()
    found = [f"{int(own.sum()):,} of {len(members):,} strings say so by themselves"]
    if own.any():
        found[0] += f", mean probability {percent(float(mean))}"
    others = Counter(n for n in members["link_name"][~own] if not is_missing(n))
    return found + [f"{n:,} rather: {shorten(name, 80)}" for name, n in others.most_common(3)]


def _items(value: Any) -> list[str]:
    items = value if isinstance(value, (list, tuple, np.ndarray)) else [value]
    return [shorten(item, 120) for item in items if not is_missing(item)]


def _degrees(row: Mapping[Hashable, Any]) -> list[str]:
    at = [as_number(row[name]) for name in ("latitude", "longitude")]
    return [] if np.isnan(at).any() else [f"{at[0]:.4f}, {at[1]:.4f}"]


def _related(row: Mapping[Hashable, Any], when: str, word: str) -> list[str]:
    columns = (row[f"{when}_{part}s"] for part in ("id", "name", "year"))
    return [
        f"{shorten(name, 80)} ({shorten(i, 60)}{'' if is_missing(year) else f', {word} {int(year)}'})"
        for i, name, year in zip(*columns, strict=True)
    ]


def _adopted(row: Mapping[Hashable, Any]) -> list[str]:
    """Which values of the card are the registry's; the strings say the others."""
    columns = [str(p).partition("=") for p in row["provenance"]]
    names = [c for c, _, source in columns if source.startswith("registry:") and c != "variant_names"]
    return [name.replace("_", " ") for name in names]


def _cut(values: list[str], most: int) -> list[str]:
    return values if len(values) <= most else [*values[:most], f"and {len(values) - most:,} more"]
