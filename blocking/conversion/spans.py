"""Safetensors files as byte ranges: tensors are renamed, split and copied without being read into memory."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import BinaryIO

from blocking.errors import BlockingError

_COPIED_AT_ONCE = 1 << 24
_INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class Span:
    """A tensor's bytes in a file: row-major, from `start` up to `end`."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    def split(self, n_parts: int) -> list[Span]:
        """The number of equal parts in; the tensor's parts along its first axis out."""
        if not self.shape or self.shape[0] % n_parts:
            raise BlockingError(f"{self.file}: a tensor of shape {self.shape} is not {n_parts} equal parts")
        length = (self.end - self.start) // n_parts
        shape = (self.shape[0] // n_parts, *self.shape[1:])
        starts = (self.start + number * length for number in range(n_parts))
        return [replace(self, shape=shape, start=start, end=start + length) for start in starts]

    @property
    def item_size(self) -> int:
        """Bytes of one number."""
        return (self.end - self.start) // max(1, prod(self.shape))


def weight_files(folder: Path) -> list[Path]:
    """A model folder in; its safetensors files out, in one piece or in shards, none where there are none."""
    index = folder / _INDEX
    if not index.is_file():
        return [path for path in (folder / "model.safetensors",) if path.is_file()]
    try:
        names = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        raise BlockingError(f"{index} does not say which file holds which tensor: fetch it again") from error
    absent = [name for name in names if not (folder / name).is_file()]
    if absent:
        raise BlockingError(f"{folder} lacks {', '.join(absent)}, which {_INDEX} names: fetch it again")
    return [folder / name for name in names]


def read_spans(folder: Path) -> dict[str, Span]:
    """A model folder in; where each tensor of its safetensors files lies out.

    Raises:
        BlockingError: a file is corrupt or cut off.
    """
    found: dict[str, Span] = {}
    for path in weight_files(folder):
        found |= _read_header(path)
    return found


def _read_header(path: Path) -> dict[str, Span]:
    from safetensors import SafetensorError, safe_open

    try:
        # The library holds header, offsets and file length against each other.
        with safe_open(path, framework="numpy"):
            pass
    except SafetensorError as error:
        raise BlockingError(
            f"{path} is corrupt or cut off ({str(error).splitlines()[0]}): fetch it again"
        ) from error
    with path.open("rb") as file:
        length = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    return {
        name: Span(
            path, entry["dtype"], tuple(entry["shape"]), *(8 + length + at for at in entry["data_offsets"])
        )
        for name, entry in header.items()
    }


def write_spans(spans: Mapping[str, Span], path: Path) -> None:
    """Tensors by their new names in; one safetensors file at `path` out."""
    # Wide numbers first, as the library orders them: every tensor stays aligned.
    order = sorted(spans, key=lambda name: (-spans[name].item_size, name))
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name in order:
        span = spans[name]
        size = span.end - span.start
        header[name] = {"dtype": span.dtype, "shape": span.shape, "data_offsets": (at, at + size)}
        at += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as target:
        target.write(struct.pack("<Q", len(text)) + text)
        for name in order:
            _copy(spans[name], target)


def _copy(span: Span, target: BinaryIO) -> None:
    with span.file.open("rb") as source:
        source.seek(span.start)
        left = span.end - span.start
        while left:
            part = source.read(min(left, _COPIED_AT_ONCE))
            if not part:
                raise BlockingError(f"{span.file} was cut off while it was read")
            target.write(part)
            left -= len(part)
