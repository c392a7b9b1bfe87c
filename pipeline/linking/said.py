"""What people said of mentions and records of a registry: it outranks every link and every vote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.linking.linker import Links, ordered_links
from pipeline.linking.vote import Linked
from pipeline.records import Int64s
from pipeline.registry import Registry


@dataclass(frozen=True)
class Said:
    """Mentions of which a person said, or of which follows, which record they are.

    Attributes:
        mention: mention numbers, ascending, int64, shape (n,).
        record: the record of each, closed ones too; -1 where the registry has no such id; int64, shape (n,).
    """

    mention: Int64s
    record: Int64s

    @classmethod
    def of(cls, keys: Mapping[int, str] | None, registry: Registry) -> Said:
        """Mention numbers and the ids that they are, as `registry_key` writes them, to records."""
        items = sorted((keys or {}).items())
        record = [registry.number_of_key.get(key, -1) for _, key in items]
        return cls(np.array([m for m, _ in items], np.int64), np.array(record, np.int64))

    def links(self, links: Links) -> Links:
        """Links in which these mentions have the one that was said, or none where the registry lacks it."""
        kept = ~np.isin(links.mention, self.mention)
        known = self.record >= 0
        new = Links(
            self.mention[known],
            self.record[known],
            np.full(int(known.sum()), -1, np.int64),
            np.ones(int(known.sum())),
        )
        pairs = zip(vars(links).values(), vars(new).values(), strict=True)
        return ordered_links(*(np.concatenate([a[kept], b]) for a, b in pairs))

    def linked(self, linked: Linked, label: Int64s) -> Linked:
        """The records of clusters in which those that hold these mentions take the record that was said."""
        record, probability = linked.record.copy(), linked.probability.copy()
        record[label[self.mention]] = self.record
        probability[label[self.mention]] = self.record >= 0
        return Linked(record, probability)
