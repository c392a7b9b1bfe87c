"""Approximate neighbours in a table too large for one index: shards of it, searched one after the other."""

from __future__ import annotations

from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from blocking.approximate import ApproximateIndex, least_true
from blocking.engine import slices
from blocking.pairs import Float32s, Int64s
from blocking.settings import Progress

#: Rows of a shard at the most: 10 GB of 256 dimensions, which every machine that searches has to hold.
SHARD_ROWS = 10_000_000
#: Queries whose answers from two shards are put together at a time.
_CHUNK = 8192

_Answer = tuple[npt.NDArray[Any], Float32s]


class Tuning(NamedTuple):
    """What an index is tuned by: some queries, cosines of their last true results, the share to find."""

    sample: Int64s
    least: Float32s
    recall_target: float


def search_shards(
    faiss: ModuleType,
    corpus: Float32s,
    queries: Float32s,
    n_results: int,
    tuning: Tuning,
    on_progress: Progress | None = None,
) -> tuple[npt.NDArray[Any], Float32s, int]:
    """The best rows of the corpus for each query, their cosines, and the most cells that were looked into.

    How many shards there are, the number of rows alone says: the result is the same whoever searches.

    Args:
        faiss: the library.
        corpus: float32, shape (m, d).
        queries: float32, shape (n, d); the corpus itself where each row looks for others.
        n_results: rows wanted for each.
        tuning: of the whole table.
        on_progress: called with (queries searched, queries).
    """
    n_shards = -(-len(corpus) // SHARD_ROWS)
    is_itself = corpus is queries and n_shards == 1
    sample, order, n_probes = queries[tuning.sample], None, 0
    best: _Answer | None = None
    for number, shard in enumerate(slices(len(corpus), -(-len(corpus) // n_shards))):
        rows = corpus[shard]
        index = ApproximateIndex(faiss, rows)
        least = tuning.least if n_shards == 1 else least_true(rows, sample, n_results)
        index.tune(sample, least, n_results, tuning.recall_target)
        if order is None and not is_itself:
            # What is near in one shard is near in another.
            order = index.order_of(queries)
        told = _share(number, n_shards, len(queries), on_progress)
        found, cosines = index.search(None if is_itself else queries, n_results, told, order)
        np.add(found, shard.start, out=found, where=found >= 0)
        best = (found, cosines) if best is None else _better(best, (found, cosines))
        n_probes = max(n_probes, index.effort.n_probes)
    assert best is not None  # Of no rows nobody asks.
    return *best, n_probes


def _share(number: int, n_shards: int, n: int, on_progress: Progress | None) -> Progress | None:
    """Progress in one shard as progress in all of them."""
    if on_progress is None:
        return None
    return lambda done, _: on_progress((number * n + done) // n_shards, n)


def _better(one: _Answer, other: _Answer) -> _Answer:
    """Two answers to the same queries in, the best of both by cosine out, in place of the first."""
    found, cosines = one
    for part in slices(len(found), _CHUNK):
        ids = np.concatenate([found[part], other[0][part]], axis=1)
        both = np.concatenate([cosines[part], other[1][part]], axis=1)
        order = np.lexsort((ids, -both))[:, : found.shape[1]]
        found[part], cosines[part] = np.take_along_axis(ids, order, 1), np.take_along_axis(both, order, 1)
    return found, cosines
