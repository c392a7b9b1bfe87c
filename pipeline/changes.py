"""Changes: two finished runs in, what became of their institutions out: as JSON or as a page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.ledger import BORN, ENDED, EVENTS, GROWN, RENAMED, SHRUNK, Event, Generation, difference
from pipeline.report.changes import Row, render_changes


@dataclass(frozen=True)
class Changes:
    """What happened from one run to another.

    Attributes:
        old, new: names of the runs.
        events: what happened, kind by kind, that of the most mentions first.
        renumbered: ids of the older run → those that the same institutions have in the newer one.
        n_old, n_new: institutions of both runs.
    """

    old: str
    new: str
    events: list[Event]
    renumbered: dict[str, str]
    n_old: int
    n_new: int

    @classmethod
    def between(cls, old: str | Path, new: str | Path) -> Changes:
        """The folders of two finished runs to what happened from one to the other.

        Raises:
            UsageError: one of them is no finished run.
        """
        before, after = Generation.read(old).members, Generation.read(new).members
        found, renumbered = difference(before, after)
        return cls(str(old), str(new), found, renumbered, len(before.name), len(after.name))

    @property
    def counts(self) -> dict[str, int]:
        """How many events there are of each kind, and how many ids changed."""
        found = {kind: sum(e.event == kind for e in self.events) for kind in EVENTS}
        return found | {"renumbered": len(self.renumbered)}

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        own = {"old": self.old, "new": self.new, "n_old": self.n_old, "n_new": self.n_new}
        return own | {
            "counts": self.counts,
            "events": [e._asdict() for e in self.events],
            "renumbered": self.renumbered,
        }

    def page(self) -> str:
        """One HTML page that a person can read offline."""
        rows = {kind: [_row(e) for e in self.events if e.event == kind] for kind in EVENTS}
        tiles = [("institutions before", self.n_old), ("institutions now", self.n_new)]
        tiles += [(kind, n) for kind, n in self.counts.items() if n]
        return render_changes(rows, tiles, (self.old, self.new))


def _row(event: Event) -> Row:
    """An event as a line of the page: what was, what is."""
    now, was, own = event.preferred_name, event.previous_name, event.entity_id
    if event.event == BORN:
        return Row(None, None, now, own, event.n_mentions)
    if event.event in (GROWN, SHRUNK, RENAMED):
        return Row(was or now, own, now, own, event.n_mentions)
    if event.event == ENDED:
        return Row(was, own, None, None, event.n_mentions)
    return Row(was, own, now, event.other_id, event.n_mentions)
