"""Large arrays: in memory while they are small, else in a file that the system maps into memory."""

from __future__ import annotations

import logging
import math
import os
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from blocking.engine import current, slices
from blocking.memory import at_once
from blocking.pairs import Float32s
from blocking.protocols import Encoder
from blocking.settings import Progress

log = logging.getLogger(__name__)

#: Bytes above which an array is mapped: then the system can put them aside where memory runs short.
MAPPED_BYTES = 1 << 28
#: Values of a long column that are worked on at a time.
AT_ONCE = 1 << 20
#: Texts encoded at a time, and the bytes that each takes: some 300 n-grams of 8 bytes, three times over while
#: they are sorted and counted, and the vector.
TEXTS_AT_ONCE, _BYTES_A_TEXT = 1 << 15, 9_000


def encoded(encoder: Encoder, texts: Sequence[str], on_progress: Progress | None = None) -> Float32s:
    """Texts in, the encoder's vectors of them out, shape (n, dimensions)."""
    parts = slices(len(texts), at_once(TEXTS_AT_ONCE, _BYTES_A_TEXT))
    vectors = empty_table(len(texts), encoder.dimensions)
    found = current().map(
        *(_encode, encoder, parts, lambda part: texts[part]),
        on_gpu=getattr(encoder, "uses_gpu", False),
        on_progress=on_progress,
    )
    for part, own in zip(parts, found, strict=True):
        vectors[part] = own
    return vectors


def _encode(encoder: Encoder, texts: Sequence[str], on_progress: Progress | None) -> Float32s:
    return encoder.encode(texts, on_progress=on_progress)


def empty_table(n_rows: int, dimensions: int) -> Float32s:
    """A table to be filled, float32, as `empty_array` makes it."""
    return empty_array((n_rows, dimensions), np.float32)


def empty_column(n: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """A column to be filled, as `empty_array` makes it."""
    return empty_array((n,), dtype)


def filled(n: int, dtype: npt.DTypeLike, values: Callable[[slice], npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """A column of `empty_column`, filled with what `values` gives for some of its places at a time."""
    column = empty_column(n, dtype)
    for start in range(0, n, AT_ONCE):
        part = slice(start, min(start + AT_ONCE, n))
        column[part] = values(part)
    return column


def taken(column: npt.NDArray[Any], rows: npt.NDArray[Any], part: slice) -> npt.NDArray[Any]:
    """The values of a column at some of many rows: what `filled` asks for, once it has the first two."""
    found: npt.NDArray[Any] = column[rows[part]]
    return found


def kept(column: npt.NDArray[Any], is_kept: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    """The values of a column for which a mask holds, as `empty_column` holds them."""
    if len(column) <= AT_ONCE:
        return column[is_kept]
    found, done = empty_column(int(np.count_nonzero(is_kept)), column.dtype), 0
    for start in range(0, len(column), AT_ONCE):
        own = column[start : start + AT_ONCE][is_kept[start : start + AT_ONCE]]
        found[done : done + len(own)] = own
        done += len(own)
    return found


def empty_array(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """An array to be filled; a large one in a file without a name, which goes with it.

    Where the temporary folder has no room for it, it is held in memory: a mapped file that outgrows its disk
    would end the process.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size > at_once(MAPPED_BYTES, 1) and hasattr(os, "posix_fallocate"):
        with tempfile.TemporaryFile(prefix="affil-arrays-") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, size)
            except OSError as error:
                log.info("an array is held in memory, not in %s: %s", tempfile.gettempdir(), error)
            else:
                return np.memmap(file, dtype, "r+", shape=shape)
    return np.empty(shape, dtype)
