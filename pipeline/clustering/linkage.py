"""Average linkage on a sparse graph: every round merges all pairs of clusters that are each other's best.

Average linkage is reducible: a merged cluster is never nearer to a third one than the nearer of its parts
was. So merging all mutual best pairs at once gives the tree of one merge at a time (Sumengen et al. 2021,
Scaling Hierarchical Agglomerative Clustering to Billion-sized Datasets, arXiv 2105.11653), and two clusters
in different components of the graph of means above the threshold never merge, so that edges between such
components are dropped. A forbidden edge has a sum of minus infinity, and whatever is added to it stays
forbidden; so does an edge between clusters that are known to be two.

Where `Missing.per_item` bounds what missing pairs count, a merged cluster can be nearer than its parts were.
Then this is no longer the tree of one merge at a time, but still one that nothing but the graph decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.clustering.graph import FORBIDDEN, ROUNDING, Bools, Graph, add_up, component_of
from pipeline.clustering.settings import Missing
from pipeline.records import Float64s, Int64s, Progress


class Linkage(NamedTuple):
    """Per node, shape (n,): its label, the mean at which it first merged (NaN: never); the rounds taken."""

    label: Int64s
    height: Float64s
    n_rounds: int


class Among(NamedTuple):
    """The nodes of a part of a graph: their numbers in all of it, shape (n,), and how many it has."""

    node: Int64s
    n: int


@dataclass(frozen=True)
class _Front:
    """The clusters that may still merge, numbered 0, 1, … by smallest node, and the edges between them.

    `excess` is the weighted sum of (probability - missing.probability) over the observed pairs of two
    clusters, `observed` the weight of these pairs; it is None, and not needed, where missing pairs have
    weight 1. `identity` is what each cluster is known to be, -1 where it is not; None where nothing is known.
    """

    node: Int64s
    size: Float64s
    left: npt.NDArray[Any]
    right: npt.NDArray[Any]
    excess: Float64s
    observed: Float64s | None
    identity: Int64s | None

    def mean(self, missing: Missing) -> Float64s:
        """Mean probability over all pairs of two clusters, missing ones included, for each edge."""
        pairs = self.size[self.left] * self.size[self.right]
        if self.observed is not None:
            sizes = self.size[self.left], self.size[self.right]
            pairs = self.observed + missing.weight_of(*sizes, self.observed)
        mean: Float64s = missing.probability + self.excess / pairs
        if self.identity is not None:
            left, right = self.identity[self.left], self.identity[self.right]
            mean[(left >= 0) & (right >= 0) & (left != right)] = FORBIDDEN
        return mean


def average_linkage(
    graph: Graph,
    min_probability: float,
    missing: Missing | None = None,
    on_progress: Progress | None = None,
    among: Among | None = None,
) -> Linkage:
    """A graph in, its average linkage clusters out, merged down to a mean of `min_probability`.

    Ties are broken by a fixed hash of the two clusters' smallest nodes, so the result depends on the
    numbering of the nodes only where means are exactly equal.

    Args:
        graph: nodes and edges; nodes without an edge stay alone.
        min_probability: least mean probability of a merge; above `missing.probability`.
        missing: how pairs without an edge count; by default as pairs of probability 0.
        on_progress: called with (nodes whose cluster is final, nodes).
        among: where this is part of a graph, so that ties are broken as there.
    """
    missing = missing or Missing()
    n = len(graph)
    among = among or Among(np.arange(n), n)
    parent, height = np.arange(n), np.full(n, np.nan)
    front, n_rounds = _first_front(graph, missing), 0
    while True:
        mean = front.mean(missing)
        front, mean = _prune(front, mean, mean >= min_probability - ROUNDING)
        if on_progress:
            on_progress(n - len(front.node), n)
        if not len(mean):
            return Linkage(_roots(parent), height, n_rounds)
        merge = _mutual_best(front, mean, among)
        left, right = front.left[merge], front.right[merge]
        parent[front.node[right]] = front.node[left]
        for side in front.node[left], front.node[right]:
            height[side] = np.where(np.isnan(height[side]), mean[merge], height[side])
        front = _merge(front, left, right)
        n_rounds += 1


def _first_front(graph: Graph, missing: Missing) -> _Front:
    observed = graph.weight[graph.left] * graph.weight[graph.right]
    excess = (graph.probability - missing.probability) * observed
    nodes, edges = np.arange(len(graph)), (graph.left, graph.right, excess)
    counted = None if missing.is_full else observed
    return _Front(nodes, graph.weight, *edges, counted, graph.identity)


def _prune(front: _Front, mean: Float64s, is_near: Bools) -> tuple[_Front, Float64s]:
    """Drop the edges that cannot matter any more, then the clusters without an edge, and renumber."""
    k = len(front.node)
    component = component_of(k, front.left[is_near], front.right[is_near])
    kept = component[front.left] == component[front.right]
    left, right = front.left[kept], front.right[kept]
    is_used = np.zeros(k, bool)
    is_used[left] = is_used[right] = True
    number = np.cumsum(is_used) - 1
    observed = None if front.observed is None else front.observed[kept]
    identity = None if front.identity is None else front.identity[is_used]
    edges = number[left], number[right], front.excess[kept]
    return _Front(front.node[is_used], front.size[is_used], *edges, observed, identity), mean[kept]


def _mutual_best(front: _Front, mean: Float64s, among: Among) -> Int64s:
    """Edges that are the best of both their ends, no two at one cluster: the merges of a round.

    Among equal means the greatest hash wins. A hash, and not the smallest number, because equal means are
    common (identical strings) and a clique of k equals then halves each round instead of losing one node.
    """
    best = np.full(len(front.node), -np.inf)
    np.maximum.at(best, front.left, mean)
    np.maximum.at(best, front.right, mean)
    top = np.flatnonzero((mean == best[front.left]) & (mean == best[front.right]))
    left, right = front.left[top], front.right[top]
    number = among.node[front.node].astype(np.uint64)
    rank = _mix(number[left] * np.uint64(among.n) + number[right])
    greatest = np.zeros(len(front.node), np.uint64)
    np.maximum.at(greatest, left, rank)
    np.maximum.at(greatest, right, rank)
    chosen: Int64s = top[(rank == greatest[left]) & (rank == greatest[right])]
    return chosen


def _mix(key: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """SplitMix64's finalizer (Steele et al. 2014): a bijection, so distinct pairs never tie."""
    key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return key ^ (key >> np.uint64(31))


def _merge(front: _Front, into: npt.NDArray[Any], gone: npt.NDArray[Any]) -> _Front:
    """The front after every cluster of `gone` has joined its partner in `into`."""
    k = len(front.node)
    number = np.arange(k)
    number[gone] = into
    size = front.size.copy()
    size[into] += size[gone]
    identity = front.identity
    if identity is not None:
        identity = identity.copy()
        identity[into] = np.maximum(identity[into], identity[gone])
    left, right = number[front.left], number[front.right]
    kept = left != right
    low, high = np.minimum(left, right)[kept], np.maximum(left, right)[kept]
    observed = None if front.observed is None else add_up(k, low, high, front.observed[kept])[2]
    return _Front(front.node, size, *add_up(k, low, high, front.excess[kept]), observed, identity)


def _roots(parent: Int64s) -> Int64s:
    """Follow parents to the end; each step doubles the distance looked ahead."""
    while True:
        ahead = parent[parent]
        if np.array_equal(ahead, parent):
            return parent
        parent = ahead
