"""Processes of peers: an environment of its own for each, and a watch on seconds and memory."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

#: Seconds between two looks at memory, at first less: a peak that is shorter can be missed.
LOOK = 0.1
#: What an environment that is complete holds: a digest of its pins.
STAMP = ".installed"


@dataclass(frozen=True)
class Limits:
    """Where a peer is stopped."""

    seconds: float = 900.0
    gigabytes: float = 12.0


@dataclass(frozen=True)
class Watched:
    """A process that ended or was stopped: why, seconds, peak megabytes, what it said."""

    status: str
    seconds: float
    peak_memory_mb: int
    output: str
    error: str


def watched(command: Sequence[str], limits: Limits, scratch: Path, **more: str) -> Watched:
    """A command and variables of its environment in; how it went out.

    All its processes are stopped where it goes beyond the limits.
    """
    out, err = scratch / "stdout", scratch / "stderr"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        begin = time.perf_counter()
        process = subprocess.Popen(
            command,
            stdout=stdout,
            stderr=stderr,
            cwd=scratch,
            env=os.environ | more,
            start_new_session=True,
        )
        status, peak = "ok", 0
        while process.poll() is None:
            peak = max(peak, resident(process.pid))
            if time.perf_counter() - begin > limits.seconds:
                status = "time"
            elif peak > limits.gigabytes * 1e9:
                status = "memory"
            if status != "ok":
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                break
            time.sleep(min(LOOK, max((time.perf_counter() - begin) / 10, 0.005)))
        seconds = time.perf_counter() - begin
    if status == "ok" and process.returncode:
        status = "failed"
    said = [path.read_text(encoding="utf-8", errors="replace") for path in (out, err)]
    return Watched(status, seconds, round(peak / 1e6), *said)


def resident(pid: int) -> int:
    """A process number to the bytes that it and all its descendants hold; 0 where it has ended."""
    total = 0
    try:
        whole = psutil.Process(pid)
        for process in (whole, *whole.children(recursive=True)):
            try:
                total += process.memory_info().rss
            except psutil.Error:
                continue
    except psutil.Error:
        return total
    return total


def python_of(folder: Path, requirements: Path) -> Path:
    """The interpreter of an environment, which is made where it is missing or has other pins.

    Raises:
        RuntimeError: its packages cannot be installed.
    """
    python, stamp = folder / "bin" / "python", folder / STAMP
    pins = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == pins:
        return python
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        [*install, "--requirement", str(requirements)],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError((done.stderr.strip().splitlines() or ["pip failed"])[-1])
    stamp.write_text(pins)
    return python
