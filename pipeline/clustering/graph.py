"""The graph that all clusterers work on: nodes are must-linked groups of items, edges are observed pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from blocking.vectors import filled, kept
from pipeline.records import Float64s, Int64s

Bools = npt.NDArray[np.bool_]

#: Probability of an edge that a cannot-link forbids: no mean that it enters is ever high enough.
FORBIDDEN = -np.inf
#: Means of equal probabilities, and float32 probabilities, differ from the threshold by rounding alone.
ROUNDING = 1e-7


@dataclass(frozen=True)
class Graph:
    """Nodes and weighted edges, each edge once with `left < right`, ordered by (left, right).

    Attributes:
        n_members: items in each node, int64, shape (n,).
        weight: what a node counts in a mean, float64 above 0, shape (n,).
        left: int64, shape (m,).
        right: int64, shape (m,).
        probability: float64, shape (m,), `FORBIDDEN` where the two nodes must not share a cluster.
        identity: what each node is known to be, -1 where it is not, int64, shape (n,); nodes of two
            identities must not share a cluster; None where nothing is known of any node.
    """

    n_members: Int64s
    weight: Float64s
    left: Int64s
    right: Int64s
    probability: Float64s
    identity: Int64s | None = None

    def __len__(self) -> int:
        return len(self.n_members)

    def keep(self, is_kept: Bools) -> Graph:
        """The same nodes with the edges for which `is_kept` (shape (m,)) holds."""
        left, right, probability = (kept(c, is_kept) for c in (self.left, self.right, self.probability))
        return Graph(self.n_members, self.weight, left, right, probability, self.identity)

    def at_least(self, min_probability: float) -> Graph:
        """The same nodes with the edges of at least `min_probability`, up to rounding."""
        return self.keep(self.probability >= min_probability - ROUNDING)


def is_inside(label: Int64s, left: npt.NDArray[Any], right: npt.NDArray[Any]) -> Bools:
    """Which edges have both ends in one cluster, shape (m,)."""
    return filled(len(left), np.bool_, lambda part: label[left[part]] == label[right[part]])


def sparse_matrix(
    n: int, left: npt.NDArray[Any], right: npt.NDArray[Any], value: npt.NDArray[Any]
) -> csr_array:
    """Edges ordered by `left` in, an upper triangular (n, n) CSR matrix out, without sorting anything."""
    start = np.concatenate([[0], np.cumsum(np.bincount(left, minlength=n))])
    return csr_array((value, right, start), shape=(n, n))


def component_of(n: int, left: npt.NDArray[Any], right: npt.NDArray[Any]) -> Int64s:
    """Edges ordered by `left` in, the number of each node's connected component out, shape (n,)."""
    matrix = sparse_matrix(n, left, right, np.ones(len(left), np.int8))
    component: npt.NDArray[Any] = connected_components(matrix, directed=False)[1]
    return component.astype(np.int64)


def component_of_any(n: int, left: npt.NDArray[Any], right: npt.NDArray[Any]) -> Int64s:
    """As `component_of`, for edges in any order, with repeats and loops."""
    matrix = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(n, n))
    component: npt.NDArray[Any] = connected_components(matrix.tocsr(), directed=False)[1]
    return component.astype(np.int64)


def add_up(
    n: int, left: npt.NDArray[Any], right: npt.NDArray[Any], value: Float64s
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], Float64s]:
    """Edges in any order with repeats in, ordered edges with the sum of their repeats out."""
    summed = coo_array((value, (left, right)), shape=(n, n)).tocsr().tocoo()
    return summed.row, summed.col, summed.data


def canonical(label: Int64s) -> Int64s:
    """Any labels of 0 or more in, the same partition out, numbered 0, 1, … by smallest member; shape (n,)."""
    n = len(label)
    first = np.full(int(label.max(initial=-1)) + 1, n, np.int64)
    np.minimum.at(first, label, np.arange(n))
    number = np.empty_like(first)
    number[np.argsort(first, kind="stable")] = np.arange(len(first))
    return number[label]
