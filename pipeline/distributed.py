"""Where a run does its work: on this machine, or on a Ray cluster that is found, or started, for it."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from blocking.engine import use
from blocking.memory import memory_limit
from blocking.workers import n_workers
from pipeline.errors import UsageError
from pipeline.ray_workers import RayEngine, first_line

#: Seconds to wait for an address to answer. Ray itself would wait for two minutes.
_ANSWER = 5


def engine_named(name: str, address: str | None = None) -> AbstractContextManager[object]:
    """The name of an engine, and the address of a cluster, to the context in which a run uses it.

    Raises:
        UsageError: an address without Ray, or as `ray_engine` says.
    """
    if name == "ray":
        return ray_engine(address)
    if address is not None:
        raise UsageError("--ray-address names a Ray cluster; add --engine ray, or leave it out")
    return nullcontext()


@contextmanager
def ray_engine(address: str | None = None) -> Iterator[RayEngine]:
    """A Ray cluster does the work in parts for the body of the `with` statement.

    Args:
        address: `HOST:PORT` of the cluster's head, or "auto" on a machine that belongs to one. None takes
            what `RAY_ADDRESS` says, else starts a Ray on this machine for the time. A Ray that the program
            has begun itself is used as it is.

    Raises:
        UsageError: Ray is not installed, no cluster is at the address, or its nodes have another version.
    """
    ray = _import_ray()
    is_ours = not ray.is_initialized()
    if is_ours:
        _connect(ray, address)
    engine = RayEngine(ray)
    try:
        engine.check()
        with use(engine):
            yield engine
    finally:
        engine.close()
        if is_ours:
            ray.shutdown()


def _import_ray() -> Any:
    # It reports its use to its makers unless told otherwise.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise UsageError(
            "the engine 'ray' needs Ray: pip install 'affiliation-resolver[ray]', or leave --engine out"
        ) from error
    return ray


def _connect(ray: Any, address: str | None) -> None:
    """Ray of its own here, or of a cluster; signals stay with who asked for them."""
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    options: dict[str, Any] = {}
    if address == "local":
        limit = memory_limit()
        options = {"num_cpus": n_workers(), "include_dashboard": False}
        options |= {} if limit is None else {"object_store_memory": limit // 4}
    elif address != "auto":
        _require_answer(address)
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UsageError(f"cannot use the Ray cluster {address!r}: {first_line(error)}") from error
    finally:
        if is_main and before is not None:
            signal.signal(signal.SIGTERM, before)


def _require_answer(address: str) -> None:
    """Refuse an address at which nobody is."""
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdigit():
        raise UsageError(
            "a Ray cluster is named by the address of its head, such as 10.0.0.1:6379, or by 'auto',"
            f" got {address!r}"
        )
    try:
        socket.create_connection((host, int(port)), _ANSWER).close()
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"no Ray cluster answers at {address} ({first_line(error)}); start its head with"
            f" `ray start --head --port {port}`, or name its address"
        ) from error
