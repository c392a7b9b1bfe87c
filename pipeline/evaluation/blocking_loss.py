"""Candidate pairs and gold in, what blocking has already lost out: the most that later stages can reach."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.memberships import Memberships
from pipeline.evaluation.metrics import overlap
from pipeline.records import Int64s


@dataclass(frozen=True)
class BlockingLoss:
    """How many of the pairs that share a label were proposed at all.

    `pair_completeness` is None where gold has no true pair. `b3_recall_ceiling` is the B³ recall of a perfect
    matcher on the proposed pairs: every true pair joined, transitively, and no other.
    """

    n_pairs: int
    n_true_pairs: int
    n_true_pairs_proposed: int
    pair_completeness: float | None
    b3_recall_ceiling: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)


def shared_labels(left: Int64s, right: Int64s, gold: Memberships) -> tuple[Int64s, Int64s, Int64s]:
    """Pairs of strings in, one row for each label that a pair shares out.

    Returns the number of the pair, and the membership rows of that label in the left and the right string.
    """
    n_each = gold.entities_per_string()
    start = np.cumsum(n_each) - n_each
    pair = np.repeat(np.arange(len(left)), n_each[left])
    first = np.cumsum(n_each[left]) - n_each[left]
    left_row = start[left][pair] + np.arange(len(pair)) - first[pair]
    right_row = gold.contains(right[pair], gold.entity[left_row])
    is_shared = right_row >= 0
    return pair[is_shared], left_row[is_shared], right_row[is_shared]


def is_true_pair(left: Int64s, right: Int64s, gold: Memberships) -> npt.NDArray[np.bool_]:
    """Pairs of strings in, whether the two share a label out, shape (n,)."""
    pair, _, _ = shared_labels(left, right, gold)
    return np.bincount(pair, minlength=len(left)) > 0


def blocking_loss(left: Int64s, right: Int64s, gold: Memberships) -> BlockingLoss:
    """Proposed pairs of gold strings (each once, left < right) and gold in, the loss of blocking out."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    pair, left_row, right_row = shared_labels(left, right, gold)
    n_rows = len(gold.string)
    edges = coo_array((np.ones(len(pair), np.int8), (left_row, right_row)), shape=(n_rows, n_rows))
    _, component = connected_components(edges, directed=False)
    # The components of one label's strings: the clusters that a perfect matcher would make of the pairs.
    best = Memberships.of(gold.string, component.astype(np.int64), gold.n_strings)
    shared = overlap(best, gold)
    n_true = int((shared.n_gold - 1).sum()) // 2
    n_proposed = len(np.unique(pair))
    return BlockingLoss(
        n_pairs=len(left),
        n_true_pairs=n_true,
        n_true_pairs_proposed=n_proposed,
        pair_completeness=n_proposed / n_true if n_true else None,
        b3_recall_ceiling=float(shared.recall.mean()),
    )
