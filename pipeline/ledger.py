"""The ledger: from run to run, who goes on as whom, and which institutions were born, grew, merged or split.

An institution keeps its id by overlap: of two runs, the old and the new institution that have the most
mentions in common are one, then those of the rest, and so on; an old id is given once. Mentions are known by
their ids, so nothing depends on the order of the input.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pipeline.consolidation import Consolidated, entity_id
from pipeline.errors import AffilError, UsageError
from pipeline.records import Int64s
from pipeline.rows import list_of, parquet_table
from pipeline.run_folder import read_manifest
from pipeline.writing import write_parquet

if TYPE_CHECKING:
    import pyarrow as pa

LEDGER = "ledger.parquet"
BORN, GROWN, SHRUNK, MERGED, SPLIT, ENDED, RENAMED = EVENTS = (
    *("born", "grown", "shrunk", "merged", "split", "ended", "renamed"),
)


class Event(NamedTuple):
    """One thing that happened to an institution; see docs/data-contract.md."""

    event: str
    entity_id: str
    other_id: str | None
    n_mentions: int
    preferred_name: str | None
    previous_name: str | None


@dataclass(frozen=True)
class Members:
    """A partition of mentions: the institution of each, and what institutions are called.

    Attributes:
        mention_id: each mention once.
        entity_id: its institution, one a mention.
        name: preferred name of every institution.
    """

    mention_id: Sequence[str]
    entity_id: Sequence[str]
    name: Mapping[str, str]

    def __post_init__(self) -> None:
        if len(self.mention_id) != len(self.entity_id):
            raise AffilError("members need one entity id a mention")

    @classmethod
    def of(cls, found: Consolidated) -> Members:
        """The members of a result."""
        return cls(
            found.mention_id, found.entity_id, {i.entity_id: i.preferred_name for i in found.institutions}
        )


@dataclass(frozen=True)
class Flows:
    """How many mentions of each old institution are in each new one; those above 0 only, ordered.

    Attributes:
        old, new: numbers into `old_ids` and `new_ids`, shape (n,); −1 for mentions that the other lacks.
        n: mentions, shape (n,).
        old_ids, new_ids: sorted entity ids.
    """

    old: Int64s
    new: Int64s
    n: Int64s
    old_ids: list[str]
    new_ids: list[str]

    @classmethod
    def between(cls, old: Members, new: Members) -> Flows:
        """Two partitions to their table of contingency."""
        import pyarrow as pa
        import pyarrow.compute as pc

        old_ids, old_of = _numbered(old.entity_id)
        new_ids, new_of = _numbered(new.entity_id)
        known = pa.array(list(old.mention_id), pa.string())
        at = pc.fill_null(
            pc.index_in(pa.array(list(new.mention_id), pa.string()), value_set=known), -1
        ).to_numpy()
        is_both = at >= 0
        from_old = np.full(len(new_of), -1, np.int64)
        from_old[is_both] = old_of[at[is_both]]
        is_gone = np.ones(len(old_of), bool)
        is_gone[at[is_both]] = False
        ends = np.stack([np.r_[from_old, old_of[is_gone]], np.r_[new_of, np.full(is_gone.sum(), -1)]], axis=1)
        found, n = np.unique(ends, axis=0, return_counts=True)
        return cls(found[:, 0], found[:, 1], n.astype(np.int64), old_ids, new_ids)

    def shared(self) -> tuple[Int64s, Int64s, Int64s]:
        """The flows between institutions: old, new, mentions."""
        is_shared = (self.old >= 0) & (self.new >= 0)
        return self.old[is_shared], self.new[is_shared], self.n[is_shared]


def heirs(flows: Flows, *, by_id: bool = False) -> Int64s:
    """For each new institution the old one that it goes on as, −1 for none, shape (n new,).

    The greatest flow binds its two ends, then the greatest of those whose ends are both free; ties go to the
    order of the ids.

    Args:
        flows: between both runs.
        by_id: institutions that have one id in both runs are one already.
    """
    heir = np.full(len(flows.new_ids), -1, np.int64)
    is_free = np.ones(len(flows.old_ids), bool)
    if by_id:
        number = {name: i for i, name in enumerate(flows.old_ids)}
        heir = np.array([number.get(name, -1) for name in flows.new_ids], np.int64)
        is_free[heir[heir >= 0]] = False
    old, new, n = flows.shared()
    order = np.lexsort([new, old, -n])
    old, new = old[order], new[order]
    while len(old):
        is_open = is_free[old] & (heir[new] < 0)
        old, new = old[is_open], new[is_open]
        # A flow that comes first at both its ends: what one flow after the other would take, all at once.
        first = np.intersect1d(np.unique(old, return_index=True)[1], np.unique(new, return_index=True)[1])
        heir[new[first]] = old[first]
        is_free[old[first]] = False
    return heir


def events(old: Members, new: Members) -> list[Event]:
    """What happened between two runs; an id that both have is the same institution.

    Every mention is accounted for: what an institution had, plus what grew and came in by mergers and splits,
    less what shrank and went out by splits, is what it has.
    """
    flows = Flows.between(old, new)
    old_ids, new_ids = flows.old_ids, flows.new_ids
    alive, before = set(new_ids), set(old_ids)
    heir_of: dict[str, tuple[int, str]] = {}
    inherited: set[str] = set()
    for o, c, n in zip(*(a.tolist() for a in flows.shared()), strict=True):
        inherited.add(new_ids[c])
        best = heir_of.get(old_ids[o], (0, ""))
        if old_ids[o] not in alive and n > best[0]:
            heir_of[old_ids[o]] = n, new_ids[c]
    found = []
    for o, c, n in zip(flows.old.tolist(), flows.new.tolist(), flows.n.tolist(), strict=True):
        source, target = old_ids[o] if o >= 0 else None, new_ids[c] if c >= 0 else None
        if source is None and target is not None:
            is_born = target not in before and target not in inherited
            found.append(Event(BORN if is_born else GROWN, target, None, n, new.name[target], None))
        elif source is not None and target is None:
            is_over = source not in alive and source not in heir_of
            name = None if source not in alive else new.name[source]
            found.append(Event(ENDED if is_over else SHRUNK, source, None, n, name, old.name[source]))
        elif source is not None and target is not None and source != target:
            kind = MERGED if heir_of.get(source, (0, ""))[1] == target else SPLIT
            found.append(Event(kind, source, target, n, new.name[target], old.name[source]))
    sizes = Counter(new.entity_id)
    found += [
        Event(RENAMED, i, None, sizes[i], new.name[i], old.name[i])
        for i in sorted(alive & before)
        if new.name[i] != old.name[i]
    ]
    return sorted(found, key=lambda e: (EVENTS.index(e.event), -e.n_mentions, e.entity_id, e.other_id or ""))


def difference(old: Members, new: Members) -> tuple[list[Event], dict[str, str]]:
    """What happened between any two runs, and old ids → new ids of institutions that go on under another id.

    A run that was told of the older one has no such ids; events name the newer run's.
    """
    flows = Flows.between(old, new)
    heir = heirs(flows, by_id=True).tolist()
    went_on = {flows.old_ids[o]: name for name, o in zip(flows.new_ids, heir, strict=True) if o >= 0}
    renumbered = {before: after for before, after in went_on.items() if before != after}
    names = {renumbered.get(one, one): name for one, name in old.name.items()}
    alike = Members(old.mention_id, [renumbered.get(one, one) for one in old.entity_id], names)
    return events(alike, new), renumbered


@dataclass(frozen=True)
class Generation:
    """A finished run that another follows.

    Attributes:
        members: of the run.
        ledger: of all generations before and with it, in order.
        number: 0 for a run that followed none.
        fingerprint: of the run.
        merged: ids that are gone for good → the ids that they went to.
    """

    members: Members
    ledger: pa.Table
    number: int = 0
    fingerprint: str = ""
    merged: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, run: str | Path) -> Generation:
        """The folder of a finished run in, what the next one needs of it out.

        Raises:
            UsageError: the folder is no finished run, or a table of it cannot be read.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        root = Path(run)
        manifest = read_manifest(root)
        if manifest is None:
            raise UsageError(f"{root} is no finished run; give the output folder of `affil resolve`")
        try:
            mentions = parquet_table(root / "mentions.parquet", ["mention_id", "entity_id"])
            known = parquet_table(root / "institutions.parquet", ["entity_id", "preferred_name"])
            has_ledger = (root / LEDGER).is_file()
            ledger = parquet_table(root / LEDGER) if has_ledger else schema().empty_table()
        except (OSError, pa.ArrowException) as error:
            reason = " ".join(str(error).split())[:200]
            raise UsageError(f"{root}: a table is missing or broken ({reason}); run again") from error
        names = dict(zip(*(list_of(known.column(c)) for c in known.column_names), strict=True))
        mention_id, entity = (list_of(mentions.column(c)) for c in mentions.column_names)
        members = Members(mention_id, entity, names)
        gone = ledger.filter(pc.equal(ledger.column("event"), MERGED))
        merged = dict(zip(*(list_of(gone.column(c)) for c in ("entity_id", "other_id")), strict=True))
        number = int(manifest.get("generation", 0))
        return cls(members, ledger, number, str(manifest.get("fingerprint", "")), merged)

    def carried(self, found: Consolidated) -> Consolidated:
        """A new result with the ids of this run wherever an institution goes on."""
        new_id = self._ids(Members.of(found))
        institutions = [
            i if i.entity_id == new_id[i.entity_id] else replace(i, entity_id=new_id[i.entity_id])
            for i in found.institutions
        ]
        institutions.sort(key=lambda r: (-r.n_occurrences, -r.n_mentions, r.entity_id))
        return replace(found, institutions=institutions, entity_id=[new_id[e] for e in found.entity_id])

    def _ids(self, new: Members) -> dict[str, str]:
        """Ids of new institutions as they came to ids that go on, or that no institution ever had."""
        flows = Flows.between(self.members, new)
        heir = heirs(flows)
        found = {new: flows.old_ids[o] for new, o in zip(flows.new_ids, heir.tolist(), strict=True) if o >= 0}
        taken = {*flows.old_ids, *self.merged}
        for name in flows.new_ids:
            if name not in found:
                fresh, n = name, 1
                while fresh in taken:
                    # What it was made of is what an older institution was made of.
                    fresh, n = entity_id(f"{name}/{n}"), n + 1
                found[name] = fresh
                taken.add(fresh)
        return found

    def followed_by(self, new: Members, fingerprint: str) -> pa.Table:
        """The ledger with what happened from this run to the next."""
        import pyarrow as pa

        rows, now = events(self.members, new), datetime.now(UTC).isoformat(timespec="seconds")
        columns: dict[str, Any] = {
            "generation": [self.number + 1] * len(rows),
            "run": [fingerprint] * len(rows),
            "recorded_at": [now] * len(rows),
        } | {name: [getattr(row, name) for row in rows] for name in Event._fields}
        return pa.concat_tables([self.ledger, pa.table(columns, schema=schema())])

    def write_next(self, new: Members, fingerprint: str, folder: Path) -> None:
        """The ledger of the next run into its folder."""
        write_parquet(self.followed_by(new, fingerprint), folder / LEDGER)

    def current(self, asked: str) -> str | None:
        """Where an id lives now: itself, or the heir of what it was merged into; None where it ended.

        Raises:
            UsageError: no institution of this run or of those before it ever had the id.
        """
        here = asked
        while here not in self.members.name and here in self.merged:
            here = self.merged[here]
        if here in self.members.name:
            return here
        if here not in set(self.ledger.column("entity_id").to_pylist()):
            raise UsageError(f"no institution of this run, nor of those before it, ever had the id {asked!r}")
        return None

    def trace(self, asked: str) -> dict[str, Any]:
        """An id to where it lives now (`current`, `preferred_name`), and what happened to it (`events`).

        Raises:
            UsageError: as `current`.
        """
        import pyarrow.compute as pc

        here = self.current(asked)
        name = None if here is None else self.members.name[here]
        own = pc.or_kleene(
            pc.equal(self.ledger.column("entity_id"), asked), pc.equal(self.ledger.column("other_id"), asked)
        )
        happened = self.ledger.filter(own).to_pylist()
        return {"entity_id": asked, "current": here, "preferred_name": name, "events": happened}


def schema() -> pa.Schema:
    """Columns of `ledger.parquet`."""
    import pyarrow as pa

    numbers = {"generation", "n_mentions"}
    names = ("generation", "run", "recorded_at", *Event._fields)
    return pa.schema([(name, pa.int64() if name in numbers else pa.string()) for name in names])


def _numbered(values: Sequence[str]) -> tuple[list[str], Int64s]:
    """Values to the sorted distinct ones and the number of each."""
    names = sorted(set(values))
    number = {name: i for i, name in enumerate(names)}
    return names, np.fromiter((number[v] for v in values), np.int64, len(values))
