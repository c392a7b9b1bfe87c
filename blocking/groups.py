"""A second pass: groups of items in, pairs between near groups out that the first pass did not propose."""

from __future__ import annotations

import logging

import numpy as np
import numpy.typing as npt

from blocking.blocks import BlockingResult, cosines
from blocking.keys import distinct, ranges, sorted_pairs
from blocking.neighbours import nearest_neighbours
from blocking.pairs import RULES, CandidatePairs, Float32s, Int64s
from blocking.settings import BlockingSettings, Progress

log = logging.getLogger(__name__)

BETWEEN_GROUPS = "between_groups"


def block_between(
    blocked: BlockingResult,
    group: npt.NDArray[np.int64],
    settings: BlockingSettings | None = None,
    *,
    on_progress: Progress | None = None,
) -> CandidatePairs:
    """What the first pass gave and a group for each item in, more pairs out, each new and between two groups.

    An item has a bounded number of neighbours, so that two groups of one thing can both be larger than what
    any of their items sees. Here groups look for groups: by the mean of their vectors, and of two that are
    near each other the items nearest to these means meet, one to one, the fewer ones several times.

    Args:
        blocked: of `block_in_detail`.
        group: group of each item, int64 of 0 or more, shape (n items,).
        settings: `n_group_neighbours` and `n_representatives`, and how neighbours are searched.
        on_progress: called with (groups searched, groups).
    """
    settings = settings or BlockingSettings()
    if not settings.n_group_neighbours or not len(group):
        return CandidatePairs.empty()
    means, members = _means(blocked, group)
    near, cosine = nearest_neighbours(means, settings.n_group_neighbours, settings, on_progress=on_progress)
    is_link = (near >= 0) & (cosine >= settings.min_similarity)
    a, b = np.nonzero(is_link)[0], near[is_link]
    links = np.stack(sorted_pairs(a, b, len(means)), axis=1)
    item, other = _meetings(links, *_representatives(blocked, group, means, members, settings))
    left, right = np.minimum(item, other), np.maximum(item, other)
    key = distinct(left * len(group) + right)
    left, right = np.divmod(key[~blocked.pairs.has(key, len(group))], len(group))
    number = blocked.text_number
    log.info("between %d groups: %d links, %d more pairs", len(means), len(links), len(left))
    rule = np.full(len(left), 1 << RULES.index(BETWEEN_GROUPS), np.uint8)
    return CandidatePairs(left, right, cosines(number[left], number[right], blocked.vectors), rule)


def _means(blocked: BlockingResult, group: Int64s) -> tuple[Float32s, Int64s]:
    """Mean direction of each group, rows of length 1 (or of zeros), and the items that have a vector."""
    from scipy import sparse

    members = np.flatnonzero(blocked.text_number >= 0)
    shape = (int(group.max()) + 1, len(blocked.vectors))
    ones = np.ones(len(members), np.float32)
    share = sparse.csr_array((ones, (group[members], blocked.text_number[members])), shape=shape)
    sums = np.asarray(share @ blocked.vectors, np.float32)
    length = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.divide(sums, length, out=sums, where=length > 0), members


def _representatives(
    blocked: BlockingResult, group: Int64s, means: Float32s, members: Int64s, settings: BlockingSettings
) -> tuple[Int64s, Int64s, Int64s]:
    """Items nearest to the mean of their group, group by group; where each group starts, how many it has."""
    nearness = cosines(group[members], blocked.text_number[members], means, blocked.vectors)
    members = members[np.lexsort((members, -nearness, group[members]))]
    sizes = np.bincount(group[members], minlength=len(means))
    kept = members[ranges(sizes) < settings.n_representatives]
    n_kept = np.minimum(sizes, settings.n_representatives)
    return kept, np.cumsum(n_kept) - n_kept, n_kept


def _meetings(links: Int64s, items: Int64s, starts: Int64s, counts: Int64s) -> tuple[Int64s, Int64s]:
    """The items that two linked groups send to meet each other."""
    a, b = links[:, 0], links[:, 1]
    n_meetings = np.maximum(counts[a], counts[b])
    link, turn = np.repeat(np.arange(len(links)), n_meetings), ranges(n_meetings)
    a, b = a[link], b[link]
    return items[starts[a] + turn % counts[a]], items[starts[b] + turn % counts[b]]
