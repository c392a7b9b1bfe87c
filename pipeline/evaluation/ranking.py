"""Candidates of each query in the order of a score: how far up those that belong there stand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.records import Float64s, Int64s


@dataclass(frozen=True)
class RankingQuality:
    """Means over the queries with a right candidate (Manning, Raghavan and Schütze 2008, chapter 8).

    Attributes:
        n_queries: how many they are.
        mean_average_precision: of whole lists.
        reciprocal_rank: one through the rank of the first right candidate, 0 below rank `cut`.
        discounted_gain: of the first `cut`, as a share of the best that could be.
    """

    n_queries: int
    mean_average_precision: float
    reciprocal_rank: float
    discounted_gain: float


def ranking_quality(
    left: Int64s, right: Int64s, score: Float64s, is_match: npt.NDArray[np.bool_], cut: int = 10
) -> RankingQuality:
    """Pairs, each side of which is a candidate for the other, with scores and truths, shape (n,) each.

    Ties stay in the order given.
    """
    query = np.concatenate([left, right])
    order = np.lexsort((-np.concatenate([score, score]), query))
    query, hit = query[order], np.concatenate([is_match, is_match])[order].astype(np.float64)
    starts = np.flatnonzero(np.r_[True, query[1:] != query[:-1]]) if len(query) else np.empty(0, np.int64)
    sizes = np.diff(np.r_[starts, len(query)])
    rank = np.arange(len(query)) - np.repeat(starts, sizes) + 1
    n_hits = _sums(hit, starts)
    is_asked = n_hits > 0
    if not is_asked.any():
        return RankingQuality(0, 0.0, 0.0, 0.0)
    so_far = np.cumsum(hit)
    so_far -= np.repeat(so_far[starts] - hit[starts], sizes)
    precision = _sums(hit * so_far / rank, starts)[is_asked] / n_hits[is_asked]
    first = _sums(hit * (so_far == 1) * (rank <= cut) / rank, starts)[is_asked]
    discount = (rank <= cut) / np.log2(1 + rank)
    best = np.cumsum(1 / np.log2(1 + np.arange(1, cut + 1)))
    most = best[np.minimum(n_hits[is_asked], cut).astype(np.int64) - 1]
    gain = _sums(hit * discount, starts)[is_asked] / most
    return RankingQuality(
        int(is_asked.sum()), float(precision.mean()), float(first.mean()), float(gain.mean())
    )


def _sums(values: Float64s, starts: Int64s) -> Float64s:
    return np.add.reduceat(values, starts) if len(starts) else np.empty(0)
