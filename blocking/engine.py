"""Where work is done that can be cut into parts: in this process, or where an engine takes it.

A function in, what it makes of each part out. A part is cut by the size of the work alone, never by how many
workers there are, so that every engine gives the same result. `use` names the engine for a run, as `joblib`'s
`parallel_config` names a backend; without it the work is done here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol, TypeVar

from blocking.settings import Progress

S = TypeVar("S")
P = TypeVar("P")
R = TypeVar("R")
#: What is done with a part: what all parts need, the part, and a callback for progress within it.
Work = Callable[[S, P, Progress | None], R]


class Engine(Protocol):
    """What does work in parts; any object that fits will do."""

    @property
    def description(self) -> str:
        """Names the engine in the manifest: "local", or what it is and how large."""

    def map(
        self,
        work: Work[S, P, R],
        state: S,
        parts: Sequence[slice],
        cut: Callable[[slice], P],
        *,
        on_gpu: bool = False,
        on_progress: Progress | None = None,
    ) -> Iterator[R]:
        """What `work` makes of each part, in the order of the parts, as it is asked for.

        Args:
            work: a function that can be pickled, as its arguments and results must be. It may be called
                again with a part whose worker was lost.
            state: what all parts need, such as a model; it travels once to each worker. None: nothing.
            parts: consecutive ranges of the items, from 0 to their number.
            cut: a range to the part of the items that `work` gets.
            on_gpu: whether the work gains by a GPU.
            on_progress: called with (items done, items).
        """
        ...


class LocalEngine:
    """Works in this process, one part after the other; the work itself uses threads."""

    description = "local"

    def map(
        self,
        work: Work[S, P, R],
        state: S,
        parts: Sequence[slice],
        cut: Callable[[slice], P],
        *,
        on_gpu: bool = False,
        on_progress: Progress | None = None,
    ) -> Iterator[R]:
        """As `Engine.map` says."""
        for part in parts:
            yield work(state, cut(part), within(part, parts, on_progress))
            if on_progress:
                on_progress(part.stop, parts[-1].stop)


LOCAL = LocalEngine()
_CURRENT: ContextVar[Engine] = ContextVar("engine", default=LOCAL)


def current() -> Engine:
    """The engine that work in parts goes to."""
    return _CURRENT.get()


@contextmanager
def use(engine: Engine) -> Iterator[None]:
    """Work in parts goes to this engine for the body of the `with` statement."""
    token = _CURRENT.set(engine)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def slices(n: int, size: int) -> list[slice]:
    """The ranges of at most `size` items that `n` items are cut into."""
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def within(part: slice, parts: Sequence[slice], on_progress: Progress | None) -> Progress | None:
    """Progress of one part as progress of all; its last step is told once the part is done."""
    if on_progress is None:
        return None
    return lambda done, _: on_progress(min(part.start + done, part.stop), parts[-1].stop)
