"""What a caller can choose about clustering, validated where it is written down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pipeline.errors import UsageError
from pipeline.records import Float64s

#: The clusterer that looks at vectors; the others look at pairs.
KMEANS = "kmeans"
CLUSTERERS = ("average", "components", "hdbscan", KMEANS)


class Missing(NamedTuple):
    """How pairs that were never compared count in the mean of two clusters.

    Attributes:
        probability: what such a pair counts as.
        weight: how much it counts beside an observed pair.
        per_item: at most so many pairs are thought of for each item of the smaller cluster; 0: all of them.
    """

    probability: float = 0.0
    weight: float = 1.0
    per_item: int = 0

    @property
    def is_full(self) -> bool:
        """Whether every missing pair counts as much as an observed one."""
        return self.weight == 1.0 and not self.per_item

    def weight_of(self, size: Any, other: Any, observed: Any) -> Float64s:
        """Sizes of two clusters and the weight of observed pairs between them in, that of missing ones out.

        An item meets some tens of others at the most. That it never met most of a cluster of thousands says
        nothing against it; that it met fewer than it could have met does.
        """
        pairs = np.asarray(size, np.float64) * other
        if self.per_item:
            pairs = np.minimum(pairs, np.maximum(self.per_item * np.minimum(size, other), observed))
        return np.asarray(self.weight * (pairs - observed), np.float64)


@dataclass(frozen=True)
class ClusteringSettings:
    """How surviving pairs become clusters.

    Attributes:
        clusterer: one of `CLUSTERERS`: average linkage, connected components, HDBSCAN, or k-means. k-means
            looks at vectors instead of pairs and is for label vocabularies, not for institutions.
        min_match_probability: pairs (components, hdbscan) or mean over pairs (average) below this never join.
        missing_pair_probability: what a pair that was never compared counts as in a mean.
        missing_pair_weight: how much such a pair counts beside an observed one. 1: in full, which breaks up
            clusters far greater than the number of neighbours that blocking finds; less mends that. 0: not at
            all, means are over observed pairs alone, and one wrong pair can chain.
        missing_pairs_per_item: of two clusters, at most so many pairs of each item of the smaller one can be
            missing, as no item meets many more; 0: all that were not compared are.
        min_cluster_size: hdbscan: nodes that a cluster needs; smaller ones are singletons.
        min_samples: hdbscan: neighbours, itself counted, that make a node dense; None: as `min_cluster_size`.
        chain_guard: components, hdbscan: split chained clusters by average linkage.
        max_component: the guard splits clusters of more items than this; 0: no limit.
        min_mean_probability: the guard splits clusters whose observed pairs have a lower mean than this;
            None: `min_match_probability`.
        n_clusters: kmeans: how many clusters to make.
        min_clusters: kmeans: where `n_clusters` is None, the least number that the search tries.
        max_clusters: kmeans: the greatest number that it tries; the one of highest silhouette is taken.
        cluster_step: kmeans: distance between the numbers that it tries.
    """

    clusterer: str = "average"
    # Chosen on the tune fold (`benchmarks/threshold.py`).
    min_match_probability: float = 0.35
    missing_pair_probability: float = 0.0
    # Chosen on the tune fold (`benchmarks/threshold.py`), at that threshold.
    missing_pair_weight: float = 0.3
    # As many as blocking seeks neighbours: on the tune fold it changes nothing, among 100,000 synthetic
    # strings it keeps large institutions whole.
    missing_pairs_per_item: int = 30
    min_cluster_size: int = 2
    min_samples: int | None = None
    chain_guard: bool = True
    max_component: int = 5_000
    min_mean_probability: float | None = None
    n_clusters: int | None = None
    min_clusters: int = 2
    max_clusters: int | None = None
    cluster_step: int = 1

    def __post_init__(self) -> None:
        if self.clusterer not in CLUSTERERS:
            raise UsageError(f"unknown clusterer {self.clusterer!r}; choose one of {', '.join(CLUSTERERS)}")
        if not 0.0 < self.min_match_probability <= 1.0:
            raise UsageError(
                f"min_match_probability must be above 0 and at most 1, got {self.min_match_probability}"
            )
        if not 0.0 <= self.missing_pair_probability < self.min_match_probability:
            raise UsageError(
                f"missing_pair_probability must be 0 or more and below min_match_probability "
                f"({self.min_match_probability}), got {self.missing_pair_probability}"
            )
        if not 0.0 <= self.missing_pair_weight <= 1.0:
            raise UsageError(f"missing_pair_weight must lie in [0, 1], got {self.missing_pair_weight}")
        if self.min_mean_probability is not None and not 0.0 <= self.min_mean_probability <= 1.0:
            raise UsageError(f"min_mean_probability must lie in [0, 1], got {self.min_mean_probability}")
        least = {"min_cluster_size": 2, "min_samples": 1, "max_component": 0, "missing_pairs_per_item": 0}
        least |= {"n_clusters": 1, "min_clusters": 2, "cluster_step": 1}
        for name, minimum in least.items():
            value = getattr(self, name)
            if value is not None and value < minimum:
                raise UsageError(f"{name} must be {minimum} or more, got {value}")
        self._check_n_clusters()

    def _check_n_clusters(self) -> None:
        if self.clusterer != KMEANS:
            for name in "n_clusters", "max_clusters":
                if getattr(self, name) is not None:
                    raise UsageError(f"{name} is for clusterer 'kmeans'; {self.clusterer!r} finds the number")
            return
        if (self.n_clusters is None) == (self.max_clusters is None):
            raise UsageError(
                "clusterer 'kmeans' needs either n_clusters, or max_clusters to search from min_clusters on"
            )
        if self.max_clusters is not None and self.max_clusters < self.min_clusters:
            raise UsageError(
                f"max_clusters must be at least min_clusters ({self.min_clusters}), got {self.max_clusters}"
            )

    @property
    def missing(self) -> Missing:
        """How pairs that were never compared count."""
        return Missing(self.missing_pair_probability, self.missing_pair_weight, self.missing_pairs_per_item)

    @property
    def numbers_of_clusters(self) -> range:
        """kmeans: the numbers of clusters to try, one or more."""
        if self.n_clusters is not None:
            return range(self.n_clusters, self.n_clusters + 1)
        return range(self.min_clusters, (self.max_clusters or 0) + 1, self.cluster_step)
