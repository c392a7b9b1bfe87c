"""Work in several processes: the work on texts is Python's own, so that threads would wait for each other."""

from __future__ import annotations

import gc
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from blocking.engine import LOCAL, current, slices
from blocking.workers import n_workers
from pipeline.errors import AffilError
from pipeline.records import Progress

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

T = TypeVar("T")
R = TypeVar("R")
#: Seconds after which a copy of the process that says nothing is given up: it may wait for a lock that a
#: thread of some library held when it was copied. It tells of every 2,048 strings, a second or two.
_PATIENCE = 60.0
#: Texts below which processes cost more than they save: each loads the word lists, some two seconds.
LEAST = 20_000
#: Seconds after which a process without work ends.
_IDLE_SECONDS = 15


def in_processes(
    work: Callable[[Sequence[T]], R], items: Sequence[T], chunk: int, least: int = LEAST
) -> Iterator[R]:
    """What `work` makes of each chunk of the items, in order, as it is asked for; on a cluster if in use.

    Processes are started afresh (no fork) and do not run the caller's main module again, so that scripts need
    no guard and notebooks work. How many, `AFFIL_WORKERS` says; with one, and for few items, none is started.

    Args:
        work: a function that can be pickled, as its arguments and results must be.
        items: what to work on.
        chunk: items handed over at a time.
        least: items from which on processes are started.

    Raises:
        AffilError: a process was killed, as systems do where memory runs out.
    """
    if len(items) >= least and current() is not LOCAL:
        yield from current().map(partial(_of_chunk, work), None, slices(len(items), chunk), items.__getitem__)
        return
    chunks = (items[part] for part in slices(len(items), chunk))
    if len(items) < least or n_workers() == 1:
        yield from map(work, chunks)
        return
    from joblib import Parallel, delayed, parallel_config
    from joblib.externals.loky.process_executor import BrokenProcessPool

    # A process that has grown by 300 MB, as caches of words do, is replaced by a new one; no task is lost.
    warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
    try:
        with parallel_config(backend="loky", n_jobs=n_workers(), idle_worker_timeout=_IDLE_SECONDS):
            tasks = (delayed(_uncollected)(work, chunk) for chunk in chunks)
            yield from Parallel(return_as="generator", max_nbytes=None)(tasks)
    except BrokenProcessPool as error:
        raise AffilError(
            "a process that worked on strings was ended by the system, which is short of memory; close other"
            " programs, or run with --workers 1"
        ) from error


def _uncollected(work: Callable[[Sequence[T]], R], chunk: Sequence[T]) -> R:
    """What `work` makes of a chunk in a process of ours, where Python's search for cycles rests for good.

    Work on texts makes none, and a search through all that a chunk has left behind takes its time.
    """
    gc.disable()
    return work(chunk)


def _of_chunk(work: Callable[[Sequence[T]], R], _: None, chunk: Sequence[T], __: Progress | None) -> R:
    return work(chunk)


@contextmanager
def meanwhile(work: Callable[[Progress | None], R], n_texts: int) -> Iterator[Callable[[Progress | None], R]]:
    """Work on texts in, what waits for its result out; a copy of this process does it, where it can.

    A copy has all that is loaded, and what it makes is handed over. Elsewhere, with one worker, and where the
    copy gave up, was killed or is silent for `_PATIENCE`, the work is done when its result is asked for: an
    error is met there. It must not use libraries with threads of their own (FAISS, Arrow). So many texts that
    processes are worth it are left to them.
    """
    if n_texts >= LEAST or not _may_copy():
        yield work
        return
    import multiprocessing

    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    copy = context.Process(target=_tell, args=(work, here, there), daemon=True)
    copy.start()
    there.close()
    try:
        yield partial(_told, here, work)
    finally:
        copy.kill()
        copy.join()
        here.close()


def _may_copy() -> bool:
    """Whether a copy of this process can work: of a lock that another thread holds, it would never get hold.

    Libraries of macOS have such threads; a daemon may have no children.
    """
    import multiprocessing

    is_alone = threading.active_count() == 1 and not multiprocessing.current_process().daemon
    return sys.platform == "linux" and is_alone and n_workers() > 1


def _tell(work: Callable[[Progress | None], object], here: Connection, there: Connection) -> None:
    """In a copy: the result of the work to the process that it is a copy of."""
    # That process ends this one, whatever ends it; where it is killed, nobody reads what is told.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    here.close()
    gc.disable()
    with suppress(Exception):
        result = work(lambda *progress: there.send((progress, None)))
        there.send((None, result))


def _told(here: Connection, work: Callable[[Progress | None], R], on_progress: Progress | None) -> R:
    found: R
    with suppress(EOFError):
        while here.poll(_PATIENCE):
            progress, found = here.recv()
            if progress is None:
                return found
            if on_progress:
                on_progress(*progress)
    return work(on_progress)
