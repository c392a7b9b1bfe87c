"""Cluster: probabilities of pairs and constraints in, a partition out, by one of three clusterers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from blocking.pairs import are_ordered
from blocking.vectors import filled, kept
from pipeline.clustering.by_component import linked_by_component
from pipeline.clustering.components import components, is_chain, is_forbidden, split
from pipeline.clustering.constraints import Constraints, contract, must_groups
from pipeline.clustering.density import density_clusters
from pipeline.clustering.graph import ROUNDING, Graph, canonical, component_of_any, is_inside
from pipeline.clustering.settings import ClusteringSettings
from pipeline.errors import AffilError, UsageError
from pipeline.records import Float64s, Int64s, Progress

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Clusters:
    """A partition of the items 0 … n-1.

    Attributes:
        label: cluster of each item, int64, shape (n,), numbered 0, 1, … by smallest member.
        n_components: connected components of the graph of pairs at the threshold, singletons counted; 0 for
            k-means, which looks at no pairs.
        largest_component: items in the greatest of them.
        n_split_components: clusters that the chain guard or a cannot-link took apart.
        n_rounds: rounds of average linkage.
        height: mean probability at which each item's must-linked group first merged with others, float64,
            shape (n,), NaN where it never did; None for clusterers that do not merge by means.
        silhouette: k-means: mean silhouette, −1 to 1, of each number of clusters tried; None elsewhere.
    """

    label: Int64s
    n_components: int
    largest_component: int
    n_split_components: int = 0
    n_rounds: int = 0
    height: Float64s | None = None
    silhouette: dict[int, float] | None = None

    def __post_init__(self) -> None:
        seen = np.maximum.accumulate(np.concatenate([[-1], self.label]))
        if self.label.min(initial=0) < 0 or np.any(self.label > seen[:-1] + 1):
            raise AffilError("cluster labels must be numbered 0, 1, … by smallest member")

    def __len__(self) -> int:
        return len(self.label)

    @cached_property
    def n_items(self) -> Int64s:
        """Items in each cluster, int64, shape (n_clusters,)."""
        return np.bincount(self.label).astype(np.int64)

    @property
    def n_clusters(self) -> int:
        """Clusters, singletons counted."""
        return len(self.n_items)

    @property
    def largest_cluster(self) -> int:
        """Items in the greatest cluster, 0 where there are no items."""
        return int(self.n_items.max(initial=0))


class _Found(NamedTuple):
    """What a clusterer found, for each node of the graph."""

    label: Int64s
    height: Float64s | None = None
    n_split: int = 0
    n_rounds: int = 0


def cluster(
    n: int,
    left: Int64s,
    right: Int64s,
    probability: npt.NDArray[np.floating[Any]],
    settings: ClusteringSettings | None = None,
    *,
    constraints: Constraints | None = None,
    sizes: npt.NDArray[Any] | None = None,
    on_progress: Progress | None = None,
) -> Clusters:
    """Items and the match probabilities of their pairs in, a partition of the items out.

    Nothing depends on the order of the pairs. The numbering of the items matters where probabilities tie,
    so callers number items canonically (mentions in the order of `affiliation_id`). No model is run: call
    again with another threshold to re-threshold.

    Args:
        n: number of items.
        left: int64, shape (m,).
        right: int64, shape (m,), `left < right`, each pair once, in any order.
        probability: calibrated match probability in [0, 1], shape (m,).
        settings: defaults to `ClusteringSettings()`.
        constraints: defaults to none. A must-linked group is one node whose edges have the mean of its
            members' observed pairs; groups that hold a cannot-linked pair, or items of two identities, are
            never in one cluster.
        sizes: what each item counts in a mean, above 0, shape (n,); a must-linked group counts their sum. By
            default every item counts 1, and so does every must-linked group.
        on_progress: called with (pairs whose component is clustered, pairs) by average linkage.

    Raises:
        AffilError: malformed pairs, a conflict of constraints, or a missing library.
    """
    settings, constraints = settings or ClusteringSettings(), constraints or Constraints.none()
    if settings.clusterer not in _CLUSTERERS:
        raise UsageError(
            f"clusterer {settings.clusterer!r} looks at vectors, not at pairs; call cluster_vectors"
        )
    group, graph = _nodes(_graph(n, left, right, probability, sizes), constraints, sizes is not None)
    component = components(graph.at_least(settings.min_match_probability))
    # Average linkage never merges across these components either, so the other edges are not needed.
    graph = graph.keep(is_inside(component, graph.left, graph.right))
    found = _CLUSTERERS[settings.clusterer](graph, component, settings, on_progress)
    n_items = np.bincount(component, weights=graph.n_members)
    clusters = Clusters(
        label=found.label[group],
        n_components=len(n_items),
        largest_component=int(n_items.max(initial=0)),
        n_split_components=found.n_split,
        n_rounds=found.n_rounds,
        height=None if found.height is None else found.height[group],
    )
    log.info(
        "cluster: %d items and %d pairs in, %d clusters out (largest %d, largest component %d)",
        *(n, len(left), clusters.n_clusters, clusters.largest_cluster, clusters.largest_component),
    )
    return clusters


def within_reach(
    n: int,
    left: Int64s,
    right: Int64s,
    probability: npt.NDArray[np.floating[Any]],
    *,
    min_probability: float,
    constraints: Constraints | None = None,
) -> npt.NDArray[np.bool_]:
    """Which pairs a clusterer can need, shape (m,): the others lie between what never merges.

    No clusterer joins items between which no chain of must-links and of pairs of at least `min_probability`
    runs, so that a pair across two such components decides nothing. Of a corpus these are most pairs, and
    without them a graph of tens of millions fits into memory. What is set apart afterwards (siblings, groups
    known to be two) makes components smaller, never larger.

    Args:
        n: number of items.
        left, right: as for `cluster`.
        probability: as for `cluster`.
        min_probability: least probability of a merge.
        constraints: what else joins items.
    """
    near = filled(len(left), np.bool_, lambda part: probability[part] >= min_probability - ROUNDING)
    ends = [(kept(left, near), kept(right, near))]
    if constraints is not None and len(constraints):
        group = must_groups(n, constraints)
        ends.append((np.arange(n), np.unique(group, return_index=True)[1][group]))
    a, b = (np.concatenate([own.astype(np.int32) for own in side]) for side in zip(*ends, strict=True))
    return is_inside(component_of_any(n, a, b), left, right)


def _graph(
    n: int,
    left: Int64s,
    right: Int64s,
    probability: npt.NDArray[np.floating[Any]],
    sizes: npt.NDArray[Any] | None,
) -> Graph:
    """Check the pairs and put them in order."""
    if not len(left) == len(right) == len(probability):
        raise AffilError(
            f"pairs need columns of one length, got {len(left)}, {len(right)}, {len(probability)}"
        )
    if len(left) and not (left.min() >= 0 and right.max() < n and np.all(left < right)):
        raise AffilError(f"pairs need 0 <= left < right < {n} (the number of items)")
    if not np.all((probability >= 0.0) & (probability <= 1.0)):
        raise AffilError("pairs need a probability in [0, 1]; calibrate them before clustering")
    weight = np.ones(n) if sizes is None else np.asarray(sizes, np.float64)
    if weight.shape != (n,) or not np.all((weight > 0.0) & np.isfinite(weight)):
        raise AffilError(f"sizes need one finite number above 0 for each of the {n} items")
    left, right = left.astype(np.int64, copy=False), right.astype(np.int64, copy=False)
    value: Float64s = probability.astype(np.float64, copy=False)
    if not are_ordered(left, right):
        key = left * n + right
        order = np.argsort(key)
        left, right, value, key = left[order], right[order], value[order], key[order]
        if np.any(key[1:] == key[:-1]):
            raise AffilError("pairs need each pair once; drop the repeats before clustering")
    return Graph(np.ones(n, np.int64), weight, left, right, value)


def _nodes(graph: Graph, constraints: Constraints, is_weighted: bool) -> tuple[Int64s, Graph]:
    """The node of each item, shape (n,), and the graph of the nodes with its forbidden edges."""
    n = len(graph)
    if constraints.largest_item() >= n:
        raise AffilError(f"constraints name item {constraints.largest_item()}, but there are {n} items")
    if not len(constraints):
        return np.arange(n), graph
    group = must_groups(n, constraints)
    return group, contract(graph, group, constraints, is_weighted)


def _average(
    graph: Graph, component: Int64s, settings: ClusteringSettings, on_progress: Progress | None
) -> _Found:
    linked = linked_by_component(graph, settings.min_match_probability, settings.missing, on_progress)
    return _Found(canonical(linked.label), linked.height, 0, linked.n_rounds)


def _components(
    graph: Graph, component: Int64s, settings: ClusteringSettings, on_progress: Progress | None
) -> _Found:
    return _guarded(graph, component, settings)


def _hdbscan(
    graph: Graph, component: Int64s, settings: ClusteringSettings, on_progress: Progress | None
) -> _Found:
    near = graph.at_least(settings.min_match_probability)
    min_samples = settings.min_samples or settings.min_cluster_size
    return _guarded(
        graph, density_clusters(near, component, settings.min_cluster_size, min_samples), settings
    )


#: Name to function; the names are the values of `ClusteringSettings.clusterer` that look at pairs.
_CLUSTERERS: dict[str, Callable[[Graph, Int64s, ClusteringSettings, Progress | None], _Found]] = {
    "average": _average,
    "components": _components,
    "hdbscan": _hdbscan,
}


def _guarded(graph: Graph, label: Int64s, settings: ClusteringSettings) -> _Found:
    """Split the clusters that break a cannot-link, and with the chain guard on those that chain."""
    is_bad = is_forbidden(graph, label)
    if settings.chain_guard:
        bound = settings.min_mean_probability
        bound = settings.min_match_probability if bound is None else bound
        is_bad |= is_chain(graph, label, settings.max_component, bound)
    label, n_split, n_rounds = split(graph, label, is_bad, settings.min_match_probability, settings.missing)
    return _Found(label, None, n_split, n_rounds)
