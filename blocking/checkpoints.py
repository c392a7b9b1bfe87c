"""What a model folder or hub id is, read from its configuration before any weight is fetched or loaded."""

from __future__ import annotations

from pathlib import Path

from blocking.conversion import native_folder
from blocking.errors import BlockingError, ModelNotFoundError
from blocking.hub import fetch, read_configurations
from blocking.protocols import BUILT_IN


def encoder_folder(name: str, revision: str | None) -> Path:
    """A local path or hub id in; the folder of an encoder that native classes load out.

    Raises:
        BlockingError: there is no such folder or model, it is a cross-encoder, or it cannot be converted.
    """
    try:
        configurations = read_configurations(name, revision)
        model = configurations.get("config.json", {})
        own = configurations.get("config_sentence_transformers.json", {})
        is_classifier = any(
            str(a).endswith("ForSequenceClassification") for a in model.get("architectures") or []
        )
        if own.get("model_type") == "CrossEncoder" or is_classifier:
            raise BlockingError(
                f"{name} is a cross-encoder (it rates pairs); blocking needs an encoder of texts"
            )
        folder = fetch(name, revision)
    except ModelNotFoundError as error:
        raise not_found(name, str(error)) from error
    return native_folder(folder)


def not_found(name: str, why: str) -> BlockingError:
    """A name and what is wrong with it in; the error that also names the built-in encoders out."""
    return BlockingError(f"no encoder {name!r}: {why}; built-in encoders: {', '.join(BUILT_IN)}")
