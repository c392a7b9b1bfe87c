import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

faiss = pytest.importorskip("faiss")

from blocking import neighbours, shards, torch_search  # noqa: E402
from blocking.analysis import neighbour_overlap  # noqa: E402
from blocking.errors import BlockingError  # noqa: E402
from blocking.neighbours import index_kind, nearest_neighbours, nearest_rows, search_neighbours  # noqa: E402
from blocking.settings import BlockingSettings  # noqa: E402


def unit_rows(n_rows, dimensions=16, seed=0):
    rows = np.random.default_rng(seed).normal(size=(n_rows, dimensions)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def by_hand(vectors, n_neighbours):
    """The same answer by sorting whole rows of the matrix of cosines."""
    ids = np.full((len(vectors), n_neighbours), -1, np.int64)
    for row, cosines in enumerate(vectors.astype(np.float64) @ vectors.astype(np.float64).T):
        others = [j for j in range(len(vectors)) if j != row and vectors[j].any() and vectors[row].any()]
        best = sorted(others, key=lambda j: (-round(cosines[j], 6), j))[:n_neighbours]
        ids[row, : len(best)] = best
    return ids


@pytest.mark.parametrize("backend", ["faiss", "torch"])
def test_exact_search_equals_sorting_by_hand(backend):
    pytest.importorskip(backend)
    vectors = unit_rows(200)
    vectors[[5, 50]] = 0
    found, cosines = nearest_neighbours(vectors, 7, BlockingSettings(backend=backend))
    assert np.array_equal(found, by_hand(vectors, 7))
    assert (found[[5, 50]] == -1).all()
    assert not cosines[[5, 50]].any()
    assert not np.isin([5, 50], found).any()
    rows = np.delete(np.arange(200), [5, 50])
    expected = np.einsum("ij,ikj->ik", vectors[rows], vectors[found[rows]])
    assert np.allclose(cosines[rows], expected, atol=1e-6)
    assert found.dtype == np.int64
    assert cosines.dtype == np.float32


@pytest.mark.parametrize("index", ["exact", "hnsw", "ivf"])
def test_equal_vectors_never_name_themselves_and_cosine_is_one(index):
    vectors = np.repeat(unit_rows(3), 20, axis=0)
    found, cosines = nearest_neighbours(vectors, 10, BlockingSettings(index=index, hnsw_ef_search=100))
    assert (found != np.arange(60)[:, None]).all()
    assert (found // 20 == np.arange(60)[:, None] // 20).all()
    # An index by L2 distance would answer 0 here.
    assert np.allclose(cosines, 1, atol=1e-6)


def test_fewer_rows_than_neighbours_are_padded():
    found, cosines = nearest_neighbours(unit_rows(3), 5)
    assert (found[:, :2] >= 0).all()
    assert (found[:, 2:] == -1).all()
    assert not cosines[:, 2:].any()


@pytest.mark.parametrize("n_rows", [0, 1])
def test_no_row_and_one_row(n_rows):
    found, cosines = nearest_neighbours(unit_rows(n_rows), 4)
    assert found.shape == cosines.shape == (n_rows, 4)
    assert (found == -1).all()


@pytest.mark.parametrize(("index", "least"), [("hnsw", 0.95), ("ivf", 0.95), ("quantised", 0.95)])
def test_approximate_indexes_find_nearly_all_and_repeat_themselves(index, least):
    centres = unit_rows(40, 32)
    vectors = centres[np.arange(3000) % 40] + 0.05 * np.random.default_rng(1).normal(size=(3000, 32))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    exact, _ = nearest_neighbours(vectors, 10, BlockingSettings(index="exact"))
    settings = BlockingSettings(index=index, recall_target=0.97)
    found, _, search = search_neighbours(vectors, 10, settings)
    assert search.recall == pytest.approx(neighbour_overlap(found, exact), abs=0.02)
    assert neighbour_overlap(found, exact) > least
    assert np.array_equal(found, nearest_neighbours(vectors, 10, settings)[0])


def test_shards_of_a_table_find_what_the_whole_holds(monkeypatch):
    vectors = unit_rows(3000, 24)
    exact, cosines = nearest_neighbours(vectors, 10, BlockingSettings(index="exact"))
    settings = BlockingSettings(index="quantised", recall_target=1)
    monkeypatch.setattr(shards, "SHARD_ROWS", 1001)
    calls = []
    found = search_neighbours(vectors, 10, settings, on_progress=lambda *call: calls.append(call))
    assert found.search.recall > 0.99
    assert neighbour_overlap(found.ids, exact) > 0.99
    is_same = found.ids == exact
    assert np.allclose(found.similarities[is_same], cosines[is_same], atol=1e-6)
    assert calls == sorted(calls) and calls[-1] == (3000, 3000)
    of_others, _ = nearest_rows(vectors[:100], vectors, 11, settings)
    assert neighbour_overlap(of_others[:, 1:], exact[:100]) > 0.99


def test_an_index_is_tuned_until_it_finds_enough_and_says_when_it_cannot(caplog):
    # Rows without any structure are the hardest case: cells hardly help.
    vectors = unit_rows(4000, 32)
    found = [
        search_neighbours(vectors, 10, BlockingSettings(index="quantised", recall_target=target)).search
        for target in (0.5, 0.8, 0.95)
    ]
    assert all(s.recall >= target for s, target in zip(found, (0.5, 0.8, 0.95), strict=True))
    assert found[0].n_probes < found[-1].n_probes
    assert not caplog.records
    low = search_neighbours(vectors, 10, BlockingSettings(index="ivf", ivf_n_probe=1)).search
    assert low.recall < 0.5
    assert "less than recall_target 0.900" in caplog.text


def test_ties_go_by_id():
    vectors = np.array([[1, 0], [0, 1], [0, 1], [0, 1], [1, 0]], np.float32)
    found, _ = nearest_neighbours(vectors, 4)
    assert found.tolist() == [[4, 1, 2, 3], [2, 3, 0, 4], [1, 3, 0, 4], [1, 2, 0, 4], [0, 1, 2, 3]]


def test_vectors_that_are_not_normalised_are_refused():
    with pytest.raises(BlockingError, match="length 1"):
        nearest_neighbours(2 * unit_rows(4), 2)


def test_index_goes_by_size():
    assert index_kind(20_000, "auto", is_gpu=False) == "exact"
    assert index_kind(20_001, "auto", is_gpu=False) == "quantised"
    assert index_kind(10, "quantised", is_gpu=False) == "exact"
    assert index_kind(10_000, "quantised", is_gpu=True) == "ivf"
    assert index_kind(1_000_000, "auto", is_gpu=True) == "exact"
    assert index_kind(1_000_001, "auto", is_gpu=True) == "ivf"
    assert index_kind(10, "hnsw", is_gpu=True) == "ivf"
    assert index_kind(10, "ivf", is_gpu=False) == "ivf"


class GpuFaiss:
    """FAISS as a GPU build shows itself, with the CPU doing the work."""

    StandardGpuResources = object

    def __init__(self, n_gpus=1):
        self.n_gpus = n_gpus
        self.moved = []

    def __getattr__(self, name):
        return getattr(faiss, name)

    def get_num_gpus(self):
        return self.n_gpus

    def index_cpu_to_all_gpus(self, index):
        self.moved.append(type(index).__name__)
        return index


@pytest.mark.parametrize(("index", "moved"), [("exact", "IndexFlatIP"), ("hnsw", "IndexIVFFlat")])
@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_gpu_path_gives_the_neighbours_of_the_cpu(monkeypatch, index, moved, device):
    vectors = unit_rows(300)
    expected, _ = nearest_neighbours(vectors, 5, BlockingSettings(index="exact", device="cpu"))
    stand_in = GpuFaiss()
    monkeypatch.setitem(sys.modules, "faiss", stand_in)
    found, _ = nearest_neighbours(vectors, 5, BlockingSettings(index=index, device=device))
    assert stand_in.moved == [moved]
    # 300 rows make 7 cells, all of them probed: IVF is exact here.
    assert np.array_equal(found, expected)


def test_cpu_is_kept_to_although_a_gpu_is_there(monkeypatch):
    stand_in = GpuFaiss()
    monkeypatch.setitem(sys.modules, "faiss", stand_in)
    nearest_neighbours(unit_rows(20), 3, BlockingSettings(device="cpu"))
    assert stand_in.moved == []


def test_gpu_limit_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", GpuFaiss())
    with pytest.raises(BlockingError, match="at most 2047 neighbours on a GPU"):
        nearest_neighbours(unit_rows(2100, 4), 2060)


@pytest.mark.parametrize("backend", ["faiss", "torch", "auto"])
def test_cuda_without_a_gpu_is_refused(monkeypatch, backend):
    monkeypatch.setitem(sys.modules, "faiss", GpuFaiss(n_gpus=0))
    monkeypatch.setattr("blocking.torch_search.has_torch_gpu", lambda: False)
    with pytest.raises(BlockingError, match="sees no GPU; use 'auto' or 'cpu'"):
        nearest_neighbours(unit_rows(4), 2, BlockingSettings(backend=backend, device="cuda"))


def test_torch_takes_a_large_search_where_only_it_sees_the_gpu(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", SimpleNamespace())
    monkeypatch.setattr("blocking.torch_search.has_torch_gpu", lambda: True)
    assert neighbours._backend(200_000, BlockingSettings()) == "torch"
    assert neighbours._backend(10, BlockingSettings()) == "faiss"
    assert neighbours._backend(10, BlockingSettings(device="cuda")) == "torch"
    assert neighbours._backend(200_000, BlockingSettings(device="cpu")) == "faiss"
    assert neighbours._backend(200_000, BlockingSettings(index="ivf")) == "faiss"


def test_missing_faiss_is_one_line_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    monkeypatch.setattr("blocking.torch_search.has_torch_gpu", lambda: False)
    with pytest.raises(BlockingError, match=r"pip install 'affiliation-resolver\[cpu\]'"):
        nearest_neighbours(unit_rows(4), 2)


@pytest.fixture
def no_faiss_but_a_gpu(monkeypatch):
    """A machine whose GPU PyTorch alone could use, with the CPU doing the work."""
    pytest.importorskip("torch")
    monkeypatch.setitem(sys.modules, "faiss", None)
    monkeypatch.setattr("blocking.torch_search.has_torch_gpu", lambda: True)
    monkeypatch.setattr("blocking.torch_search.torch_device", lambda device: "cpu")


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_a_gpu_searches_without_faiss(request, device):
    vectors, queries = unit_rows(300), unit_rows(50, seed=1)
    vectors[3] = queries[4] = 0
    expected = nearest_neighbours(vectors, 5), nearest_rows(queries, vectors, 5)
    request.getfixturevalue("no_faiss_but_a_gpu")
    settings = BlockingSettings(device=device)
    found = nearest_neighbours(vectors, 5, settings), nearest_rows(queries, vectors, 5, settings)
    for (ids, cosines), (own, near) in zip(expected, found, strict=True):
        assert np.array_equal(ids, own)
        assert np.allclose(cosines, near, atol=1e-6)


def test_what_only_faiss_has_needs_it_on_a_gpu_too(no_faiss_but_a_gpu):
    for asked in (BlockingSettings(index="hnsw"), BlockingSettings(backend="faiss")):
        with pytest.raises(BlockingError, match="needs FAISS"):
            nearest_neighbours(unit_rows(4), 2, asked)


def test_torch_finds_rows_of_another_table_in_many_parts(monkeypatch):
    pytest.importorskip("torch")
    vectors, queries = unit_rows(100), unit_rows(40, seed=1)
    expected, cosines = nearest_rows(queries, vectors, 120, BlockingSettings(backend="faiss"))
    monkeypatch.setattr("blocking.torch_search._CPU_COSINES", 700)
    found, near = nearest_rows(queries, vectors, 120, BlockingSettings(backend="torch"))
    assert np.array_equal(found, expected)
    assert np.allclose(near, cosines, atol=1e-6)
    assert (found[:, 100:] == -1).all()


def clustered(n_rows, dimensions, spread):
    centres = unit_rows(8, dimensions, seed=2)
    rows = centres[np.arange(n_rows) % 8] + spread * unit_rows(n_rows, dimensions, seed=3)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize(
    ("vectors", "n_results"),
    [
        (unit_rows(3000, 64), 20),
        (unit_rows(2999, 3), 20),
        # Hundreds of rows whose cosines half numbers cannot tell apart.
        (clustered(2000, 64, 0.3), 20),
        (clustered(2000, 64, 0.01), 20),
        # Equal rows: any of them are right.
        (np.repeat(unit_rows(10), 200, axis=0), 150),
        # More than the rows of a group, all rows of a table smaller than one, one row.
        (unit_rows(700), 500),
        (unit_rows(40), 40),
        (unit_rows(64), 7),
        (unit_rows(1), 1),
    ],
    ids=range(9),
)
def test_half_numbers_find_what_full_ones_find(vectors, n_results):
    torch = pytest.importorskip("torch")
    table = torch_search._Table(vectors, n_results, "cpu")
    rows = table.rows
    assert len(table.halves) % torch_search._GROUP == 0 and table.halves.dtype == torch.float16
    queries = rows[:: max(1, len(rows) // 150)]
    ids, cosines = torch_search.best_by_halves(rows, table.halves, queries, n_results)
    expected_ids, expected = torch_search.best_of_all(rows, queries, n_results)
    assert ids.shape == expected.shape and ids.max() < len(rows)
    assert all(len(set(own)) == n_results for own in ids.tolist())
    assert torch.allclose(cosines, expected, atol=1e-6)
    assert torch.allclose(torch.einsum("qd,qkd->qk", queries, rows[ids]), cosines, atol=1e-6)
    # Apart from rows that are equally near, ids are the same.
    is_apart = (expected[:, :-1] - expected[:, 1:] > 1e-5).all(1)
    assert torch.equal(ids[is_apart], expected_ids[is_apart])


def test_only_queries_in_doubt_are_compared_with_all_rows(monkeypatch):
    torch = pytest.importorskip("torch")
    # Most rows have no like; those of the last ones differ by less than half numbers tell.
    vectors = np.concatenate([unit_rows(2000, 64), clustered(2400, 64, 0.01)])
    asked, of_all = [], torch_search.best_of_all
    monkeypatch.setattr(torch_search, "best_of_all", lambda r, q, n: asked.append(len(q)) or of_all(r, q, n))
    table = torch_search._Table(vectors, 10, "cpu")
    torch_search.best_by_halves(table.rows, table.halves, table.rows[1900:2050], 10)
    assert asked == [50]
    assert torch.equal(table.rows[:3].half(), table.halves[:3])


def test_progress_reaches_the_total():
    calls = []
    nearest_neighbours(unit_rows(9000, 4), 2, on_progress=lambda *call: calls.append(call))
    assert calls == [(8192, 9000), (9000, 9000)]


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 60), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_torch_equals_faiss(n_rows, n_neighbours, seed):
    pytest.importorskip("torch")
    vectors = unit_rows(n_rows, 8, seed)
    vectors[::7] = 0
    one = nearest_neighbours(vectors, n_neighbours, BlockingSettings(backend="faiss"))
    other = nearest_neighbours(vectors, n_neighbours, BlockingSettings(backend="torch"))
    assert np.array_equal(one[0], other[0])
    assert np.allclose(one[1], other[1], atol=1e-6)


def test_torch_in_many_chunks_equals_one(monkeypatch):
    pytest.importorskip("torch")
    vectors = unit_rows(100)
    whole = nearest_neighbours(vectors, 5, BlockingSettings(backend="torch"))
    monkeypatch.setattr("blocking.torch_search._CPU_COSINES", 700)
    calls = []
    chunked = nearest_neighbours(
        vectors, 5, BlockingSettings(backend="torch"), on_progress=lambda *call: calls.append(call)
    )
    assert np.array_equal(whole[0], chunked[0])
    assert len(calls) == 15
    assert calls[-1] == (100, 100)
