"""Codes: vectors of an index in 4 bits for every few dimensions, to preselect by what exact cosines decide.

Product quantisation read in registers (André et al. 2017, Quicker ADC). The book of the codes is learned
once, and the codes of vectors that stay are kept, so that a search among all has little to prepare.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from blocking.approximate import best_of
from blocking.neighbours import import_faiss
from blocking.pairs import Float32s
from pipeline.records import Int64s

UInt8s = npt.NDArray[np.uint8]
#: Vectors from which on there are codes; fewer are compared one and all.
LEAST_CODED = 4_000
#: Dimensions that share a code, of 4 bits each.
_DIMENSIONS, _BITS = 4, 4
#: Vectors that the book is learned from, and rounds of k-means.
_ROWS, _ROUNDS = 4_000, 8
#: Candidates for each neighbour that exact cosines choose from.
_FACTOR = 8


@dataclass(frozen=True)
class Codes:
    """Codes of vectors of length 1, and what they stand for.

    Attributes:
        book: centres of each code, shape (codes of a vector, 16, 4).
        code: two codes a byte, shape (n, bytes).
    """

    book: Float32s
    code: UInt8s

    def nearest(self, queries: Float32s, table: Float32s, n: int) -> tuple[Int64s, Float32s]:
        """For each query its best rows of the table, whose codes these are, and their cosines, best first.

        Returns:
            ids int64 and cosines float32, shape (len(queries), n); id −1 where there are fewer.
        """
        queries, wanted = np.ascontiguousarray(queries, np.float32), min(n * _FACTOR, len(self.code))
        candidates = np.ascontiguousarray(self._index.search(queries, wanted)[1])
        return best_of(import_faiss(), queries, table, candidates, min(n, wanted))

    @cached_property
    def _index(self) -> Any:
        faiss = import_faiss()
        n_codes, _, width = self.book.shape
        plain = faiss.IndexPQ(n_codes * width, n_codes, _BITS, faiss.METRIC_INNER_PRODUCT)
        faiss.copy_array_to_vector(np.array(self.book, np.float32).ravel(), plain.pq.centroids)
        faiss.copy_array_to_vector(np.array(self.code).ravel(), plain.codes)
        plain.ntotal, plain.is_trained = len(self.code), True
        return faiss.IndexPQFastScan(plain)


def has_codes(n_vectors: int, dimensions: int) -> bool:
    """Whether so many vectors of such a length are given codes."""
    return n_vectors >= LEAST_CODED and dimensions % _DIMENSIONS == 0


def learned_book(vectors: npt.NDArray[np.float16]) -> Float32s:
    """Vectors to the book of their codes."""
    faiss, dimensions = import_faiss(), vectors.shape[1]
    rows = np.linspace(0, len(vectors) - 1, min(len(vectors), _ROWS)).astype(np.int64)
    quantizer = faiss.ProductQuantizer(dimensions, dimensions // _DIMENSIONS, _BITS)
    quantizer.cp.niter, quantizer.cp.min_points_per_centroid = _ROUNDS, 1
    with _one_thread(faiss):
        quantizer.train(vectors[rows].astype(np.float32))
    book = faiss.vector_to_array(quantizer.centroids)
    return np.asarray(book.reshape(quantizer.M, 1 << _BITS, _DIMENSIONS), np.float32)


def coded(book: Float32s, vectors: npt.NDArray[np.float16]) -> UInt8s:
    """Vectors to their codes by a book, shape (n, bytes)."""
    faiss, (n_codes, _, width) = import_faiss(), book.shape
    quantizer = faiss.ProductQuantizer(n_codes * width, n_codes, _BITS)
    faiss.copy_array_to_vector(np.array(book, np.float32).ravel(), quantizer.centroids)
    with _one_thread(faiss):
        found: UInt8s = quantizer.compute_codes(vectors.astype(np.float32))
    return found


@contextmanager
def _one_thread(faiss: Any) -> Iterator[None]:
    """Work in small steps on one thread: several would wait for each other at each."""
    n = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(n)
