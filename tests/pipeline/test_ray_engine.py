"""Runs on a Ray cluster of two nodes on this machine: the same result, also where workers are killed."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import pipeline
from blocking import engine, neighbours, vectors
from blocking.errors import BlockingError
from pipeline import distributed, processes
from pipeline.add_job import run_add_job
from pipeline.cli import main
from pipeline.clustering import by_component
from pipeline.errors import AffilError, UsageError
from pipeline.job import run_job
from pipeline.run_folder import read_frames

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
import resume  # noqa: E402

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of a cluster of two nodes of one core each, one of which says that it has a GPU."""
    from ray import cloudpickle
    from ray.cluster_utils import Cluster

    # Its processes cannot import this module.
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    node = {"num_cpus": 1, "object_store_memory": 200 << 20}
    cluster = Cluster(initialize_head=True, head_node_args=node | {"include_dashboard": False})
    cluster.add_node(**node, num_gpus=1)
    yield cluster.address
    cluster.shutdown()


class Deadly:
    """The engine in use, whose workers are killed at one part of every kind of work."""

    description = "deadly"

    def __init__(self, folder: Path) -> None:
        self.folder, self.engine = folder, engine.current()

    def map(self, work: Callable[..., Any], *asked: Any, **options: Any) -> Iterator[Any]:
        name = getattr(work, "__name__", "") or work.func.__name__  # type: ignore[attr-defined]
        return self.engine.map(partial(dies_once, self.folder / name, work), *asked, **options)


def dies_once(marker: Path, work: Callable[..., Any], *given: Any) -> Any:
    """What work gives; but the first process that comes here ends there."""
    try:
        marker.touch(exist_ok=False)
        os.kill(os.getpid(), signal.SIGKILL)
    except FileExistsError:
        pass
    return work(*given)


def doubled(state: int, part: Sequence[int], _: object) -> list[tuple[int, int]]:
    return [(state * 2 * number, os.getpid()) for number in part]


def doubled_without_state(_: None, part: Sequence[int], tick: object) -> list[tuple[int, int]]:
    return doubled(5, part, tick)


def gpus_seen(*_: object) -> str:
    return os.environ.get("CUDA_VISIBLE_DEVICES", "all")


def refuses(_: object, part: Sequence[int], __: object) -> None:
    raise BlockingError(f"no {part[0]}")


