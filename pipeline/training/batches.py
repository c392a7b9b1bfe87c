"""Batches of pairs: each organisation at most once, some from one country, some that look alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from blocking.pairs import Float32s, Int64s
from pipeline.training.renderings import Renderings

#: Look-alikes of one organisation in a batch.
_N_ALIKE = 6


@dataclass(frozen=True)
class Shares:
    """What a batch is made of; the rest is drawn from all organisations.

    Attributes:
        labelled: share whose organisations have labelled strings, if there are as many.
        one_country: share that is of one country.
        alike: share that looks like others of the batch, once `Batches.see` has been told what looks alike.
    """

    labelled: float = 0.4
    one_country: float = 0.33
    alike: float = 0.2


class Batches:
    """Draws batches of two renderings each of distinct organisations."""

    def __init__(self, renderings: Renderings, size: int, shares: Shares) -> None:
        """Renderings, at least two an organisation; organisations of a batch, fewer if there are fewer."""
        self._starts, self._sizes = renderings.starts[:-1], np.diff(renderings.starts)
        # Equal texts have one number, whichever organisation they belong to.
        numbers: dict[str, int] = {}
        self._first = np.array([numbers.setdefault(t, n) for n, t in enumerate(renderings.text)], np.int64)
        self._size = min(size, len(self._sizes))
        self._n_labelled = round(self._size * shares.labelled)
        self._n_of_country = round(self._size * shares.one_country)
        self._n_alike = round(self._size * shares.alike)
        self._vectors: Float32s | None = None
        self._labelled = np.flatnonzero(renderings.is_labelled)
        self._all = np.arange(len(self._sizes))
        self._country = renderings.country
        counts = np.bincount(self._country[self._country >= 0])
        # Drawn by the square root of their size: else a third of the batches would be of one country.
        self._country_weight = np.sqrt(counts) / np.sqrt(counts).sum() if counts.any() else None

    @property
    def first_texts(self) -> Int64s:
        """The number of one rendering of each organisation, int64, shape (n_organizations,)."""
        return self._starts

    def see(self, vectors: Float32s) -> None:
        """A vector of length 1 for each organisation in: from now on these tell which look alike."""
        self._vectors = vectors

    def draw(self, random: np.random.Generator) -> tuple[Int64s, Int64s]:
        """A generator in; the numbers of left and right renderings out, row by row of one organisation."""
        chosen = self._organizations(random)
        starts, sizes = self._starts[chosen], self._sizes[chosen]
        left = random.integers(sizes)
        right = (left + 1 + random.integers(sizes - 1)) % sizes
        return self._first[starts + left], self._first[starts + right]

    def _organizations(self, random: np.random.Generator) -> Int64s:
        parts = []
        if self._country_weight is not None and self._n_of_country:
            country = random.choice(len(self._country_weight), p=self._country_weight)
            own = np.flatnonzero(self._country == country)
            parts.append(random.permutation(own)[: self._n_of_country])
        labelled = random.permutation(self._labelled)[: self._n_labelled]
        parts.append(labelled)
        if self._vectors is not None and self._n_alike:
            seeds = labelled if len(labelled) else random.permutation(self._all)
            parts.append(self._alike(seeds[: max(1, self._n_alike // _N_ALIKE)])[: self._n_alike])
        parts.append(random.permutation(self._all)[: self._size])
        joined = np.concatenate(parts)
        _, first = np.unique(joined, return_index=True)
        return np.asarray(joined[np.sort(first)][: self._size], np.int64)

    def _alike(self, seeds: Int64s) -> Int64s:
        """The nearest organisations of each seed."""
        assert self._vectors is not None
        cosine = self._vectors[seeds] @ self._vectors.T
        n = min(_N_ALIKE + 1, len(self._vectors))
        return np.asarray(np.argpartition(-cosine, n - 1, axis=1)[:, :n].ravel(), np.int64)
