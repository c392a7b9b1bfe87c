"""Approximate neighbours in large tables: cells, 4-bit codes to preselect by, exact cosines to decide by.

Rows are sorted into cells by spherical k-means; a query looks into the nearest cells, ranks what is there by
product-quantised codes that are read in registers (André et al. 2017, Quicker ADC), and the best of these by
their true cosine. How many cells and how many candidates it takes is tuned on a sample until the wanted share
of the true neighbours is found. At 98,000 rows of 256 dimensions .93 of the 31 nearest took 80 µs a query on
one core; the exact search took 1,100, an HNSW graph longer to build than that.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from blocking.engine import current, slices
from blocking.pairs import Float32s, Int64s
from blocking.settings import Progress
from blocking.vectors import empty_table

log = logging.getLogger(__name__)

#: Cells are this often the root of the number of rows: fewer read more codes, more compare more centres.
_CELLS = 2.0
#: Rows that k-means sees for each cell, and rounds: both cost much and gain little beyond.
_ROWS_PER_CELL, _N_ROUNDS = 40, 6
#: Rows that the codes are learned from, and rounds: of 90,000 texts of synthetic strings 8 rounds found as
#: many neighbours as FAISS's 25 (.83 at the first effort) and took .5 s instead of 2.8.
_CODE_ROWS, _CODE_ROUNDS = 20_000, 8
#: Dimensions that share a 4-bit code. Eight find .86 where four find .93.
_CODE_DIMENSIONS = 4
#: Rows whose true neighbours say how many of them are found.
SAMPLE = 500
#: Where tuning begins: cells looked into, and candidates for each result.
_FIRST_PROBES, _FIRST_FACTOR = 32, 3
#: Candidates for each result beyond which codes leave nothing out.
_LARGEST_FACTOR = 48
_CHUNK = 4096


@dataclass(frozen=True)
class Effort:
    """How hard a search looks: cells for each query, candidates for each result, and what share it finds."""

    n_probes: int
    factor: int
    recall: float


class ApproximateIndex:
    """A table of vectors of length 1 in, the best rows of it for other vectors out."""

    def __init__(self, faiss: ModuleType, vectors: Float32s) -> None:
        self._faiss = faiss
        n_rows, dimensions = vectors.shape
        self.n_cells = max(1, min(int(_CELLS * math.sqrt(n_rows)), n_rows // _ROWS_PER_CELL))
        self._centres = faiss.IndexFlatIP(dimensions)
        self._train_cells(vectors)
        self.cell = self._cells_of(vectors)
        # Rows of a cell lie together, so that candidates are read from memory that is near.
        self.order = np.argsort(self.cell, kind="stable")
        self._table = empty_table(n_rows, dimensions)
        for start in range(0, n_rows, _CHUNK):
            self._table[start : start + _CHUNK] = vectors[self.order[start : start + _CHUNK]]
        self._index = self._codes(n_rows, dimensions)
        self.effort = Effort(min(_FIRST_PROBES, self.n_cells), _FIRST_FACTOR, 0.0)

    def _train_cells(self, vectors: Float32s) -> None:
        rows = _spread(len(vectors), self.n_cells * _ROWS_PER_CELL)
        clustering = self._faiss.Clustering(vectors.shape[1], self.n_cells)
        clustering.niter, clustering.spherical = _N_ROUNDS, True
        clustering.min_points_per_centroid, clustering.max_points_per_centroid = 1, _ROWS_PER_CELL
        clustering.train(_taken(vectors, rows), self._centres)

    def _cells_of(self, vectors: Float32s) -> Int64s:
        found = np.empty(len(vectors), np.int64)
        for start in range(0, len(vectors), _CHUNK):
            part = np.ascontiguousarray(vectors[start : start + _CHUNK], np.float32)
            found[start : start + _CHUNK] = self._centres.search(part, 1)[1][:, 0]
        return found

    def _codes(self, n_rows: int, dimensions: int) -> Any:
        faiss = self._faiss
        n_codes = max(1, dimensions // _CODE_DIMENSIONS)
        # The number of codes has to divide the dimensions.
        n_codes = next(n for n in range(n_codes, 0, -1) if dimensions % n == 0)
        metric = faiss.METRIC_INNER_PRODUCT
        index = faiss.IndexIVFPQFastScan(self._centres, dimensions, self.n_cells, n_codes, 4, metric)
        index.by_residual = False
        index.pq.cp.niter = _CODE_ROUNDS
        index.train(self._table[_spread(n_rows, _CODE_ROWS)])
        for start in range(0, n_rows, _CHUNK * 16):
            index.add(self._table[start : start + _CHUNK * 16])
        return index

    def tune(self, queries: Float32s, least: Float32s, n_results: int, recall_target: float) -> None:
        """Look harder until the wanted share of the true neighbours of a sample is found, or no more can be.

        Args:
            queries: float32, shape (n, d).
            least: cosine of the last of the true neighbours of each, shape (n,).
            n_results: neighbours of each.
            recall_target: share of them to find, 0 to 1.
        """

        def tried(n_probes: int, factor: int) -> Effort:
            n_probes, factor = min(n_probes, self.n_cells), min(factor, _LARGEST_FACTOR)
            self.effort = Effort(n_probes, factor, 0.0)
            return Effort(n_probes, factor, share_found(self.best(queries, n_results)[1], least))

        best = tried(_FIRST_PROBES, _FIRST_FACTOR)
        while best.recall < recall_target:
            # Either more cells or more candidates: what finds more.
            ways = []
            if best.n_probes < self.n_cells:
                ways.append(tried(best.n_probes * 2, best.factor))
            if best.factor < _LARGEST_FACTOR:
                ways.append(tried(best.n_probes, best.factor * 2))
            if not ways:
                break
            best = max(ways, key=lambda way: (way.recall, way.n_probes))
        self.effort = best
        log.info("index of %d cells: %s", self.n_cells, best)

    def search(
        self,
        queries: Float32s | None,
        n_results: int,
        on_progress: Progress | None = None,
        order: Int64s | None = None,
    ) -> tuple[npt.NDArray[Any], Float32s]:
        """Queries (None: the table's own rows) to the best rows for each and their cosines, best first.

        Args:
            queries: float32, shape (n, d).
            n_results: rows wanted for each.
            on_progress: called with (queries searched, queries).
            order: of the queries, one in which near ones follow each other, so that they read the same codes
                and rows; None finds it.

        Returns:
            ids int32 and cosines float32, shape (n, n_results); id -1 and cosine -2 where there are fewer.
        """
        n = len(self._table) if queries is None else len(queries)
        if order is None:
            order = self.order if queries is None else self.order_of(queries)

        def cut(part: slice) -> slice | Float32s:
            # Rows of the table are wherever the table is.
            return part if queries is None else _taken(queries, order[part])

        ids = np.empty((n, n_results), np.int32)
        cosines = np.empty((n, n_results), np.float32)
        parts = slices(n, _CHUNK)
        answers = current().map(_best, (self, n_results), parts, cut, on_progress=on_progress)
        for part, (found, cosine) in zip(parts, answers, strict=True):
            ids[order[part]], cosines[order[part]] = found, cosine
        return ids, cosines

    def __getstate__(self) -> dict[str, Any]:
        """All but the library, which every process has its own of."""
        return {name: value for name, value in vars(self).items() if name != "_faiss"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        import faiss

        vars(self).update(state, _faiss=faiss)

    def order_of(self, queries: Float32s) -> Int64s:
        """Vectors, shape (n, d), to an order of them in which near ones follow each other, shape (n,)."""
        return np.argsort(self._cells_of(queries), kind="stable")

    def best(self, queries: slice | Float32s, n_results: int) -> tuple[Int64s, Float32s]:
        """As `search`, for no more vectors (or rows of the table in its order) than a part has."""
        queries = self._table[queries] if isinstance(queries, slice) else queries
        self._index.nprobe = self.effort.n_probes
        n_candidates = max(n_results, min(n_results * self.effort.factor, len(self._table)))
        candidates = np.ascontiguousarray(self._index.search(queries, n_candidates)[1])
        found, cosines = best_of(self._faiss, queries, self._table, candidates, n_results)
        return np.where(found >= 0, self.order[found], -1), cosines


def best_of(
    faiss: ModuleType, queries: Float32s, table: Float32s, candidates: Int64s, n_results: int
) -> tuple[Int64s, Float32s]:
    """Candidates for each query to the best of them and their cosines, best first.

    Args:
        faiss: the library.
        queries: float32, shape (n, d).
        table: float32, shape (m, d).
        candidates: rows of the table, shape (n, k) with k of `n_results` or more; −1 for none.
        n_results: rows wanted for each.

    Returns:
        ids int64 and cosines float32, shape (n, n_results); id -1 and cosine -2 where there are fewer.
    """
    exact = np.empty(candidates.shape, np.float32)
    pointers = [faiss.swig_ptr(a) for a in (exact, queries, table, candidates)]
    faiss.fvec_inner_products_by_idx(*pointers, queries.shape[1], *candidates.shape)
    exact[candidates < 0] = -2
    best = np.argpartition(-exact, n_results - 1, axis=1)[:, :n_results]
    best = np.take_along_axis(best, np.argsort(-np.take_along_axis(exact, best, 1), axis=1), 1)
    return np.take_along_axis(candidates, best, 1), np.take_along_axis(exact, best, 1)


def _best(
    table: tuple[ApproximateIndex, int], queries: slice | Float32s, _: Progress | None
) -> tuple[Int64s, Float32s]:
    index, n_results = table
    return index.best(queries, n_results)


def least_true(vectors: Float32s, queries: Float32s, n_results: int) -> Float32s:
    """Cosine of the last of the best `n_results` rows for each query, found by comparing all rows."""
    best = np.full((len(queries), n_results), -2, np.float32)
    for start in range(0, len(vectors), _CHUNK * 8):
        both = np.concatenate([best, queries @ vectors[start : start + _CHUNK * 8].T], axis=1)
        best = -np.partition(-both, n_results - 1, axis=1)[:, :n_results]
    least: Float32s = best.min(axis=1)
    return least


def share_found(cosines: Float32s, least: Float32s) -> float:
    """Cosines of what was found, shape (n, n_results), and of the last true one; the share of these found.

    By cosine and not by number, because of equal cosines any one is right.
    """
    return float((cosines >= least[:, None] - 1e-6).mean())


def sample_of(n_rows: int) -> Int64s:
    """Numbers of the rows that recall is measured on, the same for the same number of rows."""
    return _spread(n_rows, SAMPLE)


def _spread(n_rows: int, n_wanted: int) -> Int64s:
    """Numbers of some rows, drawn at random but always the same: in sorted rows like stand beside like."""
    if n_rows <= n_wanted:
        return np.arange(n_rows)
    return np.sort(np.random.default_rng(0).choice(n_rows, n_wanted, replace=False))


def _taken(vectors: Float32s, rows: npt.NDArray[Any]) -> Float32s:
    return np.ascontiguousarray(vectors[rows], np.float32)
