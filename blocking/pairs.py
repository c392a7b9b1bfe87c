"""Candidate pairs: which items are worth comparing, and why."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blocking.errors import BlockingError

#: Pairs that are looked at at a time.
_CHUNK = 1 << 20
Int64s = npt.NDArray[np.int64]
Float32s = npt.NDArray[np.float32]

#: Rules that propose pairs; a pair's `rule` is a bit set of `1 << index` of the rules that proposed it.
RULES = (
    "neighbours",
    "same_form",
    "organization_neighbours",
    "acronym_place",
    "shared_key",
    "between_groups",
    "known_name",
)


@dataclass(frozen=True)
class CandidatePairs:
    """Pairs of item numbers with `left < right`, each pair once, ordered by (left, right).

    Attributes:
        left: int64, shape (n,).
        right: int64, shape (n,).
        similarity: float32 cosine in [-1, 1], shape (n,).
        rule: uint8 bit set over `RULES`, shape (n,).
    """

    left: Int64s
    right: Int64s
    similarity: Float32s
    rule: npt.NDArray[np.uint8]

    def __post_init__(self) -> None:
        lengths = {len(self.left), len(self.right), len(self.similarity), len(self.rule)}
        if len(lengths) != 1:
            raise BlockingError(f"candidate pairs need columns of one length, got {sorted(lengths)}")
        if not len(self.left):
            return
        if not np.all(self.left < self.right):
            raise BlockingError("candidate pairs need left < right")
        if self.left[0] < 0:
            raise BlockingError("candidate pairs need item numbers of 0 or more")
        if not are_ordered(self.left, self.right):
            raise BlockingError("candidate pairs need each pair once, ordered by (left, right)")
        if max(self.similarity.max(), -self.similarity.min()) > 1.0001:
            raise BlockingError("similarity must lie in [-1, 1]")

    def __len__(self) -> int:
        return len(self.left)

    def has(self, keys: Int64s, n_items: int) -> npt.NDArray[np.bool_]:
        """Which of some pairs are among these; they come as `left * n_items + right`, ascending."""
        at = places_among(keys, self.left, self.right, n_items)
        found = np.zeros(len(keys), bool)
        within = np.flatnonzero(at < len(self))
        at = at[within]
        found[within] = self.left[at] * n_items + self.right[at] == keys[within]
        return found

    @classmethod
    def empty(cls) -> CandidatePairs:
        """No pairs at all."""
        none = np.empty(0, np.int64)
        return cls(none, none, np.empty(0, np.float32), np.empty(0, np.uint8))


def places_among(keys: Int64s, left: Int64s, right: Int64s, n_items: int) -> Int64s:
    """Where ascending keys, `left * n_items + right`, go among ordered pairs; which are many."""
    places = np.full(len(keys), len(left), np.int64)
    done = 0
    for start in range(0, len(left), _CHUNK):
        part = slice(start, start + _CHUNK)
        own = left[part] * n_items + right[part]
        end = int(np.searchsorted(keys, own[-1], "right"))
        places[done:end] = start + np.searchsorted(own, keys[done:end])
        done = end
    return places


def are_ordered(left: Int64s, right: Int64s) -> bool:
    """Whether pairs are ordered by (left, right), each once."""

    def is_ordered(start: int) -> bool:
        part = slice(start, start + _CHUNK + 1)
        step = np.diff(left[part])
        return bool(np.all((step > 0) | ((step == 0) & (np.diff(right[part]) > 0))))

    return all(map(is_ordered, range(0, len(left), _CHUNK)))
