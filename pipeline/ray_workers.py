"""Work in parts on a Ray cluster: by actors where it needs a model or an index, by tasks where it needs none.

An actor is sent once what all its parts need. Ray starts it again where its process or node is lost, and has
it do the part again that it was at. Parts are those of the local engine, and so is the result.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from blocking.engine import Work
from blocking.errors import BlockingError
from blocking.settings import Progress
from blocking.workers import VARIABLE
from pipeline.checkpoints import own_version
from pipeline.errors import AffilError, UsageError

log = logging.getLogger(__name__)

S = TypeVar("S")
P = TypeVar("P")
R = TypeVar("R")
#: Cores of an actor: its threads share one copy of the model or index; many would wait for each other.
_THREADS = 4
#: Times that a part is given to another worker, or to the same started again, after the first was lost.
_RETRIES = 5
#: Parts that are with a worker at a time: the next is there when one is done.
_AHEAD = 2
#: Seconds to wait for actors; what the cluster has no room for by then is done without.
_PATIENCE = 30


class RayEngine:
    """Does work in parts on the cluster that Ray is connected to."""

    def __init__(self, ray: Any) -> None:
        """Ray, connected."""
        self._ray = ray
        self._actors: list[Any] = []
        self._are_on_gpus = False

    @property
    def description(self) -> str:
        """ "ray", and how large the cluster is."""
        found = self._ray.cluster_resources()
        return f"ray (nodes: {len(self._nodes())}, cores: {found['CPU']:g}, GPUs: {found.get('GPU', 0):g})"

    def check(self) -> None:
        """Refuse a cluster without cores, and one whose nodes have not this version of the program.

        Raises:
            UsageError: see above.
        """
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        if not self._nodes():
            raise UsageError("the Ray cluster has no node with a core to work on; add one with `ray start`")
        asked = {}
        for node in self._nodes():
            place = NodeAffinitySchedulingStrategy(node["NodeID"], soft=True)
            ask = self._ray.remote(num_cpus=0)(own_version).options(scheduling_strategy=place)
            asked[node["NodeManagerAddress"]] = ask.remote()
        for host, version in asked.items():
            try:
                found = self._ray.get(version)
            except self._ray.exceptions.RayError as error:
                raise UsageError(
                    f"the node {host} cannot load affiliation-resolver ({_cause(error)}); install it,"
                    " the same version, on every node"
                ) from error
            if found != own_version():
                raise UsageError(
                    f"the node {host} has affiliation-resolver {found} and this is {own_version()};"
                    " install the same version on every node"
                )

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
        """As `Engine.map` says; a part that is done early waits for those before it.

        Raises:
            AffilError: workers were lost with the same part too many times; and what the work raises.
        """
        waiting: dict[int, R] = {}
        n_done = n_given = 0
        for number, found in self._done(work, state, parts, cut, on_gpu):
            waiting[number] = found
            n_done += parts[number].stop - parts[number].start
            if on_progress:
                on_progress(n_done, parts[-1].stop)
            while n_given in waiting:
                yield waiting.pop(n_given)
                n_given += 1

    def _done(
        self, work: Work[S, P, R], state: S, parts: Sequence[slice], cut: Callable[[slice], P], on_gpu: bool
    ) -> Iterator[tuple[int, R]]:
        """Number and result of each part, as they come."""
        from ray.util import ActorPool

        if not parts:
            return
        workers, call = self._by_tasks(work) if state is None else self._by_actors(work, state, on_gpu)
        pool = ActorPool(workers * _AHEAD)
        try:
            for number, part in enumerate(parts):
                if not pool.has_free():
                    yield pool.get_next_unordered()
                pool.submit(call, (number, cut(part)))
            while pool.has_next():
                yield pool.get_next_unordered()
        except SystemError as error:
            # What the handler of a signal raises while Ray waits comes as the cause of this.
            raise error.__cause__ or error from None
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, AffilError | BlockingError):
                raise error.cause from error
            raise
        except self._ray.exceptions.RayError as error:
            raise AffilError(
                f"Ray gave up on a part of the work after {_RETRIES} more tries: {first_line(error)};"
                " see to the memory of the nodes, then run the same command again: finished stages are kept"
            ) from error

    def _by_tasks(self, work: Any) -> tuple[list[Any], Callable[[Any, Any], Any]]:
        """A place for each core, and what calls a task."""
        # Actors would keep their cores.
        self.close()
        task, shared = self._ray.remote(max_retries=_RETRIES)(_run), self._ray.put(work)
        n_cores = int(self._ray.cluster_resources().get("CPU", 1))
        return list(range(n_cores)), lambda _, numbered: task.remote(shared, *numbered)

    def _by_actors(self, work: Any, state: Any, on_gpu: bool) -> tuple[list[Any], Callable[[Any, Any], Any]]:
        """Actors, and what calls them; they are kept from one work to the next."""
        on_gpus = on_gpu and self._ray.cluster_resources().get("GPU", 0) >= 1
        if not self._actors or self._are_on_gpus != on_gpus:
            self.close()
            self._actors, self._are_on_gpus = self._started(on_gpus), on_gpus
        held = self._ray.put((work, state))
        return self._actors, lambda actor, numbered: actor.run.remote([held], *numbered)

    def _started(self, on_gpus: bool) -> list[Any]:
        """An actor for each GPU, or for some cores each; those that the cluster has room for."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        kind = self._ray.remote(max_restarts=_RETRIES, max_task_retries=-1)(_Worker)
        begun = []
        for node in self._nodes():
            n_cores, n_gpus = int(node["Resources"]["CPU"]), int(node["Resources"].get("GPU", 0))
            n_actors = n_gpus if on_gpus else -(-n_cores // _THREADS)
            for _ in range(n_actors):
                n_threads = max(1, n_cores // n_actors)
                # Half of what they use: then those of a lost node find room on the others.
                own = kind.options(
                    num_cpus=n_threads / 2,
                    num_gpus=1 if on_gpus else 0,
                    scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=True),
                )
                begun.append(own.remote(n_threads))
        actors = {actor.is_ready.remote(): actor for actor in begun}
        ready, rest = self._ray.wait(list(actors), num_returns=len(actors), timeout=_PATIENCE)
        if not ready:
            log.warning("waiting for the Ray cluster: others use all of it")
            ready, rest = self._ray.wait(list(actors), num_returns=1)
        for late in rest:
            self._ray.kill(actors[late])
        log.info("ray: %d of %d actors", len(ready), len(begun))
        return [actors[one] for one in ready]

    def _nodes(self) -> list[dict[str, Any]]:
        """Nodes that have a core."""
        return [n for n in self._ray.nodes() if n["Alive"] and n["Resources"].get("CPU", 0) >= 1]

    def close(self) -> None:
        """End the actors, which frees their cores and memory."""
        for actor in self._actors:
            self._ray.kill(actor)
        self._actors = []


def first_line(error: BaseException) -> str:
    """The first line of what an error says."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _cause(error: Any) -> str:
    """The last line of what Ray says, which is what was raised on the node."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()


def _run(work: Work[None, P, R], number: int, part: P) -> tuple[int, R]:
    os.environ[VARIABLE] = "1"
    return number, work(None, part, None)


class _Worker:
    """An actor: keeps what the parts of one work have in common."""

    def __init__(self, n_threads: int) -> None:
        os.environ[VARIABLE] = str(n_threads)
        self._name, self._held = "", (None, None)

    def is_ready(self) -> bool:
        """Whether the process is there."""
        return True

    def run(self, held: list[Any], number: int, part: Any) -> tuple[int, Any]:
        """Number and result of a part; `held` has the place in Ray's store of the work and its state."""
        import ray

        if held[0].hex() != self._name:
            # What was there makes room first.
            self._name, self._held = "", (None, None)
            self._name, self._held = held[0].hex(), ray.get(held[0])
        work: Any = self._held[0]
        return number, work(self._held[1], part, None)
