"""Connected components, and the guard that splits clusters which chain or break a cannot-link."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipeline.clustering.by_component import linked_by_component
from pipeline.clustering.graph import ROUNDING, Bools, Graph, canonical, component_of
from pipeline.clustering.settings import Missing
from pipeline.records import Int64s


class Split(NamedTuple):
    """Labels after a split, shape (n,), how many clusters came apart, and the rounds that took."""

    label: Int64s
    n_split: int
    n_rounds: int


def components(graph: Graph) -> Int64s:
    """A graph in, the connected component of each node out, numbered by smallest member; shape (n,)."""
    return canonical(component_of(len(graph), graph.left, graph.right))


def is_forbidden(graph: Graph, label: Int64s) -> Bools:
    """Which clusters hold a cannot-linked pair, or nodes of two identities; shape (n_clusters,)."""
    inside = (label[graph.left] == label[graph.right]) & np.isneginf(graph.probability)
    forbidden = np.zeros(_n_clusters(label), bool)
    forbidden[label[graph.left[inside]]] = True
    if graph.identity is not None:
        known = np.flatnonzero(graph.identity >= 0)
        held = np.unique(np.stack([label[known], graph.identity[known]], axis=1), axis=0)[:, 0]
        forbidden[held[1:][np.diff(held) == 0]] = True
    return forbidden


def is_chain(graph: Graph, label: Int64s, max_items: int, min_mean_probability: float) -> Bools:
    """Which clusters look chained: above `max_items` (0: no limit) or with a low mean probability inside.

    The mean is over the observed pairs of the cluster, those below the match threshold included.
    """
    n_clusters = _n_clusters(label)
    inside = (label[graph.left] == label[graph.right]) & np.isfinite(graph.probability)
    cluster = label[graph.left[inside]]
    n_pairs = np.bincount(cluster, minlength=n_clusters)
    total = np.bincount(cluster, weights=graph.probability[inside], minlength=n_clusters)
    n_items = np.bincount(label, weights=graph.n_members, minlength=n_clusters)
    chain: Bools = total < (min_mean_probability - ROUNDING) * n_pairs
    return chain | (n_items > max_items) if max_items else chain


def split(graph: Graph, label: Int64s, is_bad: Bools, min_probability: float, missing: Missing) -> Split:
    """Replace every cluster in `is_bad` by the average linkage clusters of its own nodes."""
    if not is_bad.any():
        return Split(label, 0, 0)
    inside = graph.keep((label[graph.left] == label[graph.right]) & is_bad[label[graph.left]])
    linked = linked_by_component(inside, min_probability, missing)
    refined = canonical(np.where(is_bad[label], len(is_bad) + linked.label, label))
    old = np.zeros(_n_clusters(refined), np.int64)
    old[refined] = label
    n_parts = np.bincount(old, minlength=len(is_bad))
    return Split(refined, int((n_parts > 1).sum()), linked.n_rounds)


def _n_clusters(label: Int64s) -> int:
    return int(label.max(initial=-1)) + 1
