"""Nearest neighbours by cosine: FAISS or PyTorch, exact or approximate, on the CPU or a GPU."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from blocking.approximate import least_true, sample_of, share_found
from blocking.engine import LOCAL, Work, current, slices
from blocking.errors import BlockingError
from blocking.pairs import Float32s, Int64s
from blocking.settings import BlockingSettings, Progress, at_least
from blocking.shards import Tuning, search_shards

log = logging.getLogger(__name__)

#: Rows up to which the search is exact on a CPU: its time grows with their square, 5 s of two cores here.
EXACT_ROWS = 20_000
#: Rows below which there are no 4-bit codes.
LEAST_ROWS = 2_000
#: Rows up to which a GPU searches exactly; it has neither 4-bit codes nor HNSW.
GPU_EXACT_ROWS = 1_000_000
#: Edges per node and breadth while building of the HNSW graph.
_HNSW_EDGES, _HNSW_EF_CONSTRUCTION = 32, 80
#: FAISS wants 39 training rows a cell or more.
_ROWS_PER_CELL = 39
#: What the GPU forms of FAISS indexes can return and probe at most.
_GPU_LIMIT = 2048
_QUERY_CHUNK = 8192
#: Results beyond those wanted that an exact search looks at: cosines this near differ by rounding alone.
_MORE = 8
#: Kinds of FAISS indexes that can be handed to another process.
_PORTABLE = ("IndexFlatIP", "IndexHNSWFlat", "IndexIVFFlat")


_Answer = tuple[Int64s, Float32s]


def nearest_neighbours(
    vectors: Float32s,
    n_neighbours: int,
    settings: BlockingSettings | None = None,
    *,
    on_progress: Progress | None = None,
) -> tuple[Int64s, Float32s]:
    """Vectors of length 1 in; each row's nearest other rows and their cosines out.

    Args:
        vectors: float32, shape (n, d); rows of zeros have no neighbours and are nobody's neighbour.
        n_neighbours: neighbours wanted for each row.
        settings: index, backend, device and their figures.
        on_progress: called with (rows searched, rows in all).

    Returns:
        ids int64 and similarities float32, both of shape (n, n_neighbours), most similar first, equal ones
        by id; where a row has fewer neighbours, id -1 and similarity 0.

    Raises:
        BlockingError: rows of another length, a missing library, or no GPU although one is asked for.
    """
    found = search_neighbours(vectors, n_neighbours, settings, on_progress=on_progress)
    return found.ids, found.similarities


@dataclass(frozen=True)
class Search:
    """How neighbours were sought.

    Attributes:
        index: "exact", "quantised", "hnsw" or "ivf".
        n_rows: rows that were searched.
        recall: share of the true neighbours found, on a sample of rows; 1 where all rows were compared.
        n_probes: cells that each query looked into, None where there are none.
    """

    index: str
    n_rows: int
    recall: float
    n_probes: int | None = None


class Neighbours(NamedTuple):
    """As `nearest_neighbours` gives them, and how they were sought."""

    ids: Int64s
    similarities: Float32s
    search: Search


def search_neighbours(
    vectors: Float32s,
    n_neighbours: int,
    settings: BlockingSettings | None = None,
    *,
    on_progress: Progress | None = None,
) -> Neighbours:
    """As `nearest_neighbours`; how the neighbours were sought comes with them."""
    settings = settings or BlockingSettings()
    at_least("n_neighbours", n_neighbours, 1)
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    rows = np.flatnonzero(lengths > 0)
    if np.any(np.abs(lengths[rows] - 1) > 1e-3):
        raise BlockingError(
            "nearest_neighbours needs vectors of length 1 (or of zeros); normalise them first"
        )
    ids = np.full((len(vectors), n_neighbours), -1, np.int64)
    similarities = np.zeros((len(vectors), n_neighbours), np.float32)
    if len(rows) < 2:
        return Neighbours(ids, similarities, Search("exact", len(rows), 1.0))
    used = np.ascontiguousarray(vectors if len(rows) == len(vectors) else vectors[rows], np.float32)
    wanted = min(n_neighbours, len(rows) - 1)
    found, cosines, search = _search(used, used, wanted + 1, settings, on_progress)
    for start in range(0, len(rows), _QUERY_CHUNK):
        part = slice(start, start + _QUERY_CHUNK)
        own, cosine = _without_self(rows[part], rows, found[part], cosines[part], wanted)
        ids[rows[part], :wanted], similarities[rows[part], :wanted] = own, cosine
    return Neighbours(ids, similarities, search)


def nearest_rows(
    queries: Float32s,
    corpus: Float32s,
    n_neighbours: int,
    settings: BlockingSettings | None = None,
    *,
    on_progress: Progress | None = None,
) -> tuple[Int64s, Float32s]:
    """Vectors of length 1 (or of zeros) in; for each query its nearest rows of another table out.

    Args:
        queries: float32, shape (n, d).
        corpus: float32, shape (m, d).
        n_neighbours: rows wanted for each query.
        settings: index, backend, device and their figures; "auto" weighs the cost of n x m.
        on_progress: called with (queries searched, queries).

    Returns:
        ids int64 and similarities float32, both of shape (n, n_neighbours), most similar first, equal ones by
        id; where there are fewer rows, id -1 and similarity 0.

    Raises:
        BlockingError: a missing library, or no GPU although one is asked for.
    """
    settings = settings or BlockingSettings()
    at_least("n_neighbours", n_neighbours, 1)
    ids = np.full((len(queries), n_neighbours), -1, np.int64)
    similarities = np.zeros((len(queries), n_neighbours), np.float32)
    rows, asked = (np.flatnonzero(v.any(axis=1)) for v in (corpus, queries))
    if not len(rows) or not len(asked):
        return ids, similarities
    wanted = min(n_neighbours, len(rows))
    # Tens of thousands of rows are not copied for nothing.
    used, queries = (v if len(v) == len(i) else v[i] for v, i in ((corpus, rows), (queries, asked)))
    found, cosine, _ = _search(used, queries, wanted, settings, on_progress)
    ranked = np.where(found < 0, np.float32(-np.inf), cosine)
    order = np.lexsort((found, -ranked))
    found, ranked = np.take_along_axis(found, order, 1), np.take_along_axis(ranked, order, 1)
    ids[asked, :wanted] = np.where(found >= 0, rows[found], -1)
    similarities[asked, :wanted] = np.clip(np.where(found >= 0, ranked, 0), -1, 1)
    return ids, similarities


def _without_self(
    own: Int64s, rows: Int64s, found: Int64s, cosines: Float32s, n_neighbours: int
) -> tuple[Int64s, Float32s]:
    """Neighbours of some rows without the row itself and without padding, ordered by cosine, then id.

    With equal vectors the row itself is anywhere in the answer or not in it, so it goes by its id.
    """
    found = np.where(found >= 0, rows[found], -1)
    is_out = (found < 0) | (found == own[:, None])
    ranked = np.where(is_out, np.float32(-np.inf), cosines)
    order = np.lexsort((found, -ranked))[:, :n_neighbours]
    ids, ranked = np.take_along_axis(found, order, 1), np.take_along_axis(ranked, order, 1)
    is_neighbour = np.isfinite(ranked)
    clipped = np.clip(np.where(is_neighbour, ranked, 0), -1, 1).astype(np.float32)
    return np.where(is_neighbour, ids, -1), clipped


def _search(
    corpus: Float32s,
    queries: Float32s,
    n_results: int,
    settings: BlockingSettings,
    on_progress: Progress | None,
) -> tuple[Int64s, Float32s, Search]:
    """The best rows of the corpus for each query (itself too), padded with id -1 as FAISS does."""
    # What counts is the number of products; among the rows of one table it is the square of theirs.
    n_rows = math.isqrt(len(corpus) * len(queries))
    if _backend(n_rows, settings) == "faiss":
        return _search_faiss(corpus, queries, n_results, settings, on_progress)
    from blocking.torch_search import search_torch

    found = search_torch(corpus, queries, n_results, settings.device, on_progress)
    return *found, Search("exact", len(corpus), 1.0)


def _backend(n_rows: int, settings: BlockingSettings) -> str:
    """The library that searches, so that a GPU is used if any of them sees one; rows as `_search` counts."""
    if settings.backend != "auto":
        return settings.backend
    if settings.device == "cpu" or settings.index not in ("auto", "exact"):
        return "faiss"
    # A small search is over on the CPU before PyTorch is imported.
    is_small = settings.device == "auto" and n_rows <= EXACT_ROWS
    if has_faiss() and (is_small or _has_gpu(import_faiss())):
        return "faiss"
    from blocking.torch_search import has_torch_gpu

    return "torch" if has_torch_gpu() else "faiss"


def is_by_faiss(n_queries: int, n_rows: int, settings: BlockingSettings) -> bool:
    """Whether FAISS, on the CPU, is what would find the nearest of so many rows for so many queries."""
    if not has_faiss() or _backend(math.isqrt(n_queries * n_rows), settings) != "faiss":
        return False
    return settings.device == "cpu" or not _has_gpu(import_faiss())


def has_faiss() -> bool:
    """Whether FAISS is installed; PyTorch does without it on a GPU."""
    try:
        import_faiss()
    except BlockingError:
        return False
    return True


def import_faiss() -> ModuleType:
    """Nothing in, the FAISS module out; `BlockingError` where it is not installed."""
    try:
        import faiss
    except ImportError as error:
        raise BlockingError(
            "searching neighbours needs FAISS: pip install 'affiliation-resolver[cpu]'"
        ) from error
    module: ModuleType = faiss
    return module


def _has_gpu(faiss: ModuleType) -> bool:
    """Whether this is a GPU build of FAISS that sees a GPU; CPU builds lack the GPU classes."""
    return hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0


def _search_faiss(
    corpus: Float32s,
    queries: Float32s,
    n_results: int,
    settings: BlockingSettings,
    on_progress: Progress | None,
) -> tuple[Int64s, Float32s, Search]:
    faiss = import_faiss()
    is_gpu = settings.device != "cpu" and _has_gpu(faiss)
    if settings.device == "cuda" and not is_gpu:
        raise BlockingError("device 'cuda' was asked for, but FAISS sees no GPU; use 'auto' or 'cpu'")
    kind = index_kind(math.isqrt(len(corpus) * len(queries)), settings.index, is_gpu)
    if is_gpu and n_results > _GPU_LIMIT:
        raise BlockingError(f"FAISS finds at most {_GPU_LIMIT - 1} neighbours on a GPU, got {n_results - 1}")
    log.info("searching %d rows: FAISS %s index on the %s", len(corpus), kind, "GPU" if is_gpu else "CPU")
    if kind == "exact":
        index = _build(faiss, corpus, kind, settings, is_gpu)
        ask = _ask if is_gpu else _ask_exactly
        return *_asked(ask, index, queries, n_results, on_progress), Search(kind, len(corpus), 1.0)
    sample = sample_of(len(queries))
    least = least_true(corpus, queries[sample], n_results)
    n_probes = None
    if kind == "quantised":
        tuning = Tuning(sample, least, settings.recall_target)
        found, cosines, n_probes = search_shards(faiss, corpus, queries, n_results, tuning, on_progress)
    else:
        built = _build(faiss, corpus, kind, settings, is_gpu)
        found, cosines = _asked(_ask, built, queries, n_results, on_progress)
        n_probes = built.nprobe if kind == "ivf" and not is_gpu else None
    search = Search(kind, len(corpus), round(share_found(cosines[sample], least), 4), n_probes)
    if search.recall < settings.recall_target:
        log.warning(
            "the %s index finds %.3f of the true neighbours, less than recall_target %.3f",
            *(kind, search.recall, settings.recall_target),
        )
    return found, cosines, search


def _asked(
    ask: Work[tuple[Any, int], Float32s, _Answer],
    index: Any,
    queries: Float32s,
    n_results: int,
    on_progress: Progress | None,
) -> _Answer:
    found = np.empty((len(queries), n_results), np.int64)
    cosines = np.empty((len(queries), n_results), np.float32)
    parts = slices(len(queries), _QUERY_CHUNK)
    # An index on the GPUs of this machine stays there.
    engine = current() if type(index).__name__ in _PORTABLE else LOCAL
    answers = engine.map(
        *(ask, (index, n_results), parts, lambda part: np.ascontiguousarray(queries[part], np.float32)),
        on_progress=on_progress,
    )
    for part, own in zip(parts, answers, strict=True):
        found[part], cosines[part] = own
    return found, cosines


def _ask(table: tuple[Any, int], queries: Float32s, _: Progress | None) -> _Answer:
    index, n_results = table
    cosines, found = index.search(queries, n_results)
    return found, cosines


def _ask_exactly(table: tuple[Any, int], queries: Float32s, _: Progress | None) -> _Answer:
    """As `_ask` of a flat index, but the same to the last bit on any number of threads.

    The products of matrices by which FAISS searches are rounded by how they are cut up.
    """
    faiss, (index, n_results) = import_faiss(), table
    found = index.search(queries, min(n_results + _MORE, index.ntotal))[1]
    cosines = np.empty(found.shape, np.float32)
    out, asked, ids = (faiss.swig_ptr(a) for a in (cosines, queries, found))
    faiss.fvec_inner_products_by_idx(out, asked, index.get_xb(), ids, index.d, *found.shape)
    order = np.lexsort((found, -cosines))[:, :n_results]
    return np.take_along_axis(found, order, 1), np.take_along_axis(cosines, order, 1)


def index_kind(n_rows: int, index: str, is_gpu: bool) -> str:
    """Number of rows, the `index` setting and whether a GPU searches in; the kind of index out.

    A GPU has neither 4-bit codes nor HNSW, and IVF takes their place. In a small table there is nothing to
    learn codes from, and nothing to gain by them.
    """
    if index == "quantised" and n_rows < LEAST_ROWS:
        return "exact"
    if index == "auto":
        index = "exact" if n_rows <= (GPU_EXACT_ROWS if is_gpu else EXACT_ROWS) else "quantised"
    return "ivf" if is_gpu and index != "exact" else index


def _build(faiss: ModuleType, vectors: Float32s, kind: str, settings: BlockingSettings, is_gpu: bool) -> Any:
    """A filled index by inner product, which is FAISS's default for none but the flat one asked for."""
    vectors = np.ascontiguousarray(vectors, np.float32)
    n_rows, dimensions = vectors.shape
    if kind == "exact":
        index = faiss.IndexFlatIP(dimensions)
    elif kind == "hnsw":
        index = faiss.IndexHNSWFlat(dimensions, _HNSW_EDGES, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = _HNSW_EF_CONSTRUCTION
        index.hnsw.efSearch = settings.hnsw_ef_search
    else:
        n_cells = max(1, min(int(4 * math.sqrt(n_rows)), n_rows // _ROWS_PER_CELL))
        quantizer = faiss.IndexFlatIP(dimensions)
        index = faiss.IndexIVFFlat(quantizer, dimensions, n_cells, faiss.METRIC_INNER_PRODUCT)
        index.cp.spherical = True
        index.nprobe = min(settings.ivf_n_probe, n_cells, _GPU_LIMIT)
    if is_gpu:
        index = faiss.index_cpu_to_all_gpus(index)
    if kind == "ivf":
        index.train(vectors)
    index.add(vectors)
    return index
