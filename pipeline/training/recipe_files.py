"""Recipes: TOML files that say how a model is trained; those of the shipped models are in the package."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError
from pipeline.settings import read_values


def read_recipe(
    kind: type[Any], name: str, path: Path | None = None, start: Mapping[str, Any] | None = None
) -> Any:
    """A TOML file to a recipe of `kind`, a dataclass; without a path the package's own of that name.

    `start` has what a model to start from settles: the file need not say it.

    Raises:
        UsageError: no such file, no TOML, a value that the recipe does not know or take, or one that the
            model to start from has otherwise.
    """
    title = str(path) if path else f"recipes/{name}.toml"
    source = path or files("pipeline") / "training" / "recipes" / f"{name}.toml"
    if not source.is_file():
        raise UsageError(f"no such recipe: {title}")
    try:
        values = tomllib.loads(source.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{title} is not valid TOML: {error}") from error
    found, held = read_values(kind, values, title), dict(start or {})
    refuse_other_shape(found, held, title)
    return kind(**held | found)


def refuse_other_shape(stated: Mapping[str, Any], start: Mapping[str, Any], title: str) -> None:
    """UsageError where a recipe states otherwise what a model to start from settles."""
    for name, value in start.items():
        if stated.get(name, value) != value:
            raise UsageError(
                f"{title}: {name} is {stated[name]}, but the model to start from has {value}; leave it out"
            )
