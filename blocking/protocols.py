"""What an encoder is; any object that fits will do, no base class needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from blocking.pairs import Float32s
from blocking.settings import Progress

#: Encoders that need no model file; anything else is a local path or a hub id.
BUILT_IN = {"hashing": "character n-grams and words, hashed and weighted by the corpus; nothing to download"}

#: The name by which an encoder is left to be chosen: here, where no model is known, one that needs none.
AUTO = "auto"


class Encoder(Protocol):
    """Texts in, one vector each out.

    `encode` gives float32, shape (n, dimensions), rows of length 1; a text with nothing to encode gives a
    row of zeros. A text's vector does not depend on the texts beside it.
    """

    @property
    def name(self) -> str:
        """Names the encoder in reports."""

    @property
    def dimensions(self) -> int:
        """Length of each vector."""

    def encode(self, texts: Sequence[str], *, on_progress: Progress | None = None) -> Float32s:
        """Texts in, float32 vectors of shape (n, dimensions) out."""


@runtime_checkable
class CorpusEncoder(Protocol):
    """An encoder that learns weights from the corpus before it encodes."""

    @property
    def is_fitted(self) -> bool:
        """Whether weights were learned or loaded."""

    def fit(self, texts: Sequence[str]) -> None:
        """Texts in; the encoder's weights are learned from them, whatever their order."""


def normalise_rows(vectors: npt.NDArray[np.floating]) -> Float32s:
    """Vectors in, shape (n, d); the same directions as float32 of length 1 out, rows of zeros unchanged."""
    rows = np.asarray(vectors, np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Float32s = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    return unit
