"""Pairs of items that share a key: whole small blocks, and a bounded ring through each large one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blocking.pairs import Int64s
from blocking.settings import at_least


@dataclass(frozen=True)
class KeyPairs:
    """Pairs that keys propose, `left < right`, each once, ordered.

    Attributes:
        left: int64, shape (n,).
        right: int64, shape (n,).
        n_oversized_blocks: blocks of more than `max_block` items, whose items met only some of the others.
        largest_block: items that share the most frequent key.
    """

    left: Int64s
    right: Int64s
    n_oversized_blocks: int
    largest_block: int


#: The keys of one item: one, several, or none (None, "", an empty tuple).
Keys = str | tuple[str, ...] | None


def key_pairs(keys: Sequence[Keys], max_block: int, order: Int64s | None = None) -> KeyPairs:
    """The keys of each item in, pairs of items that share one out.

    In a block of more than `max_block` items each meets the next `max_block // 2` in a ring, so every item
    has at most `max_block` partners in it and the block stays in one piece.

    Args:
        keys: for each item one key, a tuple of keys, or none.
        max_block: the largest block whose items all meet; at least 2.
        order: the items in the order in which rings run through them; by default as they come.
    """
    return pairs_of_entries(key_entries(keys), len(keys), max_block, order)


@dataclass(frozen=True)
class KeyEntries:
    """Keys of items as numbers: `item[i]` has the key `code[i]`; codes order as the keys do."""

    item: Int64s
    code: Int64s

    def first_codes(self, n_items: int) -> Int64s:
        """For each item the number of its first key, -1 where it has none, shape (n_items,)."""
        codes = np.full(n_items, -1, np.int64)
        codes[self.item[::-1]] = self.code[::-1]
        return codes


def key_entries(keys: Sequence[Keys]) -> KeyEntries:
    """The keys of each item in, one entry for each item and key out."""
    lists = [[key] if isinstance(key, str) else key or () for key in keys]
    flat = [key for own in lists for key in own]
    number = {key: n for n, key in enumerate(sorted(set(flat) - {""}))}
    item = np.repeat(np.arange(len(lists), dtype=np.int64), [len(own) for own in lists])
    code = np.fromiter((number.get(key, -1) for key in flat), np.int64, len(flat))
    return KeyEntries(item[code >= 0], code[code >= 0])


def key_codes(keys: Sequence[str | None]) -> Int64s:
    """One key or none for each item in; int64 numbers out that order as the keys do, -1 for None and ""."""
    return key_entries(keys).first_codes(len(keys))


def pairs_of_entries(
    entries: KeyEntries, n_items: int, max_block: int, order: Int64s | None = None
) -> KeyPairs:
    """As `key_pairs`, for keys that are numbers already."""
    at_least("max_block", max_block, 2)
    if not len(entries.item):
        none = np.empty(0, np.int64)
        return KeyPairs(none, none, 0, 0)
    rank = np.arange(n_items) if order is None else np.argsort(order)
    by_block = np.lexsort([rank[entries.item], entries.code])
    members, codes = entries.item[by_block], entries.code[by_block]
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    sizes = np.diff(np.append(starts, len(members)))

    start, size = np.repeat(starts, sizes), np.repeat(sizes, sizes)
    place = np.arange(len(members)) - start
    # Half a ring each way: a whole block is every later member, a large one the next max_block // 2.
    n_partners = np.where(size <= max_block, size - 1 - place, max_block // 2)
    step = ranges(n_partners)
    first = np.repeat(np.arange(len(members)), n_partners)
    other = start[first] + (place[first] + 1 + step) % size[first]
    left, right = sorted_pairs(members[first], members[other], n_items)
    return KeyPairs(left, right, int((sizes > max_block).sum()), int(sizes.max()))


def ranges(lengths: Int64s) -> Int64s:
    """Lengths in, 0 … length-1 for each of them out, one after the other: [2, 3] gives [0, 1, 0, 1, 2]."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total, dtype=np.int64) - np.repeat(ends - lengths, lengths)


def sorted_pairs(a: Int64s, b: Int64s, n_items: int) -> tuple[Int64s, Int64s]:
    """Two ends of each pair in; left and right out, ordered, each pair once, none with itself."""
    left, right = np.divmod(distinct(pair_keys(a, b, n_items)), max(n_items, 1))
    return left, right


def pair_keys(a: Int64s, b: Int64s, n_items: int) -> Int64s:
    """Two ends of each pair in; one number for each pair of two out, which order as (left, right) do."""
    keys = np.minimum(a, b) * n_items + np.maximum(a, b)
    return np.asarray(keys[a != b], np.int64)


def distinct(keys: Int64s) -> Int64s:
    """Numbers in, each of them once out, ascending: `np.unique`, which takes a hundred times as long."""
    return each_once(np.sort(keys))


def each_once(ordered: Int64s) -> Int64s:
    """Ascending numbers in, each of them once out."""
    is_first = np.ones(len(ordered), bool)
    np.not_equal(ordered[1:], ordered[:-1], out=is_first[1:])
    return ordered[is_first]


def distinct_with_places(keys: Int64s) -> tuple[Int64s, Int64s]:
    """Numbers in; each of them once, ascending, and for each number its place among them out."""
    order = np.argsort(keys)
    ordered = keys[order]
    is_first = np.diff(ordered, prepend=ordered[:1] - 1) != 0
    places = np.empty(len(keys), np.int64)
    places[order] = np.cumsum(is_first) - 1
    return ordered[is_first], places


def is_among(keys: Int64s, ordered: Int64s) -> npt.NDArray[np.bool_]:
    """Numbers and ascending ones in; which of the first are among the second out (`np.isin`)."""
    if not len(ordered):
        return np.zeros(len(keys), bool)
    at = np.minimum(np.searchsorted(ordered, keys), len(ordered) - 1)
    return np.asarray(ordered[at] == keys)
