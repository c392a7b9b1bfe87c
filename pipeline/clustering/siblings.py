"""Items that came from one source each name something else: evidence against joining them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from blocking.merging import Merging
from blocking.pairs import are_ordered
from blocking.vectors import filled

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
    is_ordered = are_ordered(left, right)
    merging = Merging.of((left, right), more[:2]) if is_ordered else Merging.behind(len(left), len(more[0]))
    left, right, own = (merging.column(*both) for both in zip((left, right, own), more, strict=True))
    return left, right, own


def mates(group: Int64s) -> tuple[Int64s, Int64s]:
    """All pairs of items of one group, left < right."""
    n_before = np.arange(len(group)) - np.searchsorted(group, group)
    right = np.repeat(np.arange(len(group)), n_before)
    back = np.arange(len(right)) - np.repeat(np.cumsum(n_before) - n_before, n_before)
    return right - 1 - back, right
