"""Known names: which records of a public registry a text names, looked up in a table made beforehand.

The table holds no text: a name is the sum of the hashes of its concept tokens, so that every run of tokens of
many texts is looked up at once, whatever the order of its words. Made by `affil train names`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources import files
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from pipeline.errors import UsageError

UInt64s = npt.NDArray[np.uint64]
Int32s = npt.NDArray[np.int32]

#: The names under which settings ask for the table in the package, and for none.
BUILT_IN, NONE = "built-in", "none"
FORMAT = "affiliation-resolver known names 1"
FILE = "names.safetensors"
#: Names are sought in runs of two to so many tokens; 99 % of the names of ROR have no more.
MAX_TOKENS = 10
#: Texts that are looked up at a time: some 50 MB of hashes and comparisons.
_CHUNK = 50_000
#: Of a hash, what tells most runs from names: 2^22 values for some 2^17 names.
_LOW_BITS = np.uint64((1 << 22) - 1)
_TABLES = ("bag", "ordered", "single")


class Found(NamedTuple):
    """A run of tokens of a text that is a known name: where it stands, and the records so called."""

    start: int
    end: int
    records: tuple[int, ...]


@dataclass(frozen=True)
class NameTable:
    """Hashes of names, ascending, and the records that each stands for.

    Attributes:
        key: shape (n,).
        end: `record[end[i - 1]:end[i]]` are the records of key i, shape (n,).
        record: numbers of records.
    """

    key: UInt64s
    end: Int32s
    record: Int32s

    @classmethod
    def of(cls, records: Mapping[int, set[int]]) -> NameTable:
        """Hashes with their records to a table."""
        keys = sorted(records)
        end = np.cumsum([len(records[k]) for k in keys], dtype=np.int32)
        return cls(
            np.array(keys, np.uint64), end, np.array([r for k in keys for r in sorted(records[k])], np.int32)
        )

    def rows(self, hashes: UInt64s) -> npt.NDArray[np.int64]:
        """Hashes to the rows of the table, -1 where it has none."""
        if not len(self.key):
            return np.full(len(hashes), -1)
        at = np.minimum(np.searchsorted(self.key, hashes), len(self.key) - 1)
        return np.where(self.key[at] == hashes, at, -1)

    @cached_property
    def row_of(self) -> dict[int, int]:
        """Hashes to rows, to look them up one by one."""
        return {key: row for row, key in enumerate(self.key.tolist())}

    def records(self, row: int) -> tuple[int, ...]:
        """The records of a row."""
        start = self.end[row - 1] if row else 0
        return tuple(self.record[start : self.end[row]].tolist())


@dataclass(frozen=True)
class KnownNames:
    """Names of many records, by their hashes.

    Attributes:
        bag: names of two tokens and more, whatever their order.
        ordered: those of them whose tokens, in another order, are another record's name.
        single: names of one token: acronyms, and names such as `caltech`.
        place: number of each record's (country code, city) in `places`.
        places: distinct places, None for what is unknown.
        is_current: whether a record is neither closed nor withdrawn.
        relation: pairs of records that the registry relates, shape (n, 2).
        source: "built-in", or the folder that the table was read from.
    """

    bag: NameTable
    ordered: NameTable
    single: NameTable
    place: Int32s
    places: list[tuple[str | None, str | None]]
    is_current: npt.NDArray[np.bool_]
    relation: Int32s
    source: str = BUILT_IN

    def __len__(self) -> int:
        return len(self.place)

    @cached_property
    def related(self) -> Any:
        """Which records the registry relates to which, symmetric, sparse, shape (len(self), len(self))."""
        left, right = self.relation.T
        ones = np.ones(2 * len(left), np.float32)
        both = (np.concatenate([left, right]), np.concatenate([right, left]))
        return sparse.csr_array((ones, both), shape=(len(self), len(self)))

    def named(self, tokens: Sequence[str]) -> tuple[int, ...]:
        """Concept tokens of a whole name to the records so called."""
        if len(tokens) == 1:
            table, hashed = self.single, hash_of(tokens[0])
        else:
            table, hashed = self.ordered, _ordered(tokens)
        row = int(table.rows(np.array([hashed], np.uint64))[0])
        if row < 0 and len(tokens) > 1:
            table, row = self.bag, int(self.bag.rows(np.array([_bag(tokens)], np.uint64))[0])
        return table.records(row) if row >= 0 else ()

    def within(self, texts: Sequence[Sequence[str]]) -> list[list[Found]]:
        """Concept tokens of texts to the known names in each, the longest first; none lies within another."""
        found: list[list[Found]] = []
        for start in range(0, len(texts), _CHUNK):
            found += self._within(texts[start : start + _CHUNK])
        return found

    def _within(self, texts: Sequence[Sequence[str]]) -> list[list[Found]]:
        ends = np.cumsum([len(t) for t in texts])
        hashes = np.array([hash_of(token) for tokens in texts for token in tokens], np.uint64)
        text_of = np.repeat(np.arange(len(texts)), np.diff(ends, prepend=0))
        found: list[list[Found]] = [[] for _ in texts]
        for at, n, row in self.runs(hashes, text_of):
            number = int(text_of[at])
            start = at - (int(ends[number - 1]) if number else 0)
            own = found[number]
            if any(f.start <= start and start + n <= f.end for f in own):
                continue
            records = self.named(texts[number][start : start + n]) or self.bag.records(row)
            own.append(Found(start, start + n, records))
        return found

    def runs(self, hashes: UInt64s, text_of: npt.NDArray[np.int64]) -> Iterator[tuple[int, int, int]]:
        """Hashes of tokens, and the text that each stands in, to the runs of two and more that are names.

        Yields for each run, longest first, where it begins, how many tokens it has, and its row in `bag`.
        """
        # Unsigned sums wrap around, and so do their differences: a run's sum is the difference of two.
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(hashes, dtype=np.uint64)])
        for n in range(min(MAX_TOKENS, len(hashes)), 1, -1):
            own = sums[n:] - sums[:-n]
            likely = np.flatnonzero(
                self._is_likely[own & _LOW_BITS] & (text_of[: len(own)] == text_of[n - 1 :])
            )
            rows = self.bag.rows(own[likely])
            is_name = rows >= 0
            yield from zip(likely[is_name].tolist(), repeat(n), rows[is_name].tolist(), strict=False)

    @cached_property
    def _is_likely(self) -> npt.NDArray[np.bool_]:
        """Whether a name's hash ends in such bits: most runs are none, which one look tells."""
        found = np.zeros(int(_LOW_BITS) + 1, bool)
        found[self.bag.key & _LOW_BITS] = True
        return found

    @classmethod
    def load(cls, source: str | Path = BUILT_IN) -> KnownNames:
        """A folder of `affil train names`, or "built-in" for the one in the package, to the table.

        Raises:
            UsageError: no such file, or a file that is damaged or of another version.
        """
        return _load(str(source))

    def save(self, folder: Path) -> None:
        """Write the file that `load` reads."""
        from safetensors.numpy import save

        arrays = {
            f"{table}.{part}": getattr(getattr(self, table), part)
            for table in _TABLES
            for part in ("key", "end", "record")
        }
        arrays |= {"place": self.place, "is_current": self.is_current, "relation": self.relation}
        header = {"format": FORMAT, "places": json.dumps(self.places, ensure_ascii=False)}
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f"{FILE}.part"
        part.write_bytes(save({k: np.ascontiguousarray(a) for k, a in sorted(arrays.items())}, header))
        part.replace(folder / FILE)


