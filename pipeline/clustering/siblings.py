"""Items that came from one source each name something else: evidence against joining them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from blocking.pairs import are_ordered, places_among
from blocking.vectors import AT_ONCE, empty_column, filled

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]


def set_siblings_apart(
    left: Int64s, right: Int64s, probability: Float64s, group: Int64s
) -> tuple[Int64s, Int64s, Float64s]:
    """Pairs of items, and for each item its group, to pairs in which items of one group have probability 0.

    Evidence and not a cannot-link: one wrong merge would otherwise keep two large clusters apart for good
    (`benchmarks/quality.py` prints both).

    Args:
        left, right: pairs, left < right, each once, shape (n pairs,).
        probability: match probability of each pair.
        group: group of each item, non-decreasing, shape (n items,).
    """
    mate_left, mate_right = mates(group)
    n = len(group)
    if not len(mate_left):
        return left, right, probability
    order = np.lexsort((mate_right, mate_left))
    mate_left, mate_right = mate_left[order], mate_right[order]
    mate_key = mate_left * n + mate_right
    is_new = np.ones(len(mate_key), bool)

    def apart(part: slice) -> Float64s:
        key = left[part] * n + right[part]
        at = np.minimum(np.searchsorted(mate_key, key), len(mate_key) - 1)
        is_mate = mate_key[at] == key
        is_new[at[is_mate]] = False
        return np.where(is_mate, 0.0, probability[part])

    own = filled(len(left), np.float64, apart)
    more = mate_left[is_new], mate_right[is_new], np.zeros(int(is_new.sum()))
    # Ordered pairs stay so: then nobody has to sort them.
    places = np.full(len(more[0]), len(left))
    if are_ordered(left, right):
        places = places_among(mate_key[is_new], left, right, n)
    is_own = np.ones(len(left) + len(places), bool)
    is_own[places + np.arange(len(places))] = False
    columns = zip((left, right, own), more, strict=True)
    left, right, own = (_merged(*both, is_own) for both in columns)
    return left, right, own


def _merged(own: npt.NDArray[Any], more: npt.NDArray[Any], is_own: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    """Values of two columns in one: the next of `own` where `is_own` holds, else the next of `more`."""
    column, done = empty_column(len(is_own), own.dtype), 0
    for start in range(0, len(is_own), AT_ONCE):
        mask = is_own[start : start + AT_ONCE]
        n_own, part = int(np.count_nonzero(mask)), column[start : start + AT_ONCE]
        part[mask] = own[done : done + n_own]
        part[~mask] = more[start - done : start - done + len(mask) - n_own]
        done += n_own
    return column


def mates(group: Int64s) -> tuple[Int64s, Int64s]:
    """All pairs of items of one group, left < right."""
    n_before = np.arange(len(group)) - np.searchsorted(group, group)
    right = np.repeat(np.arange(len(group)), n_before)
    back = np.arange(len(right)) - np.repeat(np.cumsum(n_before) - n_before, n_before)
    return right - 1 - back, right
