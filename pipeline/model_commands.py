"""The commands `affil models …`."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from pipeline.errors import AffilError

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(invoke_without_command=True)
@_JSON
@click.pass_context
def models(context: click.Context, as_json: bool) -> None:
    """The models that can be named: what they are, and whether they do what their cards say."""
    if context.invoked_subcommand is None:
        _list(as_json)


@models.command("list")
@_JSON
def list_them(as_json: bool) -> None:
    """List the models that are built in, the published ones, and the kinds that can be named."""
    _list(as_json)


def _list(as_json: bool) -> None:
    from pipeline.console import print_models
    from pipeline.model_list import list_models

    found = list_models()
    if as_json:
        click.echo(json.dumps(found))
    else:
        print_models(found)


@models.command()
@click.argument("name")
@_JSON
def show(name: str, as_json: bool) -> None:
    """Tell what a model is, without fetching or loading it."""
    from pipeline.console import print_check
    from pipeline.model_check import show as find

    found = find(name)
    if as_json:
        click.echo(json.dumps(found.to_dict()))
    else:
        print_check(found)


@models.command()
@click.argument("name")
@click.option("--device", type=click.Choice(("auto", "cpu", "cuda")), default="auto", show_default=True)
@_JSON
def check(name: str, device: str, as_json: bool) -> None:
    """Load a model and hold it against what its card says; exit 1 where they differ.

    NAME is a published model's name, NAME=FOLDER for a copy of it, a folder or a hub id.
    """
    from pipeline.console import print_check
    from pipeline.model_check import TOLERANCE
    from pipeline.model_check import check as find

    with _unsaid_elsewhere():
        found = find(name, device)
    if as_json:
        click.echo(json.dumps(found.to_dict()))
    else:
        print_check(found)
    if not found.is_right:
        worst = max(abs(s.stated - s.found) for s in found.similarities)
        raise AffilError(
            f"{name}: similarities differ from its card's by up to {worst:.4f} (at most {TOLERANCE});"
            " this is not the published model, or it was not read as it should be"
        )


@contextmanager
def _unsaid_elsewhere() -> Iterator[None]:
    """The licence's warning stands in the table; loading need not log it too."""
    logger = logging.getLogger("pipeline.presets")
    logger.addFilter(_nothing)
    try:
        yield
    finally:
        logger.removeFilter(_nothing)


def _nothing(_: logging.LogRecord) -> bool:
    return False


@models.command()
@click.argument("name")
@click.option("--output", type=click.Path(path_type=Path), help="Folder to write, instead of the cache.")
def convert(name: str, output: Path | None) -> None:
    """Convert a published model to classes that need no code of its own; print its folder."""
    from pipeline.model_check import convert_named

    click.echo(str(convert_named(name, output)))