def names_of(source: str) -> KnownNames | None:
    """The table that settings ask for by its name or folder, None where they ask for none.

    Raises:
        UsageError: as for `KnownNames.load`.
    """
    return None if source == NONE else KnownNames.load(source)


@lru_cache(maxsize=2)
def _load(source: str) -> KnownNames:
    from safetensors import SafetensorError, safe_open

    folder = str(files("pipeline") / "models" / "names") if source == BUILT_IN else source
    path = Path(folder) / FILE
    if not path.is_file():
        raise UsageError(f"no such file: {path}; `affil train names` writes it")
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if header.get("format") != FORMAT:
            raise UsageError(f"{path}: not a table of the form {FORMAT!r}; run `affil train names` again")
        bag, ordered, single = (
            NameTable(*(arrays[f"{table}.{part}"] for part in ("key", "end", "record"))) for table in _TABLES
        )
        places = [(country, city) for country, city in json.loads(header["places"])]
        about = arrays["place"], places, arrays["is_current"], arrays["relation"], source
        return KnownNames(bag, ordered, single, *about)
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise UsageError(f"{path} is damaged: {error}") from error


@lru_cache(maxsize=500_000)
def hash_of(token: str) -> int:
    """A concept token to its hash, 64 bits."""
    return int.from_bytes(hashlib.blake2b(token.encode("utf-8"), digest_size=8).digest(), "little")


def _bag(tokens: Sequence[str]) -> int:
    return sum(map(hash_of, tokens)) % 2**64


def _ordered(tokens: Sequence[str]) -> int:
    return hash_of(" ".join(tokens))


def made_of(
    names: Mapping[tuple[str, ...], set[int]],
    place: Sequence[tuple[str | None, str | None]],
    is_current: Sequence[bool],
    relation: Sequence[tuple[int, int]],
) -> KnownNames:
    """Concept tokens of names with the numbers of the records so called, and what is known of each record."""
    bag: dict[int, set[int]] = {}
    single: dict[int, set[int]] = {}
    for tokens, records in names.items():
        key, table = (hash_of(tokens[0]), single) if len(tokens) == 1 else (_bag(tokens), bag)
        table.setdefault(key, set()).update(records)
    ordered = {_ordered(t): r for t, r in names.items() if len(t) > 1 and r != bag[_bag(t)]}
    places = sorted(set(place), key=lambda p: (p[0] or "", p[1] or ""))
    number = {p: i for i, p in enumerate(places)}
    return KnownNames(
        NameTable.of(bag),
        NameTable.of(ordered),
        NameTable.of(single),
        np.array([number[p] for p in place], np.int32),
        places,
        np.array(is_current, bool),
        np.array(sorted(set(relation)), np.int32).reshape(-1, 2),
    )
