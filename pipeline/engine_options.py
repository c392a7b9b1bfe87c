"""The options of commands whose work a cluster can do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

ENGINES = ("local", "ray")
_Command = TypeVar("_Command", bound=Callable[..., Any])


def engine_options(command: _Command) -> _Command:
    """A command in, the same with `--engine` and `--ray-address` out; `engine_named` takes what they say."""
    address = click.option(
        "--ray-address", metavar="HOST:PORT", help="Ray cluster to use, or auto.  [default: one here]"
    )
    engine = click.option(
        "--engine",
        type=click.Choice(ENGINES),
        default="local",
        show_default=True,
        help="What does the work.",
    )
    return engine(address(command))
