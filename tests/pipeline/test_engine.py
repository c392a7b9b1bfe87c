"""Work in parts comes out the same wherever the parts are done, and all that has to travel can."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import pipeline
from blocking import approximate, engine, neighbours, shards, vectors
from pipeline.clustering import by_component

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "affiliations.csv"


class Elsewhere:
    """Does the last part first, with nothing but copies of what it is given."""

    description = "elsewhere"

    def __init__(self) -> None:
        self.done: list[str] = []

    def map(
        self,
        work: Callable[..., Any],
        state: Any,
        parts: Sequence[slice],
        cut: Callable[[slice], Any],
        *,
        on_gpu: bool = False,
        on_progress: Any = None,
    ) -> Iterator[Any]:
        found, (work, state) = {}, pickle.loads(pickle.dumps((work, state)))
        for part in reversed(parts):
            found[part.start] = pickle.dumps(work(state, pickle.loads(pickle.dumps(cut(part))), None))
            self.done.append(getattr(work, "__name__", "") or work.func.__name__)
        return (pickle.loads(found[part.start]) for part in parts)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that few strings make several parts."""
    monkeypatch.setattr(vectors, "TEXTS_AT_ONCE", 100)
    monkeypatch.setattr(neighbours, "_QUERY_CHUNK", 100)
    monkeypatch.setattr(approximate, "_CHUNK", 400)
    # The package's `score` is the function.
    score = import_module("pipeline.scoring.score")
    monkeypatch.setattr(score, "_CHUNK", 1_500)
    monkeypatch.setattr(score, "_RESCORED", 700)
    monkeypatch.setattr(by_component, "_EDGES", 200)


def test_a_run_whose_parts_are_done_elsewhere_is_the_same(small_parts: None) -> None:
    strings = pd.read_csv(EXAMPLE, keep_default_na=False)["affiliation"][:200]
    settings = pipeline.Settings().with_values(scoring={"reranker": "built-in"})
    here, there = pipeline.resolve(strings, settings), Elsewhere()
    with engine.use(there):
        found = pipeline.resolve(strings, settings)
    assert set(there.done) == {"_encode", "_ask_exactly", "_logits", "_rescored", "_linked"}
    assert min(there.done.count(name) for name in set(there.done)) > 1
    pd.testing.assert_frame_equal(found.pairs, here.pairs)
    pd.testing.assert_frame_equal(found.mentions, here.mentions)
    pd.testing.assert_frame_equal(found.institutions, here.institutions)
    assert (here.manifest["engine"], found.manifest["engine"]) == ("local", "elsewhere")


def test_transformers_travel_with_their_weights(encoder: Path, reranker: Path, small_parts: None) -> None:
    strings = pd.read_csv(EXAMPLE, keep_default_na=False)["affiliation"][:150]
    settings = pipeline.Settings().with_values(
        blocking={"encoder": str(encoder), "device": "cpu"},
        scoring={"reranker": str(reranker), "rescoring_budget": "900 pairs"},
    )
    here, there = pipeline.resolve(strings, settings), Elsewhere()
    with engine.use(there):
        found = pipeline.resolve(strings, settings)
    assert there.done.count("_encode") > 2 and "_rescored" in there.done
    np.testing.assert_allclose(found.pairs["probability"], here.pairs["probability"], rtol=0, atol=1e-6)
    pd.testing.assert_frame_equal(found.institutions, here.institutions)


@pytest.mark.parametrize(
    "asked", [{"index": "quantised"}, {"index": "hnsw"}, {"backend": "torch", "device": "cpu"}]
)
def test_a_search_elsewhere_finds_the_same(
    asked: dict[str, str], small_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "SHARD_ROWS", 1_500)
    random = np.random.default_rng(0)
    rows = random.standard_normal((2_000, 16)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    settings = neighbours.BlockingSettings(**asked)
    here = neighbours.search_neighbours(rows, 9, settings)
    of_others = neighbours.nearest_rows(rows[:700], rows, 9, settings)
    with engine.use(Elsewhere()):
        there = neighbours.search_neighbours(rows, 9, settings)
        of_others_there = neighbours.nearest_rows(rows[:700], rows, 9, settings)
    assert here.search == there.search
    np.testing.assert_array_equal(here.ids, there.ids)
    np.testing.assert_array_equal(here.similarities, there.similarities)
    np.testing.assert_array_equal(of_others[0], of_others_there[0])


def test_an_exact_search_is_the_same_on_any_number_of_threads() -> None:
    import faiss

    random = np.random.default_rng(1)
    rows = random.standard_normal((3_000, 64)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows[1000:1004] = rows[0]
    found, n_threads = [], faiss.omp_get_max_threads()
    try:
        for n in (1, 2, 3):
            faiss.omp_set_num_threads(n)
            found.append(neighbours.search_neighbours(rows, 9, neighbours.BlockingSettings(index="exact")))
    finally:
        faiss.omp_set_num_threads(n_threads)
    for other in found[1:]:
        np.testing.assert_array_equal(other.ids, found[0].ids)
        np.testing.assert_array_equal(other.similarities, found[0].similarities)


def test_progress_of_parts_is_that_of_the_whole() -> None:
    calls: list[tuple[int, int]] = []

    def work(state: int, part: range, tick: Any) -> int:
        tick(1, 2)
        return state * len(part)

    parts = engine.slices(5, 2)
    found = engine.current().map(
        *(work, 10, parts, lambda part: range(part.start, part.stop)), on_progress=lambda *c: calls.append(c)
    )
    assert list(found) == [20, 20, 10]
    assert calls == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5), (5, 5)]
    assert engine.slices(0, 2) == []
