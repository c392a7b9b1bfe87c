"""How much of what belongs together an encoder brings near: the look that training takes at the tune fold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blocking import Encoder
from blocking.encoders import CorpusEncoder

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]
#: Queries compared with all texts at once.
_CHUNK = 512


@dataclass(frozen=True)
class Lookout:
    """Texts with labels, among others that make them hard to find.

    Attributes:
        texts: distinct texts; those with a label come first.
        label: int64, the label of each of the first texts.
        n_neighbours: how far down the list a text may be found.
    """

    texts: list[str]
    label: Int64s
    n_neighbours: int = 30

    @classmethod
    def of(
        cls, texts: Sequence[str], labels: Sequence[str], others: Sequence[str] = (), n_neighbours: int = 30
    ) -> Lookout:
        """Labelled texts and others to a lookout; a text that occurs twice counts once."""
        label_of: dict[str, str] = {}
        for text, label in zip(texts, labels, strict=True):
            label_of.setdefault(text, label)
        number = {label: n for n, label in enumerate(sorted(set(label_of.values())))}
        own = sorted(label_of)
        rest = sorted(set(others) - label_of.keys())
        return cls([*own, *rest], np.array([number[label_of[t]] for t in own], np.int64), n_neighbours)

    @property
    def has_fellows(self) -> bool:
        """Whether any two labelled texts share a label."""
        return bool(np.bincount(self.label).max(initial=0) > 1)

    def recall(self, encoder: Encoder) -> float:
        """Mean share of a labelled text's fellows that are among its nearest neighbours; 1 for no pair."""
        shares = self.shares(encoder)
        shares = shares[~np.isnan(shares)]
        return float(shares.mean()) if len(shares) else 1.0

    def shares(self, encoder: Encoder) -> Float64s:
        """The share for each labelled text, NaN for one without fellows."""
        if isinstance(encoder, CorpusEncoder) and not encoder.is_fitted:
            encoder.fit(self.texts)
        vectors = encoder.encode(self.texts)
        n = len(self.label)
        shares = np.full(n, np.nan)
        wanted = min(self.n_neighbours, len(self.texts) - 1)
        if not wanted:
            return shares
        for start in range(0, n, _CHUNK):
            rows = np.arange(start, min(start + _CHUNK, n))
            cosine = vectors[rows] @ vectors.T
            cosine[np.arange(len(rows)), rows] = -np.inf
            nearest = np.argpartition(-cosine, wanted - 1, axis=1)[:, :wanted]
            for row, found in zip(rows, nearest, strict=True):
                n_fellows = int((self.label == self.label[row]).sum()) - 1
                if n_fellows:
                    hits = int((self.label[found[found < n]] == self.label[row]).sum())
                    # A text with more fellows than places can find as many as there are places.
                    shares[row] = hits / min(n_fellows, wanted)
        return shares