def always_dies(_: object, __: object, ___: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@needs_ray
def test_two_thousand_strings_are_resolved_as_here_though_workers_are_killed_in_every_phase(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes.in_processes, "__defaults__", (1,))
    monkeypatch.setattr(vectors, "TEXTS_AT_ONCE", 700)
    monkeypatch.setattr(neighbours, "_QUERY_CHUNK", 700)
    monkeypatch.setattr(by_component, "_EDGES", 10_000)
    score = import_module("pipeline.scoring.score")
    monkeypatch.setattr(score, "_CHUNK", 20_000)
    monkeypatch.setattr(score, "_RESCORED", 500)
    resume.write_strings(tmp_path / "strings.csv", 2_000)
    strings = pd.read_csv(tmp_path / "strings.csv", keep_default_na=False)["affiliation"]
    settings = pipeline.Settings().with_values(
        scoring={"reranker": "built-in", "rescoring_budget": "1500 pairs"}
    )
    here = pipeline.resolve(strings, settings)
    with pipeline.ray_engine(address) as cluster:
        assert cluster.description == "ray (nodes: 2, cores: 2, GPUs: 1)"
        with engine.use(Deadly(tmp_path)):
            there = pipeline.resolve(strings, settings)
    killed = {"_of_chunk", "_encode", "_ask_exactly", "_logits", "_rescored", "_linked"}
    assert killed < {path.name for path in tmp_path.iterdir()}
    pd.testing.assert_frame_equal(
        there.mentions[["mention_id", "entity_id"]], here.mentions[["mention_id", "entity_id"]]
    )
    columns = ["left_mention_id", "right_mention_id", "rule"]
    pd.testing.assert_frame_equal(there.pairs[columns], here.pairs[columns])
    np.testing.assert_allclose(there.pairs["probability"], here.pairs["probability"], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(there.clusters.label, here.clusters.label)
    assert engine.current() is engine.LOCAL


@needs_ray
def test_the_command_uses_a_cluster_and_what_it_made_is_finished_for_any_engine(
    address: str, tmp_path: Path
) -> None:
    source = ROOT / "examples" / "affiliations.csv"
    command = [
        sys.executable,
        "-m",
        "pipeline.cli",
        "resolve",
        str(source),
        "--output",
        str(tmp_path / "run"),
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, "--engine", "ray", "--ray-address", address],
        *(),
        capture_output=True,
        text=True,
        env=environment,
    )
    assert (done.returncode, done.stderr) == (0, "")
    again = run_job([str(source)], tmp_path / "run")
    assert again.was_finished
    assert again.manifest["engine"] == "ray (nodes: 2, cores: 2, GPUs: 1)"


@needs_ray
def test_rows_are_added_on_a_cluster_as_here(address: str, tmp_path: Path) -> None:
    resume.write_strings(tmp_path / "strings.csv", 500)
    rows = pd.read_csv(tmp_path / "strings.csv", keep_default_na=False)
    rows[:400].to_csv(tmp_path / "first.csv", index=False)
    rows[400:].to_csv(tmp_path / "more.csv", index=False)
    run_job([str(tmp_path / "first.csv")], tmp_path / "here")
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    run_add_job(tmp_path / "here", [str(tmp_path / "more.csv")])
    given = ["add", str(tmp_path / "there"), str(tmp_path / "more.csv"), "--engine", "ray"]
    done = CliRunner().invoke(main, [*given, "--ray-address", address, "--json"])
    assert (done.exit_code, done.stderr) == (0, "")
    assert json.loads(done.stdout)["manifest"]["engine"] == "ray (nodes: 2, cores: 2, GPUs: 1)"
    here, there = read_frames(tmp_path / "here"), read_frames(tmp_path / "there")
    columns = ["mention_id", "entity_id"]
    pd.testing.assert_frame_equal(there.mentions[columns], here.mentions[columns])
    np.testing.assert_allclose(there.pairs["probability"], here.pairs["probability"], rtol=0, atol=1e-5)


@needs_ray
def test_work_is_done_on_both_nodes_and_what_it_raises_arrives_here(address: str) -> None:
    parts = engine.slices(40, 3)

    def numbers(part: slice) -> range:
        return range(40)[part]

    calls: list[tuple[int, int]] = []
    with pipeline.ray_engine(address) as cluster:
        for work, state in (doubled, 5), (doubled_without_state, None):
            done = cluster.map(work, state, parts, numbers, on_progress=lambda *call: calls.append(call))
            found = [one for part in done for one in part]
            assert [number for number, _ in found] == [10 * i for i in range(40)]
            # Of tasks, one node may do all.
            assert state is None or len({pid for _, pid in found}) == 2
        assert calls[-1] == (40, 40)
        seen = cluster.map(gpus_seen, 1, parts, numbers, on_gpu=True)
        assert set(seen) == {"0"}
        for state in 1, None:
            with pytest.raises(BlockingError, match=r"^no 0$"):
                list(cluster.map(refuses, state, parts[:1], numbers))
        assert list(cluster.map(refuses, 1, [], numbers)) == []
        with pytest.raises(AffilError, match=r"after 5 more tries.*run the same command again"):
            list(cluster.map(always_dies, None, parts[:1], numbers))


@needs_ray
@pytest.mark.slow
def test_transformers_encode_and_rescore_on_a_cluster(address: str, encoder: Path, reranker: Path) -> None:
    strings = pd.read_csv(ROOT / "examples" / "affiliations.csv", keep_default_na=False)["affiliation"][:200]
    settings = pipeline.Settings().with_values(
        blocking={"encoder": str(encoder)},
        scoring={"reranker": str(reranker), "rescoring_budget": "900 pairs"},
    )
    here = pipeline.resolve(strings, settings)
    with pipeline.ray_engine(address):
        there = pipeline.resolve(strings, settings)
    assert there.counts["pairs_rescored"] > 0
    np.testing.assert_allclose(there.pairs["probability"], here.pairs["probability"], rtol=0, atol=1e-5)
    pd.testing.assert_frame_equal(
        there.mentions[["mention_id", "entity_id"]], here.mentions[["mention_id", "entity_id"]]
    )


@needs_ray
@pytest.mark.slow
def test_a_node_that_is_lost_is_done_without() -> None:
    """It takes Ray some twenty seconds to see that it is lost."""
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 200 << 20}
    cluster = Cluster(initialize_head=True, head_node_args=node | {"include_dashboard": False})
    parts, found = engine.slices(40, 1), []
    with pipeline.ray_engine(cluster.address) as used:
        for state, work in (5, waits_and_doubles), (None, waits_and_doubles):
            lost = cluster.add_node(**node)
            cluster.wait_for_nodes()
            for number, one in enumerate(used.map(work, state, parts, lambda part: range(40)[part])):
                found += one
                if number == 3:
                    cluster.remove_node(lost, allow_graceful=False)
    cluster.shutdown()
    assert found == [2 * number for number in range(40)] * 2


def waits_and_doubles(_: object, part: Sequence[int], __: object) -> list[int]:
    time.sleep(0.3)
    return [2 * number for number in part]


# ------------------------------------------------------------------------------------------------- no cluster


@needs_ray
@pytest.mark.parametrize("given", ["rubbish", "ray://127.0.0.1:10001", "no.such.host.invalid:6379"])
def test_what_is_no_address_is_refused_in_one_line(given: str) -> None:
    with (
        pytest.raises(UsageError, match=r"^(a Ray cluster is named|no Ray cluster answers)"),
        pipeline.ray_engine(given),
    ):
        pass


@needs_ray
def test_an_address_where_nobody_is_is_refused_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (
        pytest.raises(UsageError, match=f"^no Ray cluster answers at 127.0.0.1:{port} .*ray start --head"),
        pipeline.ray_engine(f"127.0.0.1:{port}"),
    ):
        pass


def test_without_ray_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install 'affiliation-resolver\[ray\]'"), pipeline.ray_engine():
        pass


def test_an_address_needs_the_engine() -> None:
    with pytest.raises(UsageError, match="add --engine ray"):
        distributed.engine_named("local", "127.0.0.1:6379")
