"""What a model folder or hub id is, read from its configuration before any weight is loaded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blocking.errors import BlockingError
from blocking.protocols import BUILT_IN


def split_revision(source: str) -> tuple[str, str | None]:
    """A local path or `id@revision` in; the path or id, and the revision if there is one, out."""
    if Path(source).expanduser().exists() or "@" not in source:
        return source, None
    name, _, revision = source.rpartition("@")
    return name, revision or None


def check_encoder_source(name: str, revision: str | None) -> None:
    """A local path or hub id in; nothing out.

    Raises:
        BlockingError: there is no such folder or model, it is a cross-encoder, or it needs code of its own.
    """
    configurations = _local(name) if _is_local(name) else _remote(name, revision)
    own = configurations.get("config_sentence_transformers.json", {})
    model = configurations.get("config.json", {})
    architectures = model.get("architectures") or []
    is_classifier = any(str(name).endswith("ForSequenceClassification") for name in architectures)
    if own.get("model_type") == "CrossEncoder" or is_classifier:
        raise BlockingError(f"{name} is a cross-encoder (it rates pairs); blocking needs an encoder of texts")
    if "auto_map" in model and not _is_native(str(model.get("model_type"))):
        raise BlockingError(
            f"{name} needs code of its own (model type {model.get('model_type')!r} with auto_map), which is"
            " never run; convert it to a model type of transformers first"
        )


def not_found(name: str, why: str) -> BlockingError:
    """A name and what is wrong with it in; the error that also names the built-in encoders out."""
    return BlockingError(f"no encoder {name!r}: {why}; built-in encoders: {', '.join(BUILT_IN)}")


def _is_local(name: str) -> bool:
    """Whether the name is a path: one that exists, or one that a hub id cannot look like."""
    is_pathlike = name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name
    return is_pathlike or Path(name).expanduser().exists()


def _local(name: str) -> dict[str, Mapping[str, Any]]:
    folder = Path(name).expanduser()
    if not folder.exists():
        raise not_found(name, "there is no such folder")
    if not folder.is_dir():
        raise not_found(name, "it is a file, and a model is a folder")
    found: dict[str, Mapping[str, Any]] = {}
    for file in ("config_sentence_transformers.json", "config.json"):
        # Older models of Sentence Transformers keep the transformer in a folder of its own.
        paths = [path for path in (folder / file, folder / "0_Transformer" / file) if path.is_file()]
        if paths:
            found[file] = _parse(paths[0])
    if not found and not (folder / "modules.json").is_file():
        raise not_found(name, "the folder holds neither config.json nor modules.json")
    return found


def _remote(name: str, revision: str | None) -> dict[str, Mapping[str, Any]]:
    """The configuration files of a hub model; `HF_HUB_OFFLINE` keeps this to what was fetched before."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    # Sentence Transformers looks for a name without an owner under its own.
    repository = name if "/" in name else f"sentence-transformers/{name}"
    found: dict[str, Mapping[str, Any]] = {}
    is_unreached = False
    for file in ("config.json", "config_sentence_transformers.json"):
        try:
            path = hf_hub_download(repository, file, revision=revision, local_files_only=is_unreached)
            found[file] = _parse(Path(path))
        except LocalEntryNotFoundError:
            # A hub that did not answer once is not waited for again.
            is_unreached = True
        except EntryNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise not_found(name, f"no such folder, nor such a model on the hub ({_line(error)})") from error
    if is_unreached and not found:
        raise not_found(name, "no such folder, and the hub could not be reached")
    return found


def _parse(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise BlockingError(f"{path} is no valid JSON: {_line(error)}") from error
    if not isinstance(content, dict):
        raise BlockingError(f"{path} must hold a JSON object, got {type(content).__name__}")
    return content


def _is_native(model_type: str) -> bool:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    return model_type in CONFIG_MAPPING_NAMES


def _line(error: Exception) -> str:
    """The first line of an error's message: hub errors run over several."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
