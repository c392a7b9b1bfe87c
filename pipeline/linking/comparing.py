"""Features that compare the candidates of a mention, and of a string, with each other."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from blocking.keys import ranges
from pipeline.records import Float64s, Int64s

#: Stands for the log-odds of what is not there.
NO_LOGIT = -15.0


def rank(group: Int64s) -> Int64s:
    """0, 1, … within each group; groups are in order."""
    return ranges(np.unique(group, return_counts=True)[1])


def best_others(group: Int64s, value: Float64s, none: Float64s | float) -> Float64s:
    """For each row the greatest value of the other rows of its group, `none` where it is alone."""
    order = np.lexsort([-value, group])
    place = rank(group[order])
    first = np.flatnonzero(place == 0)
    sizes = np.diff(np.append(first, len(order)))
    best = value[order[first]]
    second = value[order[np.minimum(first + 1, max(len(order) - 1, 0))]]
    number = np.repeat(np.arange(len(first)), sizes)
    found = np.empty(len(value))
    found[order] = np.where(place == 0, second[number], best[number])
    is_alone = np.empty(len(value), bool)
    is_alone[order] = (sizes == 1)[number]
    return np.where(is_alone, none, found)


def margin(group: Int64s, value: Float64s) -> Float64s:
    """How far each value is above the best of the others of its group; 20 where it is alone."""
    return value - best_others(group, value, value - 20)


def above_best(group: Int64s, value: Float64s) -> Float64s:
    """Each value less the greatest of its group: 0 or below."""
    _, number = np.unique(group, return_inverse=True)
    best = np.full(int(number.max(initial=-1)) + 1, -np.inf)
    np.maximum.at(best, number, value)
    return np.asarray(value - best[number], np.float64)


def relatives(
    mention: Int64s, record: Int64s, logit: Float64s, parents: tuple[Int64s, Int64s], n_records: int
) -> tuple[Float64s, Float64s]:
    """Best log-odds of a candidate's parents, and of its children, among the candidates of its mention."""
    child, parent = parents  # Ordered by child.
    start = np.searchsorted(child, record, "left")
    size = np.searchsorted(child, record, "right") - start
    own = np.repeat(np.arange(len(record)), size)
    wanted = mention[own] * n_records + parent[np.repeat(start, size) + ranges(size)]
    key = mention * n_records + record
    order = np.argsort(key)
    at = np.minimum(np.searchsorted(key[order], wanted), max(len(key) - 1, 0))
    is_there = key[order][at] == wanted if len(key) else np.zeros(0, bool)
    low, high = own[is_there], order[at[is_there]]
    up, down = np.full(len(record), NO_LOGIT), np.full(len(record), NO_LOGIT)
    np.maximum.at(up, low, logit[high])
    np.maximum.at(down, high, logit[low])
    return up, down


def within_others(
    mention: Int64s, start: Int64s, length: Int64s, logit: Float64s
) -> tuple[npt.NDArray[np.bool_], Float64s]:
    """Whether another candidate's name stands around a candidate's: `Hefei University` in a longer name.

    Args:
        mention: in order, shape (n,).
        start, length: where the candidate's longest name stands in the string; a start of -1 for nowhere.
        logit: log-odds of the candidates.

    Returns:
        Whether there is such a name, and the best log-odds of its candidates.
    """
    found, best = np.zeros(len(mention), bool), np.full(len(mention), NO_LOGIT)
    known = np.flatnonzero(start >= 0)
    first, sizes = np.unique(mention[known], return_index=True, return_counts=True)[1:]
    number = np.repeat(np.arange(len(first)), sizes)
    n_others = sizes[number]
    inner = known[np.repeat(np.arange(len(known)), n_others)]
    outer = known[np.repeat(first[number], n_others) + ranges(n_others)]
    is_around = (
        (start[outer] <= start[inner])
        & (start[outer] + length[outer] >= start[inner] + length[inner])
        & (length[outer] > length[inner])
    )
    found[inner[is_around]] = True
    np.maximum.at(best, inner[is_around], logit[outer[is_around]])
    return found, best
