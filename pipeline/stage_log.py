"""What every stage took: seconds and peak memory, for the manifest and the summary."""

from __future__ import annotations

import ctypes
import logging
import re
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pipeline.records import Progress

T = TypeVar("T")
log = logging.getLogger(__name__)
#: Called with the stage's name when it begins; what it returns is told (done, total) while it works.
Watcher = Callable[[str], Progress | None]


@dataclass
class StageLog:
    """Collects one entry a stage: name, seconds, memory, whether it was reused.

    Memory: the peak of the process so far, and what it holds when the stage is over.
    """

    watch: Watcher | None = None
    stages: list[dict[str, Any]] = field(default_factory=list)

    @contextmanager
    def __call__(self, name: str, *, is_reused: bool = False) -> Iterator[Progress | None]:
        """Time the body of a `with` statement as the stage `name`; gives the callback for its progress."""
        tick = self.watch(f"{name} (kept)" if is_reused else name) if self.watch else None
        begin = time.perf_counter()
        yield tick
        seconds = time.perf_counter() - begin
        _give_back_memory()
        memory = {"peak_memory_mb": peak_memory_mb(), "held_memory_mb": held_memory_mb()}
        entry = {"name": name, "seconds": round(seconds, 3), **memory, "is_reused": is_reused}
        self.stages.append(entry)
        log.info("%s: %.2f s%s", name, seconds, " (kept from before)" if is_reused else "")

    def run(self, name: str, make: Callable[[Progress | None], T], form: Any = None) -> T:
        """What `make` gives as the stage `name`; a log that keeps stages needs its `form`."""
        with self(name) as tick:
            return make(tick)

    @property
    def seconds(self) -> float:
        """Seconds of all stages."""
        return round(sum(float(s["seconds"]) for s in self.stages), 3)


def held_memory_mb() -> int | None:
    """MB that this process holds now and no file has, so that the system cannot drop them; None off Linux."""
    kernel = _status()
    if "RssAnon" not in kernel:
        return None
    return (kernel["RssAnon"] + kernel.get("RssShmem", 0)) // 1_000_000


def _status() -> dict[str, int]:
    """Sizes of this process as Linux tells them, in bytes; nothing elsewhere."""
    path = Path("/proc/self/status")
    if not path.exists():
        return {}
    sizes = re.findall(r"^(\w+):\s+(\d+) kB$", path.read_text(), re.MULTILINE)
    return {name: int(number) * 1024 for name, number in sizes}


def _give_back_memory() -> None:
    """Memory that a stage had and freed goes back to the system, not to the heaps that keep it for the next.

    Of 100,000 strings these hold 200 MB after blocking.
    """
    if "pyarrow" in sys.modules:
        sys.modules["pyarrow"].default_memory_pool().release_unused()
    # Of the C library of GNU alone.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def peak_memory_mb() -> int:
    """Largest resident size of this process so far, in MB; it counts what is in memory of mapped files."""
    # On Linux `getrusage` also counts the process that started this one; the kernel's own figure does not.
    kernel = _status()
    if "VmHWM" in kernel:
        return kernel["VmHWM"] // 1_000_000
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit // 1_000_000


class Onward:
    """One progress bar for works that follow each other: it does not run backwards when the next begins."""

    def __init__(self, on_progress: Progress | None) -> None:
        self._on_progress, self._before, self._total = on_progress, 0, 0

    def __call__(self, done: int, total: int) -> None:
        """Tell of the present work."""
        self._total = total
        if self._on_progress:
            self._on_progress(self._before + done, self._before + total)

    def next(self) -> Onward:
        """Begin the next work."""
        self._before, self._total = self._before + self._total, 0
        return self
