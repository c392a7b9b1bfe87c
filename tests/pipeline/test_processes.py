"""Work in several processes: the same results, scripts without a guard, processes that die."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from blocking.errors import BlockingError
from blocking.workers import n_workers
from pipeline.errors import AffilError
from pipeline.processes import in_processes, meanwhile

SCRIPT = """
from pipeline.folding import fold_values
from pipeline.cleaning import cleaning, clean
from pipeline.parsing import parse
from pipeline import processes

processes.in_processes.__defaults__ = (1,)  # As if there were many strings.
cleaning._LEAST_FOR_PROCESSES = 1
rows = [f"Dept {i}, University of Place {i % 7}, Lyon, France" for i in range(5000)]
mentions = parse(clean(fold_values(rows).affiliations))
print(*[(m.organization, m.city, m.units) for m in mentions.mention], sep="\\n")
"""


def doubled(items: Sequence[int]) -> list[tuple[int, int]]:
    return [(2 * i, os.getpid()) for i in items]


def dies(items: Sequence[int]) -> int:
    if 7 in items:
        os.kill(os.getpid(), signal.SIGKILL)
    return len(items)


def test_chunks_come_back_in_order_from_other_processes(monkeypatch):
    monkeypatch.setenv("AFFIL_WORKERS", "2")
    found = [pair for chunk in in_processes(doubled, range(1000), 10, least=1) for pair in chunk]
    assert [value for value, _ in found] == list(range(0, 2000, 2))
    assert os.getpid() not in {process for _, process in found}
    few = [pair for chunk in in_processes(doubled, range(10), 3) for pair in chunk]
    assert {process for _, process in few} == {os.getpid()}


def test_a_process_that_is_killed_is_one_line_with_the_remedy(monkeypatch):
    monkeypatch.setenv("AFFIL_WORKERS", "2")
    with pytest.raises(AffilError, match="--workers 1"):
        list(in_processes(dies, range(20), 5, least=1))


def test_a_script_without_a_guard_gives_the_same_with_one_process_and_with_two(tmp_path: Path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    root = str(Path(__file__).parents[2])
    outputs = [
        subprocess.run(
            [sys.executable, str(script)],
            env=os.environ | {"AFFIL_WORKERS": number, "PYTHONPATH": root},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for number in ("1", "2")
    ]
    assert outputs[0] == outputs[1]
    assert len(outputs[0].splitlines()) == 5000


MEANWHILE = """
import os, signal, sys, threading, time
from pipeline import processes
from pipeline.processes import meanwhile

if sys.argv[1] == "silent":
    processes._PATIENCE = 0.1
here = os.getpid()

def work(tick):
    if sys.argv[1] == "killed" and os.getpid() != here:
        os.kill(os.getpid(), signal.SIGKILL)
    if sys.argv[1] == "silent" and os.getpid() != here:
        time.sleep(60)
    if sys.argv[1] == "wrong":
        raise ValueError("no such thing")
    if tick:
        tick(1, 2)
    return os.getpid()

if sys.argv[1] == "threads":
    threading.Thread(target=threading.Event().wait, daemon=True).start()
with meanwhile(work, 5) as wait:
    ticks = []
    print("here" if wait(lambda *done: ticks.append(done)) == here else "copy", ticks)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="copies are safe on Linux alone")
@pytest.mark.parametrize(
    ("case", "workers", "told"),
    [
        ("copy", "2", "copy [(1, 2)]"),
        ("copy", "1", "here [(1, 2)]"),
        ("threads", "2", "here [(1, 2)]"),
        ("killed", "2", "here [(1, 2)]"),
        ("silent", "2", "here [(1, 2)]"),
        ("wrong", "2", "ValueError: no such thing"),
    ],
)
def test_a_copy_works_meanwhile_where_it_can(case: str, workers: str, told: str):
    done = subprocess.run(
        [sys.executable, "-c", MEANWHILE, case],
        env=os.environ | {"AFFIL_WORKERS": workers, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout or done.stderr).strip().splitlines()[-1] == told
    assert done.stderr.count("Traceback") == (case == "wrong")


@pytest.mark.skipif(sys.platform != "linux", reason="copies are safe on Linux alone")
def test_a_copy_that_nobody_waits_for_is_ended(monkeypatch):
    monkeypatch.setenv("AFFIL_WORKERS", "2")
    monkeypatch.setattr(threading, "active_count", lambda: 1)  # Test runners have threads of their own.
    begin = time.monotonic()
    with meanwhile(lambda _: time.sleep(60), 5):
        (copy,) = multiprocessing.active_children()
    assert not copy.is_alive() and time.monotonic() - begin < 30


@pytest.mark.parametrize("said", ["0", "-1", "two", "1.5"])
def test_a_wrong_number_of_workers_is_refused(monkeypatch, said):
    monkeypatch.setenv("AFFIL_WORKERS", said)
    with pytest.raises(BlockingError, match="AFFIL_WORKERS must be a whole number of 1 or more"):
        n_workers()


def test_by_default_all_cores_that_may_be_used(monkeypatch):
    monkeypatch.delenv("AFFIL_WORKERS", raising=False)
    assert 1 <= n_workers() <= (os.cpu_count() or 1)
