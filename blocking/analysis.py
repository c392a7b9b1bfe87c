"""How good the candidate pairs are, given the truth: what they find, what they save, what they rule out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blocking.errors import BlockingError
from blocking.keys import key_codes
from blocking.pairs import CandidatePairs, Float32s, Int64s


@dataclass(frozen=True)
class BlockingAnalysis:
    """The figures of one set of candidate pairs; see the functions of the same names."""

    n_items: int
    n_pairs: int
    pair_completeness: float
    reduction_ratio: float
    b_cubed_recall_ceiling: float
    largest_components: tuple[int, ...]


def analyse(labels: npt.ArrayLike, pairs: CandidatePairs) -> BlockingAnalysis:
    """True cluster numbers of the items (negative: unknown) and candidate pairs in, their figures out."""
    truth = _labels(labels, pairs)
    return BlockingAnalysis(
        n_items=len(truth),
        n_pairs=len(pairs),
        pair_completeness=pair_completeness(truth, pairs),
        reduction_ratio=reduction_ratio(len(truth), pairs),
        b_cubed_recall_ceiling=b_cubed_recall_ceiling(truth, pairs),
        largest_components=tuple(component_sizes(len(truth), pairs)[:10].tolist()),
    )


def pair_completeness(labels: npt.ArrayLike, pairs: CandidatePairs) -> float:
    """True cluster numbers and candidate pairs in; share of true pairs that are proposed out (1 if none)."""
    truth = _labels(labels, pairs)
    sizes = np.unique(truth[truth >= 0], return_counts=True)[1]
    n_true = int((sizes * (sizes - 1) // 2).sum())
    return float(_is_true(truth, pairs).sum() / n_true) if n_true else 1.0


def reduction_ratio(n_items: int, pairs: CandidatePairs) -> float:
    """Number of items and candidate pairs in; share of all possible pairs that need no comparison out."""
    n_possible = n_items * (n_items - 1) // 2
    return 1 - len(pairs) / n_possible if n_possible else 0.0


def recall_at(labels: npt.ArrayLike, pairs: CandidatePairs, ranks: Sequence[int]) -> dict[int, float]:
    """True cluster numbers, candidate pairs and ranks k in; for each k the mean recall at k out.

    An item's partners are ranked by similarity, equal ones by number. Its recall at k is the share of its
    cluster's other items, out of k at most, among the best k partners. Items alone in theirs do not count.
    """
    truth = _labels(labels, pairs)
    if any(rank < 1 for rank in ranks):
        raise BlockingError(f"ranks must be 1 or more, got {list(ranks)}")
    item = np.concatenate([pairs.left, pairs.right])
    partner = np.concatenate([pairs.right, pairs.left])
    order = np.lexsort((partner, -np.concatenate([pairs.similarity, pairs.similarity]), item))
    item, partner = item[order], partner[order]
    place = np.arange(len(item)) - np.searchsorted(item, item)
    is_hit = (truth[item] == truth[partner]) & (truth[item] >= 0)
    n_others = _cluster_sizes(truth) - 1
    has_others = n_others > 0
    recalls = {}
    for rank in ranks:
        hits = np.bincount(item[is_hit & (place < rank)], minlength=len(truth))
        shares = hits[has_others] / np.minimum(rank, n_others[has_others])
        recalls[rank] = float(shares.mean()) if len(shares) else 1.0
    return recalls


def b_cubed_recall_ceiling(labels: npt.ArrayLike, pairs: CandidatePairs) -> float:
    """True cluster numbers and candidate pairs in; the best B³ recall that clustering them can reach out.

    For each item: the share of its true cluster that a chain of candidates inside that cluster leads to.
    Items of unknown cluster (negative) do not count.
    """
    truth = _labels(labels, pairs)
    is_known = truth >= 0
    if not is_known.any():
        return 1.0
    is_true = _is_true(truth, pairs)
    component = _components(len(truth), pairs.left[is_true], pairs.right[is_true])
    reached = np.bincount(component)[component]
    return float((reached[is_known] / _cluster_sizes(truth)[is_known]).mean())


def component_sizes(n_items: int, pairs: CandidatePairs) -> Int64s:
    """Number of items and candidate pairs in; sizes of the connected components out, the largest first."""
    if not n_items:
        return np.empty(0, np.int64)
    sizes = np.bincount(_components(n_items, pairs.left, pairs.right))
    return np.sort(sizes)[::-1].astype(np.int64)


def largest_key_blocks(keys: Sequence[str | None], n_blocks: int = 10) -> dict[str, int]:
    """One key for each item in; the most frequent keys and their counts out, the largest first."""
    codes = key_codes(keys)
    sizes = np.bincount(codes[codes >= 0])
    names = sorted({key for key in keys if key})
    best = np.argsort(-sizes, kind="stable")[:n_blocks]
    return {names[number]: int(sizes[number]) for number in best}


def neighbour_overlap(found: Int64s, exact: Int64s) -> float:
    """Neighbours found and the true ones in, both (n, k), -1 for none; share of the true ones found out."""
    if found.shape != exact.shape:
        raise BlockingError(f"neighbours need the same shape, got {found.shape} and {exact.shape}")
    is_found = np.zeros(exact.shape, bool)
    for column in found.T:
        is_found |= exact == column[:, None]
    is_there = exact >= 0
    return float(is_found[is_there].mean()) if is_there.any() else 1.0


def similarity_quantiles(labels: npt.ArrayLike, pairs: CandidatePairs, shares: Sequence[float]) -> Float32s:
    """True cluster numbers, candidate pairs and shares in [0, 1] in; quantiles of true pairs' cosines out."""
    similarities = pairs.similarity[_is_true(_labels(labels, pairs), pairs)]
    if not len(similarities):
        return np.full(len(shares), np.nan, np.float32)
    return np.quantile(similarities, shares).astype(np.float32)


def _labels(labels: npt.ArrayLike, pairs: CandidatePairs) -> Int64s:
    truth = np.asarray(labels, np.int64)
    if len(pairs) and int(pairs.right.max()) >= len(truth):
        raise BlockingError(f"pairs name item {int(pairs.right.max())}, but there are {len(truth)} labels")
    return truth


def _is_true(truth: Int64s, pairs: CandidatePairs) -> npt.NDArray[np.bool_]:
    left = truth[pairs.left]
    is_true: npt.NDArray[np.bool_] = (left == truth[pairs.right]) & (left >= 0)
    return is_true


def _cluster_sizes(truth: Int64s) -> Int64s:
    """For each item the size of its true cluster; 1 for items of unknown cluster."""
    _, number, sizes = np.unique(truth, return_inverse=True, return_counts=True)
    return np.where(truth >= 0, sizes[number], 1).astype(np.int64)


def _components(n_items: int, left: Int64s, right: Int64s) -> Int64s:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    edges = coo_matrix((np.ones(len(left), np.int8), (left, right)), shape=(n_items, n_items))
    numbers: Int64s = connected_components(edges, directed=False)[1].astype(np.int64)
    return numbers
