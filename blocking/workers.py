"""How many threads and processes a run may use."""

from __future__ import annotations

import os

from blocking.errors import BlockingError

#: Environment variable with the number of threads and processes; the command's `--workers` sets it.
VARIABLE = "AFFIL_WORKERS"


def n_workers() -> int:
    """Threads and processes to use: what `AFFIL_WORKERS` says, else the cores that this process may use.

    Raises:
        BlockingError: the variable holds no whole number of 1 or more.
    """
    said = os.environ.get(VARIABLE)
    if not said:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not said.isdigit() or int(said) < 1:
        raise BlockingError(f"{VARIABLE} must be a whole number of 1 or more, got {said!r}")
    return int(said)
