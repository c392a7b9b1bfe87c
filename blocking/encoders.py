"""What an encoder is, and how one is found by its name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from blocking.errors import BlockingError
from blocking.pairs import Float32s
from blocking.settings import Progress

#: Encoders that need no model file; anything else is a local path or a hub id.
BUILT_IN = {"hashing": "character n-grams and words, hashed and weighted by the corpus; nothing to download"}


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


def load_encoder(
    name_or_path: str,
    *,
    truncate_dim: int | None = None,
    device: str = "auto",
    batch_size: int = 64,
    prompt: str | None = None,
) -> Encoder:
    """An encoder's name in, the encoder out.

    Args:
        name_or_path: a name of `BUILT_IN`, a local folder, or a hub id (`owner/model` or
            `owner/model@revision`).
        truncate_dim: leading dimensions to keep; rows are normalised again afterwards.
        device: "auto", "cpu" or "cuda".
        batch_size: texts in one forward pass.
        prompt: one of the model's prompt names, or a text to put before every string.

    Raises:
        BlockingError: no such name, folder or model; a model of the wrong kind; a setting it cannot follow.
    """
    if name_or_path == "hashing":
        from blocking.hashing import HashingEncoder

        if prompt is not None:
            raise BlockingError(f"the hashing encoder takes no prompt, got {prompt!r}")
        return HashingEncoder() if truncate_dim is None else HashingEncoder(dimensions=truncate_dim)

    from blocking.sentence import SentenceSettings, SentenceTransformerEncoder

    settings = SentenceSettings(truncate_dim, prompt, batch_size, device)
    return SentenceTransformerEncoder(name_or_path, settings)


def normalise_rows(vectors: npt.NDArray[np.floating]) -> Float32s:
    """Vectors in, shape (n, d); the same directions as float32 of length 1 out, rows of zeros unchanged."""
    rows = np.asarray(vectors, np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Float32s = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    return unit
