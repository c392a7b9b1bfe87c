"""HDBSCAN on a sparse graph, component by component, with the tree code of the `hdbscan` package.

The package itself refuses a disconnected graph, and with one component it needs `allow_single_cluster`,
which labels much of a tight component as noise. Here the components' spanning trees are joined by over-long
bridges into one tree whose root is always a bridge: a component can then be one cluster like any other, and
no cluster crosses a bridge.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse.csgraph import minimum_spanning_tree

from pipeline.clustering.graph import Graph, canonical, sparse_matrix
from pipeline.errors import AffilError
from pipeline.records import Float64s, Int64s

#: Longer than any distance 1 - probability.
BRIDGE = 2.0
#: Probabilities above 0.99 count as equally near. Density is 1 / distance: unbounded, two identical strings
#: would outweigh every cluster around them, and a distance of 0 is no edge at all to SciPy.
MIN_DISTANCE = 0.01
#: One core distance is the reachability of many edges; this much of an edge's own distance orders them,
#: where the numbering of the nodes would otherwise.
TIE_BREAK = 1e-6


class _Tree(NamedTuple):
    """Functions of the `hdbscan` package: edges to hierarchy, to condensed tree, to stability, to labels."""

    hierarchy: Callable[..., Any]
    condense: Callable[..., Any]
    stability: Callable[..., Any]
    select: Callable[..., Any]


def density_clusters(graph: Graph, component: Int64s, min_cluster_size: int, min_samples: int) -> Int64s:
    """A thresholded graph and its components in, HDBSCAN labels out, noise as clusters of one; shape (n,).

    Args:
        graph: only edges that may join; `component` holds the component of each node, shape (n,).
        min_cluster_size: nodes that a cluster needs, 2 or more.
        min_samples: the core distance of a node reaches its `min_samples`-th neighbour, itself counted.

    Raises:
        AffilError: the `hdbscan` package is missing.
    """
    tree = _load()
    n = len(graph)
    n_nodes = np.bincount(component, minlength=1)[component]
    alone = n + np.arange(n)
    # Below twice the least size a component cannot come apart into two clusters, so it needs no tree.
    label = np.where(n_nodes >= min_cluster_size, component, alone)
    is_large = n_nodes >= 2 * min_cluster_size
    large = np.flatnonzero(is_large)
    if len(large):
        number = np.cumsum(is_large) - 1
        inside = graph.keep(is_large[graph.left])
        left, right = number[inside.left], number[inside.right]
        distance = _mutual_reachability(len(large), left, right, inside.probability, min_samples)
        edges = _bridged_tree(left, right, distance, canonical(component[large]), min_cluster_size)
        found = _select(edges, tree, min_cluster_size)[: len(large)]
        label[large] = np.where(found < 0, alone[large], 2 * n + found)
    return canonical(label)


def _load() -> _Tree:
    try:
        from hdbscan._hdbscan_linkage import label
        from hdbscan._hdbscan_tree import compute_stability, condense_tree, get_clusters
    except ImportError as error:
        raise AffilError(
            "clusterer 'hdbscan' needs the hdbscan package: pip install 'affiliation-resolver[cpu]'"
        ) from error
    return _Tree(label, condense_tree, compute_stability, get_clusters)


def _mutual_reachability(
    n: int, left: Int64s, right: Int64s, probability: Float64s, min_samples: int
) -> Float64s:
    """Distance of each edge, at least the core distance of either end; a missing neighbour is 1 away."""
    distance = np.clip(1.0 - probability, MIN_DISTANCE, 1.0)
    ends, distances = np.concatenate([left, right]), np.concatenate([distance, distance])
    order = np.lexsort((distances, ends))
    degree = np.bincount(ends, minlength=n)
    others = min_samples - 1
    core = np.full(n, MIN_DISTANCE if others == 0 else 1.0)
    if others:
        is_enough = degree >= others
        nth = (np.cumsum(degree) - degree)[is_enough] + others - 1
        core[is_enough] = distances[order[nth]]
    reach: Float64s = np.maximum(distance, np.maximum(core[left], core[right])) + TIE_BREAK * distance
    return reach


def _bridged_tree(
    left: Int64s, right: Int64s, distance: Float64s, component: Int64s, min_cluster_size: int
) -> npt.NDArray[np.float64]:
    """Rows (node, node, distance) by distance: the spanning trees, the bridges, and one component of padding.

    The padding, `min_cluster_size` nodes after the real ones, keeps the root a bridge when there is one
    component.
    """
    n = len(component)
    spanning = minimum_spanning_tree(sparse_matrix(n, left, right, distance)).tocoo()
    padding = np.arange(n, n + min_cluster_size)
    anchors = np.append(np.unique(component, return_index=True)[1], n)
    rows = [
        np.column_stack([spanning.row, spanning.col, spanning.data]),
        np.column_stack([padding[:-1], padding[1:], np.ones(min_cluster_size - 1)]),
        np.column_stack([anchors[:-1], anchors[1:], np.full(len(anchors) - 1, BRIDGE)]),
    ]
    edges = np.concatenate(rows).astype(np.float64)
    return np.ascontiguousarray(edges[np.argsort(edges[:, 2], kind="stable")])


def _select(edges: npt.NDArray[np.float64], tree: _Tree, min_cluster_size: int) -> Int64s:
    """The clusters of greatest excess of mass, -1 for noise, one label for each node of the tree."""
    condensed = tree.condense(tree.hierarchy(edges), min_cluster_size)
    labels: npt.NDArray[Any] = tree.select(condensed, tree.stability(condensed), "eom", False)[0]
    return labels.astype(np.int64)
