"""Dating: mentions of institutions that others became, to the records that stood for them year by year."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from rapidfuzz import fuzz

from pipeline.linking.features import RegistryFacts
from pipeline.linking.names import NameForms
from pipeline.linking.vote import Linked
from pipeline.records import Forms, Int64s
from pipeline.registry import Registry, chain_of, periods
from pipeline.registry.schema import DISPLAY, KINDS, LABEL

#: A name that is less like the string's (token sort ratio, 0 to 100) is not taken for the one that it means.
_LIKE = 80.0
_OWN = (1 << KINDS.index(DISPLAY)) | (1 << KINDS.index(LABEL))


@dataclass(frozen=True)
class Timeline:
    """The records that stood for mentions, in years; mentions that are not here have one for all years.

    Attributes:
        mention: mention numbers, non-decreasing; the periods of one follow each other, int64, shape (n,).
        record: record numbers, int64, shape (n,).
        first, last: years, both included, None for open ends.
        is_dated: false where the years are not known, and the record of today stands in; shape (n,).
    """

    mention: Int64s
    record: Int64s
    first: list[int | None]
    last: list[int | None]
    is_dated: npt.NDArray[np.bool_]


def timeline(forms: Forms, label: Int64s, linked: Linked, facts: RegistryFacts, fixed: Int64s) -> Timeline:
    """Mentions, their clusters and the record of each cluster to the records of all years.

    Args:
        forms: of the mentions.
        label: cluster of each mention, shape (n,).
        linked: record of each cluster.
        facts: the registry and its names as forms.
        fixed: mentions of which a person said what they are, in every year.
    """
    registry, rows = facts.registry, list[tuple[int, int, int | None, int | None, bool]]()
    of_mention = linked.record[label]
    of_mention[fixed] = -1
    by_record = {r: _Chain.of(registry, facts.names, r) for r in set(of_mention.tolist()) if r >= 0}
    for mention in np.flatnonzero(of_mention >= 0).tolist():
        record = int(of_mention[mention])
        chain = by_record[record]
        if chain is not None:
            named = chain.named_by(forms.organization[mention])
            rows += [(mention, *period) for period in periods(registry, named, record)]
    mentions, records, first, last, dated = zip(*rows, strict=True) if rows else ((),) * 5
    return Timeline(
        np.array(mentions, np.int64),
        np.array(records, np.int64),
        list(first),
        list(last),
        np.array(dated, np.bool_),
    )


@dataclass(frozen=True)
class _Chain:
    """A record and the closed ones that it stands for: the names of them all."""

    record: int
    text: list[str]
    owner: list[int]
    is_own: list[bool]

    @classmethod
    def of(cls, registry: Registry, names: NameForms, record: int) -> _Chain | None:
        """None where nothing became that record."""
        closed = chain_of(registry, record)
        if not closed:
            return None
        own = names.names.record
        of_chain = [range(*np.searchsorted(own, [r, r + 1]).tolist()) for r in (record, *closed)]
        numbers = [i for some in of_chain for i in some]
        return cls(
            record,
            [names.forms.organization[i] for i in numbers],
            [int(own[i]) for i in numbers],
            [bool(names.names.kind[i] & _OWN) for i in numbers],
        )

    def named_by(self, organization: str) -> int:
        """The record that an organisation's name means: the most alike, of equals the one that is called so.

        A name that a closed record and today's both have as an alias is the closed one's: it is older.
        """
        best = max(
            (fuzz.token_sort_ratio(organization, text), is_own, owner != self.record, owner)
            for text, owner, is_own in zip(self.text, self.owner, self.is_own, strict=True)
        )
        return best[3] if best[0] >= _LIKE else self.record
