"""Weights in PyTorch's pickle format to safetensors; nothing but tensors is ever unpickled."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from blocking.conversion.plan import WEIGHTS, copy_rest
from blocking.errors import BlockingError

_FILE = "pytorch_model.bin"


def bin_files(folder: Path) -> list[Path]:
    """A model folder in; its pickled weights out, in one piece or in shards, none where there are none."""
    index = folder / f"{_FILE}.index.json"
    if index.is_file():
        try:
            names = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
        except (ValueError, LookupError, AttributeError, TypeError) as error:
            raise BlockingError(f"{index} does not say which file holds which tensor") from error
        return [folder / name for name in sorted(names)]
    return [path for path in (folder / _FILE,) if path.is_file()]


def write_safetensors(source: Path, target: Path) -> None:
    """A folder with pickled weights and an empty one in; the second one filled, with safetensors.

    Raises:
        BlockingError: a file holds more than tensors, or is no such file at all.
    """
    from safetensors.torch import save_file

    tensors: dict[str, Any] = {}
    for path in bin_files(source):
        tensors |= _load(path)
    copy_rest(source, target)
    save_file({name: t.clone().contiguous() for name, t in tensors.items()}, target / WEIGHTS)


def _load(path: Path) -> dict[str, Any]:
    from pickle import UnpicklingError

    import torch

    flaws = (
        UnpicklingError,
        RuntimeError,
        OSError,
        EOFError,
        LookupError,
        ValueError,
        TypeError,
        AttributeError,
    )
    try:
        # Files of before PyTorch 1.6 are no archives and cannot be mapped.
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except flaws as error:
        raise BlockingError(
            f"{path} is refused: as a pickle it may run code, and it holds more than tensors, or is broken;"
            " ask for model.safetensors"
        ) from error
    if not isinstance(found, dict) or not all(isinstance(t, torch.Tensor) for t in found.values()):
        raise BlockingError(f"{path} is refused: it is no plain table of tensors; ask for model.safetensors")
    return found
