"""A reranker by its path or hub id to a folder that native classes load; what is no reranker is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blocking.assembly import check_transformer
from blocking.conversion import native_folder
from blocking.errors import BlockingError, ModelNotFoundError
from blocking.hub import fetch, read_configurations
from pipeline.errors import AffilError, UsageError


def reranker_folder(name: str, revision: str | None) -> Path:
    """A path or hub id in; the folder of a cross-encoder out, converted if it needs code of its own.

    Raises:
        AffilError: there is no such model, it is no reranker, or it cannot be converted.
    """
    if name.startswith((".", "/", "~")) and not Path(name).expanduser().is_dir():
        raise UsageError(f"no such reranker folder: {name}")
    try:
        _require_reranker(name, read_configurations(name, revision).get("config.json", {}))
        folder = native_folder(fetch(name, revision))
        check_transformer(folder, is_classifier=True)
    except ModelNotFoundError as error:
        kind = UsageError if Path(name).expanduser().exists() else AffilError
        raise kind(f"cannot load reranker {name!r}: {error}") from error
    except BlockingError as error:
        raise UsageError(str(error)) from error
    return folder


def _require_reranker(name: str, config: Mapping[str, Any]) -> None:
    """Refuse by the configuration, before weights are fetched or a heavy library is imported."""
    architectures = [str(a) for a in config.get("architectures") or []]
    if not any("SequenceClassification" in a for a in architectures):
        stated = (
            f"its architecture is {', '.join(architectures)}"
            if architectures
            else "it states no architecture"
        )
        raise UsageError(f"{name} is no reranker: {stated}")
