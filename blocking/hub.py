"""A model by its path or hub id to a folder on this machine; weights are fetched last."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blocking.conversion import read_json
from blocking.errors import BlockingError, ModelNotFoundError

_CONFIGURATIONS = ("config.json", "config_sentence_transformers.json")
_SMALL = ("*.json", "*.txt", "*.model", "README.md", "LICENSE*")
#: Further modules (`2_Dense`) that were saved before safetensors are read as tables of tensors only.
_WEIGHTS = ("*.safetensors", "[0-9]*_*/pytorch_model.bin")
#: Other runtimes' copies of the same weights.
_UNUSED = ("onnx/*", "openvino/*")


def split_revision(source: str) -> tuple[str, str | None]:
    """A local path or `id@revision` in; the path or id, and the revision if there is one, out."""
    if Path(source).expanduser().exists() or "@" not in source:
        return source, None
    name, _, revision = source.rpartition("@")
    return name, revision or None


def pinned(source: str, revision: str | None) -> str:
    """A folder or hub id and the revision that a setting asks for in; what to load, `id@revision`, out.

    Raises:
        BlockingError: a folder, which has no revisions; or another revision stands in the name.
    """
    if revision is None:
        return source
    name, own = split_revision(source)
    if _is_local(name):
        raise BlockingError(f"revision {revision!r}: {name} is a folder; only models of a hub have revisions")
    if own not in (None, revision):
        raise BlockingError(f"{source} and revision {revision!r} name two revisions; give one")
    return f"{name}@{revision}"


def read_configurations(name: str, revision: str | None) -> dict[str, Mapping[str, Any]]:
    """A path or hub id in; its configuration files by name out: enough to refuse a wrong model.

    Raises:
        ModelNotFoundError: there is no such folder or model, or it holds neither configuration nor weights.
    """
    if not _is_local(name):
        return _remote_configurations(name, revision)
    folder = _local_folder(name)
    # Older models of Sentence Transformers keep the transformer in a folder of its own.
    paths = {file: (folder / file, folder / "0_Transformer" / file) for file in _CONFIGURATIONS}
    found = {file: read_json(own if own.is_file() else older) for file, (own, older) in paths.items()}
    holds_model = any(found.values()) or (folder / "modules.json").is_file()
    if not holds_model and not (folder / "model.safetensors").is_file():
        raise ModelNotFoundError("the folder holds neither config.json nor modules.json")
    return found


def fetch(name: str, revision: str | None) -> Path:
    """A path or hub id in; the folder that holds the model out, fetched if it is not there yet.

    `HF_HUB_OFFLINE` keeps this to what was fetched before. Pickled weights are fetched only where there are
    no others.

    Raises:
        ModelNotFoundError: no such folder or model, or the hub cannot be reached and nothing is here.
    """
    if _is_local(name):
        return _local_folder(name)
    folder = _snapshot(name, revision, (*_SMALL, *_WEIGHTS))
    if not any(folder.rglob("*.safetensors")):
        folder = _snapshot(name, revision, (*_SMALL, "*pytorch_model*.bin"))
    if not any(folder.rglob("*.safetensors")) and not any(folder.rglob("*.bin")):
        raise _unreached(name)
    return folder


def _is_local(name: str) -> bool:
    """Whether the name is a path: one that exists, or one that a hub id cannot look like."""
    is_pathlike = name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name
    return is_pathlike or Path(name).expanduser().exists()


def _local_folder(name: str) -> Path:
    folder = Path(name).expanduser()
    if not folder.exists():
        raise ModelNotFoundError("there is no such folder")
    if not folder.is_dir():
        raise ModelNotFoundError("it is a file, and a model is a folder")
    return folder


def _repository(name: str) -> str:
    # Sentence Transformers looks for a name without an owner under its own.
    return name if "/" in name else f"sentence-transformers/{name}"


def _remote_configurations(name: str, revision: str | None) -> dict[str, Mapping[str, Any]]:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    found: dict[str, Mapping[str, Any]] = {}
    is_unreached = False
    for file in _CONFIGURATIONS:
        try:
            path = hf_hub_download(_repository(name), file, revision=revision, local_files_only=is_unreached)
            found[file] = read_json(Path(path))
        except LocalEntryNotFoundError:
            # A hub that did not answer once is not waited for again.
            is_unreached = True
        except EntryNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise _absent(error) from error
    if is_unreached and not found:
        # A model without these files may be cached; else this says what to do.
        _snapshot(name, revision, _SMALL)
    return found


def _snapshot(name: str, revision: str | None, patterns: tuple[str, ...]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                _repository(name),
                revision=revision,
                allow_patterns=list(patterns),
                ignore_patterns=list(_UNUSED),
            )
        )
    except LocalEntryNotFoundError as error:
        raise _unreached(name) from error
    except (OSError, ValueError) as error:
        raise _absent(error) from error


def _absent(error: Exception) -> ModelNotFoundError:
    # Hub errors run over several lines.
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return ModelNotFoundError(f"no such folder, nor such a model on the hub ({line})")


def _unreached(name: str) -> ModelNotFoundError:
    return ModelNotFoundError(
        "no such folder, the hub could not be reached, and nothing is cached; where there is a network, run"
        f" `hf download {_repository(name)} --local-dir FOLDER`, copy the folder here and name it instead"
    )
