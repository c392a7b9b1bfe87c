"""An encoder that remembers: an addition asks for the vectors of its new texts three times."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from blocking import Encoder
from blocking.pairs import Float32s
from pipeline.records import Progress


class Remembered:
    """An encoder as it is, but for texts that it was asked for before: of these it keeps the vectors."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.uses_gpu = getattr(encoder, "uses_gpu", False)
        self._vector: dict[str, Float32s] = {}

    @property
    def name(self) -> str:
        """That of the encoder."""
        return self.encoder.name

    @property
    def dimensions(self) -> int:
        """Those of the encoder."""
        return self.encoder.dimensions

    def encode(self, texts: Sequence[str], *, on_progress: Progress | None = None) -> Float32s:
        """Texts in, their vectors out, float32, shape (n, dimensions)."""
        fresh = [text for text in dict.fromkeys(texts) if text not in self._vector]
        if fresh:
            vectors = self.encoder.encode(fresh, on_progress=on_progress)
            self._vector.update(zip(fresh, vectors, strict=True))
        found = np.empty((len(texts), self.dimensions), np.float32)
        for row, text in enumerate(texts):
            found[row] = self._vector[text]
        return found
