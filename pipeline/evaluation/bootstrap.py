"""Sums by gold cluster in, 95 % intervals out: the bootstrap over gold clusters.

Clusters, not strings, are drawn with replacement, because the strings of one institution succeed and fail
together. What a string adds (see `metrics.addends`) is worked out once, on the whole run, and stays as it is
in every sample: an approximation, for a sample does not undo the wrong links that led to clusters it did not
draw. A predicted pair across two clusters counts half in each; a string with several labels adds an equal
share to each of them.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pipeline.evaluation.memberships import Memberships
from pipeline.records import Float64s

INTERVAL = (0.025, 0.975)


def sum_by_cluster(addends: Mapping[str, Float64s], gold: Memberships) -> dict[str, Float64s]:
    """What each string adds, shape (n,), comes out as what each gold cluster adds, shape (n_entities,)."""
    share = 1.0 / gold.entities_per_string()
    sums: dict[str, Float64s] = {}
    for name, column in addends.items():
        of_row = (column * share)[gold.string]
        sums[name] = np.bincount(gold.entity, weights=of_row, minlength=gold.n_entities).astype(np.float64)
    return sums


def resample(by_cluster: Mapping[str, Float64s], n_samples: int, seed: int = 0) -> dict[str, Float64s]:
    """What each cluster adds in, the totals of `n_samples` draws of as many clusters out, (n_samples,)."""
    columns = np.column_stack(list(by_cluster.values()))
    n_clusters = len(columns)
    generator = np.random.default_rng(seed)
    totals = np.empty((n_samples, columns.shape[1]))
    for i in range(n_samples):
        drawn = np.bincount(generator.integers(0, n_clusters, n_clusters), minlength=n_clusters)
        totals[i] = drawn @ columns
    return dict(zip(by_cluster, totals.T, strict=True))


def interval(values: Float64s) -> tuple[float | None, float | None]:
    """A measure's values in the samples in, its 95 % percentile interval out; None where it has no value."""
    known = values[~np.isnan(values)]
    if not len(known):
        return None, None
    low, high = np.quantile(known, INTERVAL)
    return float(low), float(high)
