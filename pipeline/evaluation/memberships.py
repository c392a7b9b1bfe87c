"""The noun of evaluation: which strings belong to which entities, as two columns of numbers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.errors import AffilError
from pipeline.records import Int64s


@dataclass(frozen=True)
class Memberships:
    """Rows (string, entity), each once, sorted by string and then entity; every string has at least one.

    `string` and `entity` have shape (m,) and hold numbers in 0..n_strings-1 and 0..n_entities-1. A partition
    is the case of exactly one entity a string.
    """

    n_strings: int
    n_entities: int
    string: Int64s
    entity: Int64s

    def __post_init__(self) -> None:
        if len(self.string) != len(self.entity):
            raise AffilError("memberships need two columns of one length")
        step, wider = np.diff(self.string), np.diff(self.entity)
        if not bool(np.all((step > 0) | ((step == 0) & (wider > 0)))):
            raise AffilError("memberships must be sorted, each once: build them with Memberships.of")
        if not np.array_equal(np.unique(self.string), np.arange(self.n_strings)):
            raise AffilError("every string needs at least one entity")

    @classmethod
    def of(cls, string: Int64s, entity: Int64s, n_strings: int) -> Memberships:
        """Rows in any order and with repeats, entities numbered in any way, come out as memberships."""
        known, code = np.unique(entity, return_inverse=True)
        width = max(len(known), 1)
        row = np.unique(np.asarray(string, np.int64) * width + code)
        return cls(n_strings, len(known), row // width, row % width)

    @classmethod
    def of_sets(cls, sets: Sequence[Collection[str]]) -> Memberships:
        """One set of names for each string comes out as memberships, entities in the order of their names."""
        number = {name: i for i, name in enumerate(sorted({name for names in sets for name in names}))}
        entity = np.fromiter((number[name] for names in sets for name in names), np.int64)
        string = np.repeat(np.arange(len(sets)), np.fromiter(map(len, sets), np.int64, len(sets)))
        return cls.of(string, entity, len(sets))

    @property
    def is_partition(self) -> bool:
        """Whether each string belongs to exactly one entity."""
        return len(self.string) == self.n_strings

    def entities_per_string(self) -> Int64s:
        """Number of entities of each string, shape (n_strings,)."""
        return np.bincount(self.string, minlength=self.n_strings)

    def strings_per_entity(self) -> Int64s:
        """Number of strings of each entity, shape (n_entities,)."""
        return np.bincount(self.entity, minlength=self.n_entities)

    def contains(self, string: Int64s, entity: Int64s) -> Int64s:
        """Number of the membership row for each (string, entity) asked for, -1 where there is none."""
        key = self.string * self.n_entities + self.entity
        wanted = string * self.n_entities + entity
        at = np.minimum(np.searchsorted(key, wanted), max(len(key) - 1, 0))
        found: Int64s = np.where(key[at] == wanted, at, -1) if len(key) else np.full(len(wanted), -1)
        return found

    def matrix(self) -> Any:
        """Sparse 0/1 matrix of strings by entities (scipy CSR, int64)."""
        from scipy.sparse import csr_array

        start = np.concatenate([[0], np.cumsum(self.entities_per_string())])
        ones = np.ones(len(self.string), np.int64)
        return csr_array((ones, self.entity, start), shape=(self.n_strings, self.n_entities))

    def profiles(self) -> Int64s:
        """A number for each string, equal where two strings belong to the same set of entities.

        Exact, without hashing: the sets are told apart one position at a time.
        """
        profile = np.zeros(self.n_strings, np.int64)
        n_each = self.entities_per_string()
        start = np.cumsum(n_each) - n_each
        n_profiles = 1
        for position in range(int(n_each.max(initial=0))):
            here = np.flatnonzero(n_each > position)
            key = profile[here] * self.n_entities + self.entity[start[here] + position]
            known, code = np.unique(key, return_inverse=True)
            profile[here] = n_profiles + code
            n_profiles += len(known)
        return profile
