"""Two lists of pairs become one: where each pair goes is found once, for all columns of both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from blocking.pairs import CandidatePairs, Int64s, places_among
from blocking.vectors import AT_ONCE, empty_column


@dataclass(frozen=True)
class Merging:
    """Which pairs of the merged list are those of the first list, shape (n,); the rest are of the second."""

    is_own: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, own: tuple[Int64s, Int64s], more: tuple[Int64s, Int64s]) -> Merging:
        """Left and right ends of two lists, each ordered by (left, right), to their merging in that order."""
        n_items = 1 + max(int(own[1].max(initial=0)), int(more[1].max(initial=0)))
        places = places_among(more[0] * n_items + more[1], *own, n_items)
        is_own = np.ones(len(own[0]) + len(places), bool)
        is_own[places + np.arange(len(places))] = False
        return cls(is_own)

    @classmethod
    def behind(cls, n_own: int, n_more: int) -> Merging:
        """The pairs of the second list behind those of the first."""
        return cls(np.arange(n_own + n_more) < n_own)

    def column(self, own: npt.NDArray[Any], more: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The values of a column of both lists as one column; no more than it is held."""
        column, done = empty_column(len(self.is_own), own.dtype), 0
        for start in range(0, len(column), AT_ONCE):
            mask = self.is_own[start : start + AT_ONCE]
            n_own, part = int(np.count_nonzero(mask)), column[start : start + AT_ONCE]
            part[mask] = own[done : done + n_own]
            part[~mask] = more[start - done : start - done + len(mask) - n_own]
            done += n_own
        return column


def joined(one: CandidatePairs, other: CandidatePairs) -> CandidatePairs:
    """Two lists of candidate pairs as one; `BlockingError` where a pair is in both."""
    merging = Merging.of((one.left, one.right), (other.left, other.right))
    names = ("left", "right", "similarity", "rule")
    return CandidatePairs(*(merging.column(getattr(one, name), getattr(other, name)) for name in names))
