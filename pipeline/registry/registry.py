"""A registry in memory: records as columns, their names, and what stands for a record that is closed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import UsageError
from pipeline.records import Int64s
from pipeline.registry.relations import Edges, current_records
from pipeline.registry.schema import (
    CHILD,
    DISPLAY,
    FORMAT,
    FORMAT_KEY,
    KINDS,
    NAME_FORMS,
    PARENT,
    PREDECESSOR,
    SUCCESSOR,
    arrow_schema,
)

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa


_ROR_URL = re.compile(r"(https?://)?ror\.org/", re.IGNORECASE)


def registry_key(record_id: str) -> str:
    """An id of a registry as people write it to one form: ROR's without the address before it."""
    return _ROR_URL.sub("", record_id.strip()).casefold()


def short_id(record_id: str) -> str:
    """An id as people write it to its last part: `https://ror.org/000025p04` to `000025p04`."""
    return record_id.rstrip("/").rpartition("/")[2]


@dataclass(frozen=True)
class Names:
    """All names of all records, those of a record together.

    Attributes:
        record: number of the record, int64, shape (n names,), non-decreasing.
        value: the names.
        kind: bit set of `KINDS`, uint8, shape (n names,).
    """

    record: Int64s
    value: list[str]
    kind: npt.NDArray[np.uint8]

    def is_kind(self, kind: str) -> npt.NDArray[np.bool_]:
        """Which names are of a kind, shape (n names,)."""
        return (self.kind >> KINDS.index(kind) & 1).astype(bool)


@dataclass(frozen=True)
class Registry:
    """The records of a registry file, in its order; columns are made when they are first asked for."""

    table: pa.Table

    @classmethod
    def read(cls, path: str | Path) -> Registry:
        """A file that `affil registry import` wrote.

        Raises:
            UsageError: no such file, no registry file, or one of another version.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = Path(path)
        if not path.is_file():
            raise UsageError(f"no such registry: {path}; make one with `affil registry import`")
        try:
            table = pq.read_table(path)
        except (pa.ArrowException, OSError) as error:
            raise UsageError(
                f"{path} is no registry file; make one of it with `affil registry import`"
            ) from error
        version = (table.schema.metadata or {}).get(FORMAT_KEY)
        names = [name for name in table.schema.names if name != NAME_FORMS]
        if version != FORMAT or names != arrow_schema().names:
            raise UsageError(
                f"{path} is no registry file of this version ({FORMAT.decode()}); import the registry again"
            )
        return cls(table)

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def id(self) -> list[str]:
        """Ids as published."""
        return list(self.table["id"].to_pylist())

    @cached_property
    def number(self) -> dict[str, int]:
        """Number of each record by its short id."""
        return {short_id(record): i for i, record in enumerate(self.id)}

    @cached_property
    def number_of_key(self) -> dict[str, int]:
        """Number of each record by its id in the form of `registry_key`."""
        return {registry_key(record): i for i, record in enumerate(self.id)}

    @cached_property
    def status(self) -> list[str]:
        """`active`, `inactive` or `withdrawn`."""
        return list(self.table["status"].to_pylist())

    @cached_property
    def types(self) -> list[tuple[str, ...]]:
        """Such as `education`, `healthcare`; empty where the registry has none."""
        return [tuple(types or ()) for types in self.table["types"].to_pylist()]

    @cached_property
    def names(self) -> Names:
        """Every name of every record."""
        lists = self.table["names"].combine_chunks()
        record = np.repeat(np.arange(len(self)), np.diff(lists.offsets.to_numpy()))
        bit = {kind: 1 << i for i, kind in enumerate(KINDS)}
        kind = [sum(bit[k] for k in set(kinds or ())) for kinds in lists.values.field("kinds").to_pylist()]
        return Names(record, list(lists.values.field("value").to_pylist()), np.array(kind, np.uint8))

    @cached_property
    def name(self) -> list[str]:
        """The name that the registry displays."""
        is_display, found = self.names.is_kind(DISPLAY), [""] * len(self)
        for i in np.flatnonzero(is_display)[::-1].tolist():
            found[self.names.record[i]] = self.names.value[i]
        return found

    def place(self, part: str) -> list[Any]:
        """A part of the first place of every record (`city`, `country_code` …), None where unknown."""
        return [places[0][part] if places else None for places in self.table["places"].to_pylist()]

    @cached_property
    def edges(self) -> Edges:
        """The relations between records."""
        number = {record: i for i, record in enumerate(self.id)}
        lists = self.table["relations"].combine_chunks()
        source = np.repeat(np.arange(len(self)), np.diff(lists.offsets.to_numpy()))
        target = np.array([number[i] for i in lists.values.field("id").to_pylist()], np.int64)
        return Edges(source, target, lists.values.field("type").to_pylist())

    @cached_property
    def parents(self) -> tuple[Int64s, Int64s]:
        """(child, parent) record numbers, each pair once, ordered."""
        return self.edges.of(PARENT, CHILD)

    @cached_property
    def top(self) -> Int64s:
        """For each record the organisation that it is a part of, shape (n,): up while there is one parent."""
        child, parent = self.parents
        only = np.arange(len(self))
        is_only = np.bincount(child, minlength=len(self))[child] == 1
        only[child[is_only]] = parent[is_only]
        # Parents are free of circles, so that every round leads further up, or nowhere.
        while not np.array_equal(further := only[only], only):
            only = further
        return self.current[only]

    def are_related(self, left: Int64s, right: Int64s) -> npt.NDArray[np.bool_]:
        """Whether a relation of any kind, or a common top, joins two records, shape (n,)."""
        n, edges = len(self), self.edges
        low, high = np.minimum(edges.source, edges.target), np.maximum(edges.source, edges.target)
        known = np.unique(low * n + high)
        asked = np.minimum(left, right) * n + np.maximum(left, right)
        return np.asarray(np.isin(asked, known) | (self.top[left] == self.top[right]), bool)

    def are_of_one_line(self, left: Int64s, right: Int64s) -> npt.NDArray[np.bool_]:
        """Whether one of two records is a parent of the other, shape (n,)."""
        child, parent = self.parents
        known, n = child * len(self) + parent, len(self)
        return np.asarray(np.isin(left * n + right, known) | np.isin(right * n + left, known), bool)

    @cached_property
    def established(self) -> list[int | None]:
        """The year in which each organisation began, None where unknown."""
        return list(self.table["established"].to_pylist())

    @cached_property
    def successors(self) -> dict[int, list[int]]:
        """For each record that has any the records that took its place."""
        found: dict[int, list[int]] = {}
        for old, new in zip(*(e.tolist() for e in self.edges.of(SUCCESSOR, PREDECESSOR)), strict=True):
            found.setdefault(old, []).append(new)
        return found

    @cached_property
    def closed_of(self) -> dict[int, list[int]]:
        """For each record that stands for others, those others."""
        found: dict[int, list[int]] = {}
        for old in np.flatnonzero(self.current != np.arange(len(self))).tolist():
            if self.current[old] >= 0:
                found.setdefault(int(self.current[old]), []).append(old)
        return found

    @cached_property
    def current(self) -> Int64s:
        """For each record the one that stands for it, -1 where none does, see `current_records`."""
        status = np.array(self.status, object)
        return current_records(len(self), status == "active", status == "withdrawn", self.edges)
