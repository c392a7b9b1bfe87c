"""What a registry says in tables: links of mentions, and the records that they were in which years."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.linking import Linking, Timeline

if TYPE_CHECKING:
    import pandas as pd

#: Rows without a year count as of this one, which is after all others: today's record stands for them.
NO_YEAR = 9999


def link_columns(linking: Linking, n_mentions: int) -> dict[str, Any]:
    """For each mention the record that it links to by itself, whatever its institution is."""
    links, registry = linking.links, linking.facts.registry
    best = np.full(n_mentions, -1, np.int64)
    best[links.mention[links.is_best]] = np.flatnonzero(links.is_best)
    record = [int(links.record[i]) if i >= 0 else None for i in best.tolist()]
    return {
        "link_id": [None if r is None else registry.id[r] for r in record],
        "link_name": [None if r is None else registry.name[r] for r in record],
        "link_probability": np.where(best >= 0, links.probability[best] if len(links) else np.nan, np.nan),
    }


def timeline_frame(found: Timeline, mention_id: Sequence[str], record_id: Sequence[str]) -> pd.DataFrame:
    """Periods of mentions, one row each, in the order of the mentions and then of the years."""
    import pandas as pd

    return pd.DataFrame(
        {
            "mention_id": pd.Series([mention_id[m] for m in found.mention.tolist()], dtype=object),
            "registry_id": pd.Series([record_id[r] for r in found.record.tolist()], dtype=object),
            "from_year": pd.array(found.first, dtype="Int64"),
            "to_year": pd.array(found.last, dtype="Int64"),
            "is_dated": found.is_dated,
        }
    )


@dataclass(frozen=True)
class RecordsOfYears:
    """The periods of mentions; a mention without any is one record in all years."""

    periods: dict[str, list[tuple[int, int, str, bool]]]

    @classmethod
    def of(cls, timeline: pd.DataFrame | None) -> RecordsOfYears:
        """The table of a run to what can be asked for a year."""
        found: dict[str, list[tuple[int, int, str, bool]]] = {}
        if timeline is not None:
            first = timeline["from_year"].fillna(0).tolist()
            last = timeline["to_year"].fillna(NO_YEAR - 1).tolist()
            columns = (timeline[c].tolist() for c in ("mention_id", "registry_id", "is_dated"))
            for mention, record, is_dated, start, end in zip(*columns, first, last, strict=True):
                found.setdefault(mention, []).append((int(start), int(end), record, bool(is_dated)))
        return cls(found)

    def spans(self, mentions: Sequence[str]) -> list[tuple[int, int]]:
        """Spans of years, both ends included, in which no mention changes its record; `NO_YEAR` by itself."""
        starts = {0} | {start for m in mentions for start, *_ in self.periods.get(m, ())}
        if not any(m in self.periods for m in mentions):
            return [(0, NO_YEAR)]
        edges = [*sorted(starts), NO_YEAR]
        return [*((a, b - 1) for a, b in pairwise(edges)), (NO_YEAR, NO_YEAR)]

    def at(self, mention: str, registry_id: str | None, year: int) -> tuple[str | None, bool]:
        """The record of a mention in a year, and whether that is known.

        Args:
            mention: its id.
            registry_id: the record of its institution.
            year: a year, or `NO_YEAR`.
        """
        if mention not in self.periods:
            return registry_id, True
        within = (p for p in self.periods[mention] if p[0] <= year <= p[1])
        _, _, record, is_dated = next(within, (0, 0, registry_id, False))
        return record, is_dated
