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
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from blocking.vectors import AT_ONCE, empty_column, filled, kept, taken
from pipeline.clustering.graph import FORBIDDEN, ROUNDING, Bools, Graph, add_up, component_of, is_inside
from pipeline.clustering.settings import Missing
from pipeline.records import Float64s, Int64s, Progress

#: Edges that are added up at a time: some 400 MB.
_EDGES = 1 << 22


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
        return filled(len(self.left), np.float64, partial(self._mean_of, missing))

    def _mean_of(self, missing: Missing, part: slice) -> Float64s:
        sizes = self.size[self.left[part]], self.size[self.right[part]]
        if self.observed is None:
            pairs = sizes[0] * sizes[1]
        else:
            pairs = self.observed[part] + missing.weight_of(*sizes, self.observed[part])
        mean: Float64s = missing.probability + self.excess[part] / pairs
        if self.identity is not None:
            left, right = self.identity[self.left[part]], self.identity[self.right[part]]
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
        near = filled(len(mean), np.bool_, lambda part: mean[part] >= min_probability - ROUNDING)  # noqa: B023
        front, mean = _prune(front, mean, near)
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
    n, weight = len(graph.left), graph.weight
    observed = filled(n, np.float64, lambda part: weight[graph.left[part]] * weight[graph.right[part]])
    excess = filled(
        n, np.float64, lambda part: (graph.probability[part] - missing.probability) * observed[part]
    )
    nodes, edges = np.arange(len(graph)), (graph.left, graph.right, excess)
    counted = None if missing.is_full else observed
    return _Front(nodes, graph.weight, *edges, counted, graph.identity)


def _prune(front: _Front, mean: Float64s, is_near: Bools) -> tuple[_Front, Float64s]:
    """Drop the edges that cannot matter any more, then the clusters without an edge, and renumber."""
    k = len(front.node)
    component = component_of(k, kept(front.left, is_near), kept(front.right, is_near))
    inside = is_inside(component, front.left, front.right)
    left, right = kept(front.left, inside), kept(front.right, inside)
    is_used = np.zeros(k, bool)
    is_used[left] = is_used[right] = True
    number = (np.cumsum(is_used) - 1).astype(np.min_scalar_type(-1 - k))
    observed = None if front.observed is None else kept(front.observed, inside)
    identity = None if front.identity is None else front.identity[is_used]
    left, right = (filled(len(end), number.dtype, partial(taken, number, end)) for end in (left, right))
    edges = left, right, kept(front.excess, inside)
    return _Front(front.node[is_used], front.size[is_used], *edges, observed, identity), kept(mean, inside)


def _mutual_best(front: _Front, mean: Float64s, among: Among) -> Int64s:
    """Edges that are the best of both their ends, no two at one cluster: the merges of a round.

    Among equal means the greatest hash wins. A hash, and not the smallest number, because equal means are
    common (identical strings) and a clique of k equals then halves each round instead of losing one node.
    """
    best = np.full(len(front.node), -np.inf)
    np.maximum.at(best, front.left, mean)
    np.maximum.at(best, front.right, mean)
    top = np.flatnonzero(
        filled(
            len(mean),
            np.bool_,
            lambda part: (mean[part] == best[front.left[part]]) & (mean[part] == best[front.right[part]]),
        )
    )
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
    columns = [front.excess] if front.observed is None else [front.excess, front.observed]
    left, right, *summed = _added(front, number, columns)
    observed = summed[1] if len(summed) > 1 else None
    return _Front(front.node, size, left, right, summed[0], observed, identity)


def _added(front: _Front, number: Int64s, columns: list[Float64s]) -> list[npt.NDArray[Any]]:
    """Edges between clusters by their new numbers, ordered, and each column's sum over the edges made one.

    Some rows of the matrix of edges at a time: all at once would take many times the room of the edges.
    """
    k = len(front.node)

    def low_of(part: slice) -> npt.NDArray[Any]:
        left, right = number[front.left[part]], number[front.right[part]]
        return np.where(left == right, k, np.minimum(left, right))

    low = filled(len(front.left), np.min_scalar_type(-1 - k), low_of)
    per_row = np.zeros(k + 1, np.int64)
    for start in range(0, len(low), AT_ONCE):
        per_row += np.bincount(low[start : start + AT_ONCE], minlength=k + 1)
    ends = np.cumsum(per_row[:-1])
    firsts = [0, *np.flatnonzero(np.diff((ends - 1) // _EDGES)) + 1, k]
    found: list[list[npt.NDArray[Any]]] = [[] for _ in range(2 + len(columns))]
    for first, last in pairwise(firsts):
        edge = np.flatnonzero(
            filled(len(low), np.bool_, lambda part: (low[part] >= first) & (low[part] < last))  # noqa: B023
        )
        rows = low[edge]
        high = np.maximum(number[front.left[edge]], number[front.right[edge]])
        for place, column in enumerate(columns):
            row, high_end, total = add_up(k, rows, high, column[edge])
            found[2 + place].append(total)
        found[0].append(row)
        found[1].append(high_end)
    return [_joined(parts) for parts in found]


def _joined(parts: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Pieces of a column in one, let go of one by one."""
    column, done = empty_column(sum(map(len, parts)), parts[0].dtype), 0
    parts.reverse()
    while parts:
        own = parts.pop()
        column[done : done + len(own)] = own
        done += len(own)
    return column


def _roots(parent: Int64s) -> Int64s:
    """Follow parents to the end; each step doubles the distance looked ahead."""
    while True:
        ahead = parent[parent]
        if np.array_equal(ahead, parent):
            return parent
        parent = ahead
