"""k-means: vectors of items in, a fixed or a searched number of clusters out.

For vocabularies of labels, whose groups are few and of like size. Not for institutions: how many there are is
unknown, and their sizes are skewed, while k-means cuts space into cells of like extent.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from pipeline.clustering.constraints import Constraints, must_groups
from pipeline.clustering.graph import canonical
from pipeline.clustering.partition import Clusters
from pipeline.clustering.settings import ClusteringSettings
from pipeline.errors import AffilError, UsageError
from pipeline.records import Int64s, Progress

log = logging.getLogger(__name__)

SEED = 0
#: Starts by greedy k-means++, of which the one of least squared distance is taken.
N_STARTS = 4
#: The silhouette compares all pairs of points: of more than this many a sample is measured.
MAX_SILHOUETTE_POINTS = 5_000


def cluster_vectors(
    vectors: npt.NDArray[np.floating[Any]],
    settings: ClusteringSettings,
    *,
    constraints: Constraints | None = None,
    on_progress: Progress | None = None,
) -> Clusters:
    """Vectors of items in, a partition of the items out, whatever their order.

    Args:
        vectors: float, shape (n, d), of length 1; items with a row of zeros stand alone and are not counted
            among the clusters asked for.
        settings: with clusterer "kmeans". Where a range of numbers of clusters is given, the one with the
            highest mean silhouette (Euclidean, scikit-learn) is taken, the smallest of equals.
        constraints: must-links alone.
        on_progress: called with (numbers of clusters tried, numbers to try).

    Raises:
        UsageError: more clusters than different vectors, or a cannot-link.
        AffilError: constraints that name no item.
    """
    constraints = constraints or Constraints.none()
    apart = constraints.cannot_left[:1], constraints.cannot_right[:1]
    if len(np.unique(constraints.identity)) > 1:
        first = np.unique(constraints.identity, return_index=True)[1]
        apart = constraints.named[first[:1]], constraints.named[first[1:2]]
    if len(apart[0]):
        left, right = apart[0][0], apart[1][0]
        raise UsageError(
            f"clusterer 'kmeans' cannot keep items {left} and {right} apart as a cannot-link asks:"
            " withdraw the cannot-links, or choose another clusterer"
        )
    if constraints.largest_item() >= len(vectors):
        raise AffilError(
            f"constraints name item {constraints.largest_item()}, but there are {len(vectors)} items"
        )
    group = must_groups(len(vectors), constraints)
    means, n_members = _means(vectors, group)
    seen = np.flatnonzero(n_members)
    # Equal vectors are one point, and points are sorted: the order of the items then changes nothing.
    points, number = np.unique(means[seen], axis=0, return_inverse=True)
    weight = np.bincount(number.ravel(), weights=n_members[seen], minlength=len(points))
    sizes = settings.numbers_of_clusters
    _check_enough(len(points), settings)
    found, silhouette = _search(points, weight, sizes, on_progress)
    label = len(points) + np.arange(len(means))
    label[seen] = found[number.ravel()]
    clusters = Clusters(canonical(label[group]), n_components=0, largest_component=0, silhouette=silhouette)
    log.info(
        "cluster: %d items in, %d clusters out by k-means (largest %d)",
        *(len(clusters), clusters.n_clusters, clusters.largest_cluster),
    )
    return clusters


def _means(vectors: npt.NDArray[np.floating[Any]], group: Int64s) -> tuple[npt.NDArray[np.float32], Int64s]:
    """The mean vector of each must-linked group and its members that have one: k-means moves them as one.

    Scatter inside a group is the same wherever it goes, so that its weighted mean stands for it exactly.
    """
    is_seen = np.any(vectors != 0, axis=1)
    n = int(group.max(initial=-1)) + 1
    n_members = np.bincount(group[is_seen], minlength=n).astype(np.int64)
    if n == len(vectors):
        return vectors.astype(np.float32, copy=False), n_members
    items = np.flatnonzero(is_seen)
    sums = csr_array((np.ones(len(items)), (group[items], items)), shape=(n, len(vectors))) @ vectors
    return (sums / np.maximum(n_members, 1)[:, None]).astype(np.float32), n_members


def _check_enough(n_points: int, settings: ClusteringSettings) -> None:
    """Every cluster needs a point, and a silhouette two clusters of which not all hold a single point."""
    if settings.n_clusters is not None and settings.n_clusters > n_points:
        raise UsageError(
            f"n_clusters is {settings.n_clusters}, but only {n_points} different vectors can be told apart;"
            " ask for at most as many clusters"
        )
    if settings.n_clusters is None and settings.numbers_of_clusters[-1] >= n_points:
        raise UsageError(
            f"max_clusters is {settings.max_clusters}, but only {n_points} different vectors can be"
            " told apart; search among fewer clusters than that"
        )


def _search(
    points: npt.NDArray[np.float32], weight: npt.NDArray[Any], sizes: range, on_progress: Progress | None
) -> tuple[Int64s, dict[int, float]]:
    """The labels of the best number of clusters, shape (n points,), and the silhouettes of all."""
    from sklearn.cluster import KMeans

    best, silhouette = np.zeros(len(points), np.int64), dict[int, float]()
    for n_done, size in enumerate(sizes, 1):
        model = KMeans(size, n_init=N_STARTS, random_state=SEED).fit(points, sample_weight=weight)
        value = mean_silhouette(points, model.labels_)
        if value > max(silhouette.values(), default=-np.inf):
            best = model.labels_.astype(np.int64)
        silhouette[size] = value
        if on_progress:
            on_progress(n_done, len(sizes))
    return best, silhouette


def mean_silhouette(points: npt.NDArray[np.floating[Any]], label: npt.NDArray[np.integer[Any]]) -> float:
    """Points and their clusters in, shape (n, d) and (n,); the mean silhouette of a seeded sample out.

    0 where it says nothing: one cluster, or a point a cluster (Rousseeuw 1987).
    """
    from sklearn.metrics import silhouette_score

    if len(points) > MAX_SILHOUETTE_POINTS:
        chosen = np.random.default_rng(SEED).choice(len(points), MAX_SILHOUETTE_POINTS, replace=False)
        points, label = points[chosen], label[chosen]
    if not 1 < len(np.unique(label)) < len(label):
        return 0.0
    return float(silhouette_score(points, label))
