"""Two sets of memberships in (predicted, gold), agreement out: pairwise, B³, exact clusters, Rand index.

Two strings are linked when they share an entity. B³ is the multiplicity form for overlapping clusters (Amigó,
Gonzalo, Artiles and Verdejo 2009, "A comparison of extrinsic clustering evaluation metrics based on formal
constraints", Information Retrieval 12:461–486, section 6); on partitions it is ordinary B³.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.errors import AffilError
from pipeline.evaluation.memberships import Memberships
from pipeline.records import Float64s, Int64s

#: Upper bounds of the gold cluster sizes that B³ recall is told apart by, and the names of the bands.
BAND_BOUNDS = (1, 10, 30, 300)
BANDS = ("1", "2-10", "11-30", "31-300", "more than 300")
#: Sparse entries held at once when sets of entities are compared: some hundred megabytes.
BLOCK_ENTRIES = 4_000_000


@dataclass(frozen=True)
class Overlap:
    """For each string, how its links in the prediction and in gold agree; arrays of shape (n,).

    `n_predicted` and `n_gold` count the strings it is linked to, itself included, `n_both` those linked in
    both; `precision` and `recall` are its B³ precision and recall.
    """

    n_predicted: Int64s
    n_gold: Int64s
    n_both: Int64s
    precision: Float64s
    recall: Float64s

    def __len__(self) -> int:
        return len(self.n_both)


def overlap(predicted: Memberships, gold: Memberships) -> Overlap:
    """Predicted and gold memberships of the same strings in, the agreement around each string out.

    Partitions go by a contingency table (a million strings in about a second), sets of entities by sparse
    products over distinct profiles.

    Raises:
        AffilError: the two do not hold the same number of strings.
    """
    if predicted.n_strings != gold.n_strings:
        raise AffilError(f"cannot compare {predicted.n_strings} strings with {gold.n_strings}")
    if predicted.is_partition and gold.is_partition:
        return _overlap_of_partitions(predicted, gold)
    return _overlap_of_sets(predicted, gold)


def _overlap_of_partitions(predicted: Memberships, gold: Memberships) -> Overlap:
    cell = gold.entity * predicted.n_entities + predicted.entity
    _, code, size = np.unique(cell, return_inverse=True, return_counts=True)
    n_both = size[code].astype(np.int64)
    n_predicted = predicted.strings_per_entity()[predicted.entity]
    n_gold = gold.strings_per_entity()[gold.entity]
    return Overlap(n_predicted, n_gold, n_both, n_both / n_predicted, n_both / n_gold)


def _overlap_of_sets(predicted: Memberships, gold: Memberships) -> Overlap:
    # Strings that agree in both sets are interchangeable: one row stands for all of them, with their number
    # as its weight, so that a large plain cluster costs no more than a small one.
    profile = predicted.profiles() * (int(gold.profiles().max(initial=0)) + 1) + gold.profiles()
    _, first, row_of, weight = np.unique(profile, return_index=True, return_inverse=True, return_counts=True)
    p, g = predicted.matrix()[first], gold.matrix()[first]
    p_t, g_t = p.T.tocsr(), g.T.tocsr()
    parts = [_block_overlap(p[rows] @ p_t, g[rows] @ g_t, weight) for rows in _blocks(p, g)]
    n_predicted, n_gold, n_both, precision, recall = (
        np.concatenate(c)[row_of] for c in zip(*parts, strict=True)
    )
    return Overlap(n_predicted, n_gold, n_both, precision, recall)


def _blocks(p: Any, g: Any) -> list[slice]:
    """Row ranges whose products stay below BLOCK_ENTRIES entries (a single row may exceed them)."""
    entries = np.cumsum(p @ p.sum(axis=0) + g @ g.sum(axis=0))
    cuts = np.flatnonzero(np.diff(entries // BLOCK_ENTRIES)) + 1
    bounds = [0, *cuts.tolist(), p.shape[0]]
    return [slice(a, b) for a, b in itertools.pairwise(bounds)]


def _block_overlap(c: Any, d: Any, weight: Int64s) -> tuple[Any, ...]:
    """Shared-entity counts of some rows with all rows, predicted `c` and gold `d`, in; their Overlap out."""
    least = c.minimum(d)
    least.eliminate_zeros()
    n_predicted, n_gold, n_both = (_filled(x, np.ones_like(x.data)) @ weight for x in (c, d, least))
    precision = (least * _filled(c, 1.0 / c.data)) @ weight / n_predicted
    recall = (least * _filled(d, 1.0 / d.data)) @ weight / n_gold
    return n_predicted, n_gold, n_both, precision, recall


def _filled(matrix: Any, data: Any) -> Any:
    return type(matrix)((data, matrix.indices, matrix.indptr), shape=matrix.shape)


def is_reproduced(predicted: Memberships, gold: Memberships) -> Float64s:
    """For each gold cluster 1.0 where some predicted entity holds exactly its strings, else 0.0."""
    cell = (gold.matrix().T @ predicted.matrix()).tocoo()
    label, entity = cell.coords
    size = cell.data
    is_same = (size == gold.strings_per_entity()[label]) & (size == predicted.strings_per_entity()[entity])
    reproduced = np.zeros(gold.n_entities)
    reproduced[label[is_same]] = 1.0
    return reproduced


def n_assignments_shared(predicted: Memberships, gold: Memberships) -> Int64s:
    """For each string the number of its gold labels that an entity predicted for it stands for, (n,).

    Each entity stands for at most one label and each label is stood for by at most one entity: the one-to-one
    matching with the most shared (string, entity) assignments.
    """
    from scipy.sparse import eye_array, hstack
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    n = gold.n_entities
    if n == 0:
        return np.zeros(gold.n_strings, np.int64)
    shared = (gold.matrix().T @ predicted.matrix()).astype(np.float64)
    # A private stand-in for every label lets it stay unmatched; together they weigh less than one assignment.
    weights = hstack([shared, eye_array(n) / (2.0 * n)]).tocsr()
    label, entity = min_weight_full_bipartite_matching(weights, maximize=True)
    entity_of = np.full(n, -1, np.int64)
    entity_of[label] = np.where(entity < predicted.n_entities, entity, -1)
    wanted = entity_of[gold.entity]
    is_met = (wanted >= 0) & (predicted.contains(gold.string, wanted) >= 0)
    return np.bincount(gold.string, weights=is_met, minlength=gold.n_strings).astype(np.int64)


def addends(shared: Overlap) -> dict[str, Float64s]:
    """What each string adds to the sums that `measures` divides; arrays of shape (n,).

    Links are counted once at each end, without the string itself, so a predicted pair across two gold
    clusters adds one to either.
    """
    band = np.searchsorted(BAND_BOUNDS, shared.n_gold)
    columns: dict[str, Float64s] = {
        "strings": np.ones(len(shared)),
        "precision": shared.precision,
        "recall": shared.recall,
        "links_both": (shared.n_both - 1).astype(np.float64),
        "links_predicted": (shared.n_predicted - 1).astype(np.float64),
        "links_gold": (shared.n_gold - 1).astype(np.float64),
    }
    for i, name in enumerate(BANDS):
        columns[f"strings {name}"] = (band == i) * 1.0
        columns[f"recall {name}"] = (band == i) * shared.recall
    return columns


def measures(totals: Mapping[str, Float64s]) -> dict[str, Float64s]:
    """Sums of `addends` in (any shape: one run, or one row a bootstrap sample), measures of that shape out.

    A measure whose denominator is zero (no predicted pair, no string in a band) comes out as NaN.
    """
    t = totals
    precision, recall = _ratio(t["precision"], t["strings"]), _ratio(t["recall"], t["strings"])
    found = {
        "b3_precision": precision,
        "b3_recall": recall,
        "b3_f1": _ratio(2 * precision * recall, precision + recall),
        "pair_precision": _ratio(t["links_both"], t["links_predicted"]),
        "pair_recall": _ratio(t["links_both"], t["links_gold"]),
        "pair_f1": _ratio(2 * t["links_both"], t["links_predicted"] + t["links_gold"]),
    }
    if "clusters" in t:
        found["cluster_exact_rate"] = _ratio(t["reproduced"], t["clusters"])
    if "assigned_both" in t:
        found["entity_precision"] = _ratio(t["assigned_both"], t["assigned_predicted"])
        found["entity_recall"] = _ratio(t["assigned_both"], t["assigned_gold"])
    for name in BANDS:
        found[f"b3_recall {name}"] = _ratio(t[f"recall {name}"], t[f"strings {name}"])
    return found


def _ratio(numerator: Float64s, denominator: Float64s) -> Float64s:
    top, bottom = np.broadcast_arrays(numerator, denominator)
    ratio: Float64s = np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom > 0)
    return ratio


def adjusted_rand_index(shared: Overlap) -> float:
    """Overlap of two partitions in, Hubert and Arabie's adjusted Rand index out (1 = equal, 0 = by chance).

    Two partitions that leave nothing to chance (all singletons, or all in one) agree: 1.
    """
    both, predicted, gold = (
        float((x - 1).sum()) / 2 for x in (shared.n_both, shared.n_predicted, shared.n_gold)
    )
    every = len(shared) * (len(shared) - 1) / 2
    by_chance = predicted * gold / every if every else 0.0
    most = (predicted + gold) / 2
    return 1.0 if most == by_chance else (both - by_chance) / (most - by_chance)
