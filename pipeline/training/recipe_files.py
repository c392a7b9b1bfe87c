"""Recipes: TOML files that say how a model is trained; those of the shipped models are in the package."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError
from pipeline.settings import read_values


def read_recipe(kind: type[Any], name: str, path: Path | None = None) -> Any:
    """A TOML file to a recipe of `kind`, a dataclass; without a path the package's own of that name.

    Raises:
        UsageError: no such file, no TOML, or a value that the recipe does not know or take.
    """
    title = str(path) if path else f"recipes/{name}.toml"
    source = path or files("pipeline") / "training" / "recipes" / f"{name}.toml"
    if not source.is_file():
        raise UsageError(f"no such recipe: {title}")
    try:
        values = tomllib.loads(source.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{title} is not valid TOML: {error}") from error
    return kind(**read_values(kind, values, title))
