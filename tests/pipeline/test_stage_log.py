import logging
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.stage_log import Onward, StageLog

ROOT = Path(__file__).resolve().parents[2]


def test_each_stage_is_timed_in_order() -> None:
    log = StageLog()
    with log("first") as tick:
        assert tick is None
        time.sleep(0.02)
    with log("second"):
        pass
    assert [s["name"] for s in log.stages] == ["first", "second"]
    assert 0.02 <= log.stages[0]["seconds"] < 1
    assert log.stages[1]["seconds"] < 0.02
    assert log.seconds == pytest.approx(sum(s["seconds"] for s in log.stages))


def test_a_watcher_hears_of_stages_and_their_progress() -> None:
    heard = []

    def watch(stage: str):
        return lambda done, total: heard.append((stage, done, total))

    with StageLog(watch)("encode") as tick:
        tick(3, 10)
        tick(10, 10)
    assert heard == [("encode", 3, 10), ("encode", 10, 10)]


def test_one_bar_goes_on_where_the_work_before_ended() -> None:
    heard: list[tuple[int, int]] = []
    told = Onward(lambda done, total: heard.append((done, total)))
    told(1, 2)
    told(2, 2)
    told.next()(3, 3)
    told.next()
    told.next()(1, 1)
    assert heard == [(1, 2), (2, 2), (5, 5), (6, 6)]
    Onward(None).next()(1, 1)


def test_a_stage_that_fails_is_no_stage_that_was_done() -> None:
    log = StageLog()
    with pytest.raises(ValueError, match="no"), log("parse"):
        raise ValueError("no")
    assert log.stages == [] and log.seconds == 0


def test_one_info_line_a_stage(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "pipeline"), StageLog()("block"):
        pass
    assert [r.getMessage().split(":")[0] for r in caplog.records] == ["block"]


def test_peak_memory_grows_by_what_is_held() -> None:
    """In a process of its own, whose peak is not another test's."""
    code = (
        "from pipeline.stage_log import peak_memory_mb\n"
        "before = peak_memory_mb(); held = b'x' * 200_000_000; print(before, peak_memory_mb())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    before, after = map(int, done.stdout.split())
    assert 5 < before < 200 and 190 <= after - before < 260


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what a process holds")
def test_held_memory_counts_what_is_held_and_not_what_files_have(tmp_path: Path) -> None:
    code = (
        "import mmap, sys\n"
        "from pipeline.stage_log import held_memory_mb, peak_memory_mb\n"
        "before = held_memory_mb(); held = b'x' * 100_000_000; after = held_memory_mb()\n"
        "file = open(sys.argv[1], 'r+b'); mapped = mmap.mmap(file.fileno(), 0)\n"
        "sum(mapped[i] for i in range(0, len(mapped), 4096)); del held\n"
        "print(before, after, held_memory_mb(), peak_memory_mb())"
    )
    path = tmp_path / "mapped"
    path.write_bytes(bytes(150_000_000))
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    before, after, mapped, peak = map(int, done.stdout.split())
    assert 95 <= after - before < 115 and abs(mapped - before) < 15
    assert peak >= before + 200
