"""Records of a run that grows: those of before, where nothing changed, and new ones.

Rows of old and new mentions stand together, in the order of a run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pipeline.consolidation import Consolidated, entity_id, institutions_of, membership
from pipeline.index.columns import forms_of, id_number, mentions_of
from pipeline.records import Affiliations, Int64s, Matches
from pipeline.rows import list_of
from pipeline.settings import Settings
from pipeline.tables import RunFrames

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


@dataclass(frozen=True)
class Rows:
    """Old and new mentions together, in the order of their strings' ids.

    Attributes:
        table: all of them.
        old, new: where each old and each new one stands.
        affiliation: number of the string of each, non-decreasing.
    """

    table: pa.Table
    old: Int64s
    new: Int64s
    affiliation: Int64s

    @classmethod
    def of(cls, old: pa.Table, new: pa.Table) -> Rows:
        """Rows of an index and new ones, as `mentions_table` has them."""
        import pyarrow as pa

        both = pa.concat_tables([old.select(new.column_names), new])
        key = np.array([id_number(i) for i in list_of(both.column("affiliation_id"))], np.uint64)
        order = np.argsort(key, kind="stable")
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        change = np.diff(key[order]) != 0
        number = np.concatenate([np.zeros(min(len(order), 1), np.int64), np.cumsum(change, dtype=np.int64)])
        return cls(both.take(order), place[: len(old)], place[len(old) :], number)

    def __len__(self) -> int:
        return len(self.affiliation)

    def counted(self, strings: Affiliations) -> Rows:
        """The same rows with how often their strings occur now."""
        import pyarrow as pa

        n_of = dict(zip(strings.affiliation_id, strings.n_occurrences.tolist(), strict=True))
        counts = pa.array([n_of[i] for i in list_of(self.table.column("affiliation_id"))], pa.int64())
        at = self.table.column_names.index("n_occurrences")
        return replace(self, table=self.table.set_column(at, "n_occurrences", counts))


@dataclass(frozen=True)
class Known:
    """What the run knows of its institutions: records, the record of each row (−1: new), their sizes."""

    records: pd.DataFrame
    of_row: Int64s
    size: Int64s
    counts: Int64s

    @classmethod
    def of(cls, row: Rows, old: RunFrames) -> Known:
        """The records of a run whose mentions are among the rows."""
        number = {entity: i for i, entity in enumerate(old.institutions["entity_id"])}
        of_row, counts = np.full(len(row), -1, np.int64), np.zeros(len(row), np.int64)
        of_row[row.old] = [number[e] for e in old.mentions["entity_id"]]
        counts[row.old] = old.mentions["n_occurrences"]
        return cls(old.institutions, of_row, np.bincount(of_row[row.old], minlength=len(number)), counts)

    @classmethod
    def nothing(cls, row: Rows, old: RunFrames) -> Known:
        """No record: with a registry, one may change although its members are the same."""
        none, is_new = np.empty(0, np.int64), np.full(len(row), -1, np.int64)
        return cls(old.institutions.iloc[:0], is_new, none, np.zeros(len(row), np.int64))

    def unchanged(self, label: Int64s, counts: Int64s) -> Int64s:
        """For each cluster the record that it is still, −1 where a member or a count is another."""
        n = int(label.max(initial=-1)) + 1
        least, most = np.full(n, len(self.records)), np.full(n, -1)
        np.minimum.at(least, label, self.of_row)
        np.maximum.at(most, label, self.of_row)
        is_same = (least == most) & (least >= 0)
        is_same &= np.bincount(label, minlength=n) == np.append(self.size, 0)[np.where(is_same, least, -1)]
        is_same[label[counts != self.counts]] = False
        return np.where(is_same, least, -1)


@dataclass(frozen=True)
class GrownRecords:
    """Institutions of a run that grew.

    Attributes:
        changed: every mention with its institution, but records of those only that are new or changed.
        kept: rows of the run's records that still hold.
    """

    changed: Consolidated
    kept: pd.DataFrame

    def frame(self, changed: pd.DataFrame) -> pd.DataFrame:
        """Both kinds of records, `changed` as `institutions_frame` has them, in the order of a run."""
        import pandas as pd

        both = pd.concat([f for f in (self.kept, changed) if len(f)] or [changed], ignore_index=True)
        order = ["n_occurrences", "n_mentions", "entity_id"]
        return both.sort_values(order, ascending=[False, False, True], ignore_index=True)


def consolidated(
    row: Rows, matches: Matches, label: Int64s, known: Known, settings: Settings
) -> GrownRecords:
    """Clusters to institutions: the old records, and new ones where members changed."""
    table, string = row.table, row.affiliation
    mean, best = membership(len(table), matches, label)
    same = known.unchanged(label, table.column("n_occurrences").to_numpy())
    confidence = np.bincount(label, mean) / np.bincount(label) if len(label) else np.empty(0)
    kept = known.records.iloc[same[same >= 0]].assign(confidence=confidence[same >= 0])
    entity = np.full(len(same), None, object)
    entity[same >= 0] = kept["entity_id"]
    # Mentions are numbered within their strings, so that strings come whole.
    rows = np.flatnonzero(np.isin(string, string[same[label] < 0]))
    part, cluster_of = table.take(rows), label[rows]
    order = np.argsort(cluster_of, kind="stable")
    order = order[same[cluster_of[order]] < 0]
    starts = np.flatnonzero(np.diff(cluster_of[order], prepend=-1))
    groups = [group.tolist() for group in np.split(order, starts[1:])] if len(order) else []
    made = institutions_of(
        groups,
        mentions_of(part),
        forms_of(part, settings.normalization.known_names),
        (mean[rows], best[rows]),
        settings.canonical,
    )
    taken, records = set(kept["entity_id"]), []
    for group, one in zip(groups, made, strict=True):
        records.append(replace(one, entity_id=_unused(one.entity_id, taken)))
        entity[cluster_of[group[0]]] = records[-1].entity_id
    ids = list_of(table.column("mention_id"))
    return GrownRecords(Consolidated(records, ids, entity[label].tolist(), mean), kept)


def _unused(name: str, taken: set[str]) -> str:
    """An id for a new record that no kept one has: what made it may have made an older one, too."""
    while name in taken:
        name = entity_id(f"{name}/+")
    taken.add(name)
    return name
