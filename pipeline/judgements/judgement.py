"""A judgement: two mentions are one institution, or two; or a mention is an institution of a registry."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.clustering import ConstraintConflictError, Constraints, must_groups
from pipeline.errors import UsageError
from pipeline.records import Int64s, affiliation_id
from pipeline.registry import registry_key
from pipeline.writing import FORMULA_STARTS

if TYPE_CHECKING:
    import pandas as pd

MUST, CANNOT, IS_ID = "must-link", "cannot-link", "is-id"
#: What people write → verdict, and the reason that comes with it.
_VERDICTS = {
    **dict.fromkeys(("must-link", "same", "yes"), (MUST, None)),
    **dict.fromkeys(("cannot-link", "different", "no"), (CANNOT, None)),
    "different-campuses": (CANNOT, "different campuses"),
    "is-id": (IS_ID, None),
}
_MENTION_ID, _AFFILIATION_ID = re.compile(r"a[0-9a-f]{16}-\d+"), re.compile(r"a[0-9a-f]{16}")


def mention_key(cell: str) -> str:
    """A mention id, an affiliation id or a raw string to the mention id it means: of the main mention.

    The leading apostrophe that keeps a cell from running in a spreadsheet is no part of the string.
    """
    if _MENTION_ID.fullmatch(cell):
        return cell
    if _AFFILIATION_ID.fullmatch(cell):
        return f"{cell}-0"
    return f"{affiliation_id(_without_guard(cell))}-0"


def raw_string(cell: str) -> str | None:
    """A side of a judgement to the raw string that it holds, None where it is an id."""
    is_id = _MENTION_ID.fullmatch(cell) or _AFFILIATION_ID.fullmatch(cell)
    return None if is_id else _without_guard(cell)


def _without_guard(cell: str) -> str:
    return cell[1:] if cell[:1] == "'" and cell[1:].startswith(FORMULA_STARTS) else cell


@dataclass(frozen=True)
class Judgement:
    """What one person said.

    Attributes:
        left_id: a mention id.
        right_id: another; for `is-id` the id in the registry.
        verdict: `must-link`, `cannot-link` or `is-id`.
        left, right: as a person reads them, for messages and files.
        reason, judged_by, judged_at: why, who, when; None where nobody said.
        place: file and row, for messages.
    """

    left_id: str
    right_id: str
    verdict: str
    left: str
    right: str
    reason: str | None = None
    judged_by: str | None = None
    judged_at: str | None = None
    place: str = ""

    @classmethod
    def from_cells(cls, cells: Mapping[str, str | None], place: str) -> Judgement:
        """A row (left, right, verdict; left_id and right_id outrank left and right) to a judgement.

        Raises:
            UsageError: an empty side, an unknown verdict, a string that is to differ from itself.
        """
        said = (cells.get("verdict") or "").strip()
        verdict, reason = _VERDICTS.get(re.sub(r"[\s_-]+", "-", said.casefold()), (None, None))
        if verdict is None:
            known = ", ".join(_VERDICTS)
            raise UsageError(f"{place}: unknown verdict {said!r}; write one of: {known}")
        sides = [cells.get(f"{side}_id") or cells.get(side) or "" for side in ("left", "right")]
        for side, cell in zip(("left", "right"), sides, strict=True):
            if not cell.strip():
                raise UsageError(
                    f"{place}: {side} is empty; write a string, an affiliation_id or a mention_id"
                )
        left, right = mention_key(sides[0]), mention_key(sides[1])
        if verdict == IS_ID:
            right = registry_key(sides[1])
        elif verdict == CANNOT and left == right:
            raise UsageError(f"{place}: {_short(sides[0])} cannot differ from itself; remove this row")
        return cls(
            left,
            right,
            verdict,
            cells.get("left") or sides[0],
            cells.get("right") or sides[1],
            cells.get("reason") or reason,
            cells.get("judged_by") or None,
            cells.get("judged_at") or None,
            place,
        )


@dataclass(frozen=True)
class Judgements:
    """All that was said; free of contradictions.

    Raises:
        UsageError: judgements contradict each other; the message gives the chain.
    """

    items: tuple[Judgement, ...] = ()

    def __post_init__(self) -> None:
        nodes = Nodes.of(self.items)
        try:
            must_groups(len(nodes.name), nodes.constraints)
        except ConstraintConflictError as error:
            raise UsageError(self._conflict(nodes, error.chain)) from error

    def __len__(self) -> int:
        return len(self.items)

    @classmethod
    def from_rows(cls, rows: Iterable[Mapping[str, str | None]], source: str = "judgements") -> Judgements:
        """Rows with left, right, verdict (and left_id, right_id, reason, judged_by, judged_at) to judgements.

        Raises:
            UsageError: a row that says nothing known, or a contradiction.
        """
        return cls(tuple(Judgement.from_cells(row, f"{source} row {n}") for n, row in enumerate(rows, 1)))

    @classmethod
    def from_frame(cls, frame: pd.DataFrame | None) -> Judgements:
        """The table of a run, or None, to judgements."""
        rows = [] if frame is None else frame.to_dict("records")
        return cls.from_rows(
            {str(name): cell if isinstance(cell, str) else None for name, cell in row.items()} for row in rows
        )

    def __add__(self, other: Judgements) -> Judgements:
        return Judgements(self.items + other.items)

    def _conflict(self, nodes: Nodes, chain: Sequence[int]) -> str:
        """The chain of must-links between two nodes that are to differ, with the rows that say so."""
        names = [nodes.name[i] for i in chain]
        said = {frozenset((j.left_id, j.right_id)): j for j in self.items if j.verdict != CANNOT}
        steps = [said[frozenset(names[i : i + 2])] for i in range(len(names) - 1)]
        text = {j.left_id: j.left for j in self.items} | {j.right_id: j.right for j in self.items}
        path = " – ".join(_short(text[name]) for name in names)
        ends = frozenset((names[0], names[-1]))
        against = next(
            (j for j in self.items if j.verdict == CANNOT and {j.left_id, j.right_id} == ends), None
        )
        apart = f"{against.place} keeps them apart" if against else "these ids are two institutions"
        return (
            f"{_short(text[names[0]])} and {_short(text[names[-1]])} are joined by"
            f" {', '.join(dict.fromkeys(j.place for j in steps))} ({path}), yet {apart};"
            " withdraw one of these rows"
        )


@dataclass(frozen=True)
class Nodes:
    """Mentions and registry ids that judgements name, and what was said of them, as numbers.

    An id of a registry is a node like any other: a mention is linked to its id, and two ids are never one.
    """

    name: list[str]
    constraints: Constraints

    @classmethod
    def of(cls, items: Sequence[Judgement]) -> Nodes:
        """Judgements to nodes."""
        ids = {j.right_id for j in items if j.verdict == IS_ID}
        name = list(dict.fromkeys(end for j in items for end in (j.left_id, j.right_id)))
        number = {key: i for i, key in enumerate(name)}
        must = [(number[j.left_id], number[j.right_id]) for j in items if j.verdict != CANNOT]
        cannot = [(number[j.left_id], number[j.right_id]) for j in items if j.verdict == CANNOT]
        of_ids = np.array([number[i] for i in name if i in ids], np.int64)
        return cls(name, Constraints(*_columns(must), *_columns(cannot), of_ids, np.arange(len(of_ids))))


def _columns(pairs: Sequence[tuple[int, int]]) -> tuple[Int64s, Int64s]:
    both = np.array(pairs, np.int64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def _short(text: str) -> str:
    return repr(text if len(text) <= 120 else f"{text[:119]}…")
