"""Published checkpoints that need code of their own, or are pickles, to folders that native classes load.

A conversion happens once, into a cache folder; the code that a folder ships is never run.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from blocking.conversion import flash_xlm_roberta, gte, mask_projector
from blocking.conversion.cache import cache_folder, cached, write_whole
from blocking.conversion.pickled import bin_files, write_safetensors
from blocking.conversion.plan import Checkpoint, Plan
from blocking.conversion.spans import read_spans, weight_files
from blocking.errors import BlockingError

__all__ = ["cache_folder", "convert", "native_folder", "read_json"]

log = logging.getLogger(__name__)
_FORMATS: tuple[tuple[Callable[[Checkpoint], bool], Callable[[Checkpoint], Plan]], ...] = (
    (gte.matches, gte.plan),
    (flash_xlm_roberta.matches, flash_xlm_roberta.plan),
    (mask_projector.matches, mask_projector.plan),
)


def native_folder(folder: Path) -> Path:
    """A model folder in; the folder to load out: itself where native classes read it, else its conversion.

    Raises:
        BlockingError: it needs code of its own and is of no format that can be converted, or a part of its
            configuration or weights is unknown, missing or broken.
    """
    if not (folder / "config.json").is_file() and (folder / "modules.json").is_file():
        return folder
    folder = _without_pickles(folder)
    found = _plan(folder)
    if found is None:
        return folder
    target = cached(folder, found.kind, partial(found.write, folder))
    log.info("%s was converted for native classes: %s", folder, target)
    return target


def convert(folder: Path, target: Path) -> Path:
    """A model folder and a folder to come in; the conversion is written there whole, or not at all.

    Raises:
        BlockingError: as in `native_folder`; there is nothing to convert, or something lies at `target`.
    """
    if target.exists():
        raise BlockingError(f"{target} is there already; name a folder that is not")
    safe = _without_pickles(folder)
    found = _plan(safe)
    if found is None and safe == folder:
        raise BlockingError(f"{folder} is read by native classes as it is; there is nothing to convert")
    write = partial(found.write, safe) if found else partial(write_safetensors, folder)
    try:
        write_whole(target, write)
    except OSError as error:
        raise BlockingError(f"cannot write {target}: {error.strerror or error}") from error
    return target


def read_json(path: Path) -> Mapping[str, Any]:
    """A JSON file in; its object out, an empty one where there is no such file."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise BlockingError(f"{path} is no valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise BlockingError(f"{path} must hold a JSON object, got {type(content).__name__}")
    return content


def _without_pickles(folder: Path) -> Path:
    """The folder itself, or its copy in the cache where its weights are pickles only."""
    if weight_files(folder) or not bin_files(folder):
        return folder
    return cached(folder, "safetensors", partial(write_safetensors, folder))


def _plan(folder: Path) -> Plan | None:
    """How a folder is converted, None where native classes read it as it is."""
    checkpoint = Checkpoint(folder, read_json(folder / "config.json"), read_spans(folder))
    for matches, plan in _FORMATS:
        if matches(checkpoint):
            return plan(checkpoint)
    model_type = checkpoint.config.get("model_type")
    if "auto_map" in checkpoint.config and not _is_native(str(model_type)):
        raise BlockingError(
            f"{folder} needs code of its own (model type {model_type!r} with auto_map), which is never run,"
            " and it is of no format that can be converted"
        )
    return None


def _is_native(model_type: str) -> bool:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    return model_type in CONFIG_MAPPING_NAMES
