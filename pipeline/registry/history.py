"""Which record stood for an organisation in which years.

A registry says what followed a closed record and when a record's organisation was established, but dates no
merger. So a successor takes over in the year in which it was established. Where that is unknown, or is no
later than the beginning of what it follows (an old university that took in a young one), nobody can say, and
the record of today stands for all years.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from pipeline.registry.registry import Registry


class Period(NamedTuple):
    """Years (both included, None: open) in which a record stood for an organisation.

    `is_dated` is false where that is not known, and the record of today stands in.
    """

    record: int
    first: int | None
    last: int | None
    is_dated: bool


def chain_of(registry: Registry, current: int) -> list[int]:
    """The closed organisations, as record numbers, whose successors all lead to a record; oldest first.

    Withdrawn records were never organisations of their own and are no part of it.
    """
    found = [r for r in registry.closed_of.get(current, ()) if registry.status[r] == "inactive"]
    return sorted(found, key=lambda r: (registry.established[r] or 0, r))


def periods(registry: Registry, named: int, current: int) -> list[Period]:
    """The record that a string names and the one that stands for it today to the records of all years."""
    path = _path(registry, named, current)
    if path == [current]:
        return _before(registry, current)
    found, first = list[Period](), None
    for here, after in pairwise(path):
        year = _takes_over(registry, here, after)
        if year is None:
            return [*found, Period(current, first, None, False)]
        found.append(Period(here, first, year - 1, True))
        first = year
    return [*found, Period(current, first, None, True)]


def last_year(registry: Registry, closed: int, current: int) -> int | None:
    """The last year of a closed record that another stands for today, None where unknown."""
    path = _path(registry, closed, current)
    year = _takes_over(registry, *path[:2])
    return None if year is None else year - 1


def _takes_over(registry: Registry, here: int, after: int) -> int | None:
    began, ended = registry.established[here], registry.established[after]
    return ended if ended is not None and (began is None or ended > began) else None


def _path(registry: Registry, named: int, current: int) -> list[int]:
    """A closed record and its successors up to today's, without withdrawn ones: these never were."""
    path = [named]
    while path[-1] != current:
        # All of them lead to one end; of several ways the one that began first.
        after = [s for s in registry.successors[path[-1]] if registry.current[s] == current]
        path.append(min(after, key=lambda s: (registry.established[s] or 9999, s)))
    return [r for r in path if registry.status[r] != "withdrawn"]


def _before(registry: Registry, current: int) -> list[Period]:
    """A string that names today's record: before that was established its one predecessor stood for it."""
    found, record, last = list[Period](), current, None
    while True:
        before = [r for r in chain_of(registry, current) if record in registry.successors.get(r, ())]
        if not before:
            return [Period(record, None, last, True), *found]
        year = registry.established[record]
        if year is None or (len(before) == 1 and _takes_over(registry, before[0], record) is None):
            return [Period(current, None, last, False), *found]
        found = [Period(record, year, last, True), *found]
        if len(before) > 1:
            return [Period(current, None, year - 1, False), *found]
        record, last = before[0], year - 1
