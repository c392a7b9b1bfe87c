"""What changed between two runs as one HTML page in the style of the report: no network, all escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.report import wording

#: Rows that a table of the page shows, those of the most strings first; the counts are of all.
MAX_ROWS = 300
#: Characters of a name that a cell shows.
_NAME = 160
#: Event → heading, what it means, and the heads of its columns.
_SECTIONS = {
    "merged": ("Merged", "Institutions that are one now; the id on the left leads to the one on the right."),
    "split": ("Split", "Strings that left their institution for another, or for one of their own."),
    "renamed": ("Renamed", "Institutions with another preferred name."),
    "born": ("Born", "Institutions of strings that the older run does not have."),
    "grown": ("Grown", "Institutions that new strings joined."),
    "shrunk": ("Shrunk", "Institutions with strings that the newer run does not have."),
    "ended": ("Ended", "Institutions of which the newer run has no string."),
}


@dataclass(frozen=True)
class Row:
    """One line: what was (None: nothing), what is (None: nothing), and how many strings it concerns."""

    before: str | None
    before_id: str | None
    after: str | None
    after_id: str | None
    n_mentions: int


def render_changes(
    rows: Mapping[str, Sequence[Row]], tiles: Sequence[tuple[str, int]], names: tuple[str, str]
) -> str:
    """Rows of each event, figures for the head and the names of both runs in, an HTML page out."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("pipeline.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["count"] = wording.count
    environment.filters["short"] = lambda name: wording.shorten(name, _NAME)
    sections: list[dict[str, Any]] = [
        {"event": e, "title": title, "note": note, "rows": rows[e][:MAX_ROWS], "n_rows": len(rows[e])}
        for e, (title, note) in _SECTIONS.items()
        if rows.get(e)
    ]
    return environment.get_template("changes.html.j2").render(
        sections=sections, tiles=list(tiles), old=names[0], new=names[1]
    )
