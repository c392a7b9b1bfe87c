"""What people said of strings, as far as a training may learn from it: the pairs that it settles."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from blocking import CandidatePairs
from pipeline.clustering import Constraints, must_groups
from pipeline.consolidation import mention_ids
from pipeline.judgements import IS_ID, Judgement, Judgements, hold, raw_string, read_judgements
from pipeline.records import Int64s, Mentions


class SettledPairs(NamedTuple):
    """Pairs of mentions that judgements settle.

    Attributes:
        left, right: mention numbers, shape (n,).
        is_match: whether they are one institution.
        n_unknown: judgements left out because a string of theirs is missing: they name its id alone.
        n_held_out: judgements left out because they are about a string that is held out.
    """

    left: Int64s
    right: Int64s
    is_match: npt.NDArray[np.bool_]
    n_unknown: int
    n_held_out: int

    @property
    def told(self) -> str:
        """A line on what was said."""
        n_same = int(self.is_match.sum())
        parts = [f"judged: {n_same:,} pairs of one institution, {len(self.is_match) - n_same:,} of two"]
        if self.n_unknown:
            parts.append(f"{self.n_unknown:,} judgements that name ids without their strings were left out")
        if self.n_held_out:
            parts.append(f"{self.n_held_out:,} about held-out strings were left out")
        return "; ".join(parts)


@dataclass(frozen=True)
class Judged:
    """Judgements to learn from.

    Attributes:
        judgements: what was said; two strings of one registry id are one institution, of two ids two.
        strings: the raw strings that it names.
        n_held_out: judgements left out because they are about a string that is held out.
    """

    judgements: Judgements
    strings: list[str]
    n_held_out: int = 0

    @classmethod
    def of(cls, judgements: Judgements, held_out: Set[str] = frozenset()) -> Judged:
        """Judgements without those about strings of which nothing may be learnt."""
        named = [(j, _strings(j)) for j in judgements.items]
        free = [(j, own) for j, own in named if held_out.isdisjoint(own)]
        strings = sorted(set().union(*(own for _, own in free)))
        return cls(Judgements(tuple(j for j, _ in free)), strings, len(named) - len(free))

    @classmethod
    def read(cls, path: Path | None, held_out: Set[str] = frozenset()) -> Judged:
        """A file of judgements, None for none, likewise.

        Raises:
            UsageError: as for `read_judgements`.
        """
        return cls.of(read_judgements(path) if path else Judgements(), held_out)

    def settle(self, mentions: Mentions, pairs: CandidatePairs) -> SettledPairs:
        """Mentions of the strings, and proposed pairs of them, to those that judgements settle.

        Pairs judged are among them whether proposed or not, and of those proposed what follows from them.
        """
        ids = mention_ids(mentions)
        held = hold(self.judgements, ids)
        number = {name: n for n, name in enumerate(ids)}
        told = [(number.get(j.left_id, -1), number.get(j.right_id, -1)) for j in self.judgements.items]
        direct = np.array([ends for ends in told if min(ends) >= 0], np.int64).reshape(-1, 2)
        both = np.concatenate([np.stack([pairs.left, pairs.right], axis=1), np.sort(direct, axis=1)])
        left, right = np.unique(both, axis=0).T
        is_match, is_settled = _settled(left, right, held.constraints, len(ids))
        found = left[is_settled], right[is_settled], is_match[is_settled]
        return SettledPairs(*found, len(held.unknown), self.n_held_out)


def _strings(said: Judgement) -> set[str]:
    """The raw strings that a judgement names."""
    cells = (said.left,) if said.verdict == IS_ID else (said.left, said.right)
    return {raw for cell in cells if (raw := raw_string(cell))}


def _settled(
    left: Int64s, right: Int64s, constraints: Constraints, n: int
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Pairs of mentions to whether they are one institution, and whether that is known."""
    group = must_groups(n, constraints)
    identity = np.full(n, -1, np.int64)
    identity[group[constraints.named]] = constraints.identity
    low, high = np.sort(np.stack([group[left], group[right]]), axis=0)
    apart = np.sort(np.stack([group[constraints.cannot_left], group[constraints.cannot_right]]), axis=0)
    is_two = np.isin(low * n + high, apart[0] * n + apart[1])
    is_two |= (identity[low] >= 0) & (identity[high] >= 0) & (identity[low] != identity[high])
    is_one = (low == high) & (left != right)
    return is_one, is_one | is_two
