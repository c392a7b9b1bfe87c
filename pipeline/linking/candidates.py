"""Candidates: the records that a mention could be, each by its best name, and what sets them apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from blocking import CandidatePairs
from blocking.keys import ranges
from pipeline.linking.features import NAMES as NAME_FEATURES
from pipeline.linking.features import RegistryFacts
from pipeline.records import Float64s, Int64s
from pipeline.scoring.tokens import Float32s

#: Features of the best name that are looked at again when records are chosen among.
_KEPT = (
    *("organization_ratio", "organization_token_sort", "organization_token_set", "context_token_set"),
    *("country", "region", "city", "name_lacking", "name_lacking_rarest", "mention_lacking"),
    *("mention_lacking_rarest", "kind", "type", "mention_class", "n_same_name", "n_same_name_here"),
    *("is_main", "name_in_units", "n_children", "has_parent", "is_closed", "same_organization", "acronym"),
    *("name_weight", "organization_jaccard", "hospital"),
)
#: In the order of the columns of `Candidates.features`.
NAMES = ("logit", "margin", "rank", "parent_logit", "child_logit", "covered", "covered_margin", *_KEPT)
#: Stands for the log-odds of what is not there.
_NONE = -15.0
#: A name of which the string lacks no more than this (of a token's weight) stands in it whole.
_WHOLE = 0.02


@dataclass(frozen=True)
class Candidates:
    """Records for mentions, ordered by (mention, -logit, record); each mention and record once.

    Attributes:
        mention: mention number, int64, shape (n,).
        record: number of the record that stands for what was found (`Registry.current`), int64, shape (n,).
        name: number of its best name, int64, shape (n,).
        logit: log-odds of that name, float64, shape (n,).
        features: float32, shape (n, len(NAMES)).
    """

    mention: Int64s
    record: Int64s
    name: Int64s
    logit: Float64s
    features: Float32s

    def __len__(self) -> int:
        return len(self.mention)


def candidates(
    pairs: CandidatePairs, values: Float32s, logit: Float64s, n_mentions: int, facts: RegistryFacts
) -> Candidates:
    """Pairs of mention and name, their features and log-odds, to the records that mentions choose among."""
    registry, name = facts.registry, pairs.right - n_mentions
    record = registry.current[facts.names.names.record[name]]
    # Of the names of a record the best one stands for it; ties go to the first in the file.
    order = np.lexsort([name, -logit, record, pairs.left])
    mention_sorted, record_sorted = pairs.left[order], record[order]
    is_first = np.ones(len(order), bool)
    is_first[1:] = (np.diff(mention_sorted) != 0) | (np.diff(record_sorted) != 0)
    group = np.cumsum(is_first) - 1
    covered = np.zeros(int(is_first.sum()), np.float32)
    column = {n: values[:, i] for i, n in enumerate(NAME_FEATURES)}
    whole = np.where(column["name_lacking"] <= _WHOLE, column["name_weight"], 0)[order]
    np.maximum.at(covered, group, whole.astype(np.float32))
    best = order[is_first]

    place = np.lexsort([record[best], -logit[best], pairs.left[best]])
    best, covered = best[place], covered[place]
    mention, chosen, best_logit = pairs.left[best], record[best], logit[best]
    up, down = _relatives(mention, chosen, best_logit, registry.parents, len(registry))
    columns = {
        "logit": best_logit,
        "margin": np.clip(_margin(mention, best_logit), -10, 20),
        "rank": _rank(mention),
        "parent_logit": up,
        "child_logit": down,
        "covered": covered,
        "covered_margin": _margin(mention, covered.astype(np.float64)),
    } | {n: column[n][best] for n in _KEPT}
    features = np.stack([np.asarray(columns[n], np.float32) for n in NAMES], axis=1)
    return Candidates(mention, chosen, name[best], best_logit, features)


def _rank(mention: Int64s) -> Int64s:
    sizes = np.unique(mention, return_counts=True)[1]
    return ranges(sizes)


def _margin(mention: Int64s, value: Float64s) -> Float64s:
    """How far each value is above the best of the other candidates of its mention; 20 where it is alone."""
    order = np.lexsort([-value, mention])
    rank = _rank(mention[order])
    first = np.flatnonzero(rank == 0)
    sizes = np.diff(np.append(first, len(order)))
    best = value[order[first]]
    second = np.where(sizes > 1, value[order[np.minimum(first + 1, len(order) - 1)]], best - 20)
    group = np.repeat(np.arange(len(first)), sizes)
    margin = np.empty(len(value))
    margin[order] = value[order] - np.where(rank == 0, second[group], best[group])
    return margin


def _relatives(
    mention: Int64s, record: Int64s, logit: Float64s, parents: tuple[Int64s, Int64s], n_records: int
) -> tuple[Float64s, Float64s]:
    """Best log-odds of a candidate's parents, and of its children, among the candidates of its mention."""
    child, parent = parents  # Ordered by child.
    start = np.searchsorted(child, record, "left")
    size = np.searchsorted(child, record, "right") - start
    own = np.repeat(np.arange(len(record)), size)
    wanted = mention[own] * n_records + parent[np.repeat(start, size) + ranges(size)]
    key = mention * n_records + record
    order = np.argsort(key)
    at = np.minimum(np.searchsorted(key[order], wanted), max(len(key) - 1, 0))
    is_there = key[order][at] == wanted if len(key) else np.zeros(0, bool)
    low, high = own[is_there], order[at[is_there]]
    up, down = np.full(len(record), _NONE), np.full(len(record), _NONE)
    np.maximum.at(up, low, logit[high])
    np.maximum.at(down, high, logit[low])
    return up, down
