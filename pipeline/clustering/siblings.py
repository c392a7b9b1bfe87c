"""Items that came from one source each name something else: evidence against joining them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

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
    key, mate_key = left * n + right, mate_left * n + mate_right
    at = np.minimum(np.searchsorted(mate_key, key), len(mate_key) - 1)
    is_mate = mate_key[at] == key
    is_new = np.ones(len(mate_key), bool)
    is_new[at[is_mate]] = False
    return (
        np.concatenate([left, mate_left[is_new]]),
        np.concatenate([right, mate_right[is_new]]),
        np.concatenate([np.where(is_mate, 0.0, probability), np.zeros(int(is_new.sum()))]),
    )


def mates(group: Int64s) -> tuple[Int64s, Int64s]:
    """All pairs of items of one group, left < right."""
    n_before = np.arange(len(group)) - np.searchsorted(group, group)
    right = np.repeat(np.arange(len(group)), n_before)
    back = np.arange(len(right)) - np.repeat(np.cumsum(n_before) - n_before, n_before)
    return right - 1 - back, right
