"""Texts and keys in, candidate pairs out: neighbours of every view, united with what the keys propose."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from blocking.encoders import CorpusEncoder, Encoder, load_encoder
from blocking.errors import BlockingError
from blocking.keys import (
    KeyEntries,
    KeyPairs,
    Keys,
    each_once,
    key_codes,
    key_entries,
    pair_keys,
    pairs_of_entries,
    ranges,
)
from blocking.memory import at_once
from blocking.neighbours import Neighbours, Search, search_neighbours
from blocking.pairs import RULES, CandidatePairs, Float32s, Int64s
from blocking.settings import BlockingSettings, Progress
from blocking.vectors import empty_column, encoded
from blocking.workers import n_workers

log = logging.getLogger(__name__)

#: The rule that joins items whose text is the same in the first view.
SAME_FORM = "same_form"
#: Bits that hold the number of a rule; there are at most eight, a bit each in the column `rule`.
_RULE_BITS = 3
_BITS = np.left_shift(1, np.arange(1 << _RULE_BITS)).astype(np.uint8)
#: Texts whose links become pairs of items at a time, and the bytes that each takes: at 30 neighbours some 20
#: arrays of 8 bytes for each.
_TEXTS_AT_ONCE, _BYTES_A_TEXT = 1 << 16, 5_000
#: Proposed pairs that are united at a time.
_PAIRS_AT_ONCE = 1 << 20
#: Pairs whose cosine is taken at once: 64 MB at 512 dimensions.
_SIMILARITY_CHUNK = 1 << 14


@dataclass(frozen=True)
class BlockingResult:
    """Candidate pairs and what they were found with.

    Attributes:
        pairs: the candidate pairs.
        encoder: the encoder, with the weights that it learned.
        text_number: int64, the row of `vectors` that holds each item's text in the first view, -1 for none.
        vectors: float32, one row for each distinct text of the first view, in the order of the sorted texts.
        n_pairs_by_rule: pairs that each rule proposed; a pair counts for every rule that proposed it.
        n_oversized_blocks: for each key rule, blocks too large for all their items to meet.
        searches: for each view, how neighbours were sought and what share of them was found.
    """

    pairs: CandidatePairs
    encoder: Encoder
    text_number: Int64s = field(repr=False)
    vectors: Float32s = field(repr=False)
    n_pairs_by_rule: dict[str, int]
    n_oversized_blocks: dict[str, int]
    searches: dict[str, Search] = field(default_factory=dict)

    @property
    def report(self) -> dict[str, Any]:
        """The encoder's name and how neighbours were sought in each view, as plain values."""
        return {"encoder": self.encoder.name} | {rule: asdict(s) for rule, s in self.searches.items()}

    def vectors_of(self, texts: Sequence[str]) -> Float32s:
        """A text for each item in, its vector out, shape (n items, dimensions).

        Items that have a text in the first view keep the vector of that one; the others' texts are encoded.
        """
        is_known = self.text_number >= 0
        vectors = np.zeros((len(texts), self.vectors.shape[1]), np.float32)
        vectors[is_known] = self.vectors[self.text_number[is_known]]
        rest = distinct_texts([text for text, known in zip(texts, is_known, strict=True) if not known])
        own = np.zeros((len(rest.number), self.vectors.shape[1]), np.float32)
        own[rest.number >= 0] = self.encoder.encode(rest.texts)[rest.number[rest.number >= 0]]
        vectors[~is_known] = own
        return vectors


@dataclass(frozen=True)
class DistinctTexts:
    """One text for each item: the distinct texts, sorted, and which of them each item has (-1: none)."""

    texts: list[str]
    number: Int64s


def block(
    texts: Sequence[str] | Mapping[str, Sequence[str]],
    keys: Mapping[str, Sequence[Keys]] | None = None,
    settings: BlockingSettings | None = None,
    *,
    encoder: Encoder | None = None,
    on_progress: Progress | None = None,
) -> CandidatePairs:
    """Items as texts and keys in, the pairs worth comparing out, whatever the order of the items.

    Args:
        texts: one text for each item; or several views of the items, each under the rule of `RULES` that
            its neighbours go by (such as "neighbours", "organization_neighbours"). A blank text has no
            neighbours. The first view is the one that `similarity` is measured in and "same_form" looks at.
        keys: key rules of `RULES`, each with one key, a tuple of keys, or none for each item.
        settings: what to choose; the defaults need no model.
        encoder: used instead of the one that the settings name; fitted here if it learns from the corpus
            and has not yet.
        on_progress: called with (texts encoded or searched, texts to encode and to search).

    Returns:
        Pairs with `left < right`, each once.

    Raises:
        BlockingError: columns of several lengths, an unknown rule, a model or library that is not there.
    """
    return block_in_detail(texts, keys, settings, encoder=encoder, on_progress=on_progress).pairs


def block_in_detail(
    texts: Sequence[str] | Mapping[str, Sequence[str]],
    keys: Mapping[str, Sequence[Keys]] | None = None,
    settings: BlockingSettings | None = None,
    *,
    encoder: Encoder | None = None,
    on_progress: Progress | None = None,
) -> BlockingResult:
    """As `block`; the encoder, the vectors and the counts come with the pairs."""
    settings = settings or BlockingSettings()
    columns = dict(texts) if isinstance(texts, Mapping) else {"neighbours": texts}
    keys = keys or {}
    n_items = check_columns(columns, keys)
    views = {rule: distinct_texts(column) for rule, column in columns.items()}
    entries = {rule: key_entries(column) for rule, column in keys.items()}
    first = next(iter(views.values()))
    encoder = prepared_encoder(encoder, first.texts, settings)
    # Rings and expansions run through the items in an order that their contents set, not the caller.
    codes = [own.first_codes(n_items) for own in entries.values()]
    order = np.lexsort([*codes, *(view.number for view in views.values())])
    progress = Steps(on_progress, 2 * sum(len(view.texts) for view in views.values()))

    proposed: list[tuple[str, Int64s]] = []
    searches: dict[str, Search] = {}
    vectors = np.zeros((len(first.texts), encoder.dimensions), np.float32)
    for rule, view in views.items():
        found = encoded(encoder, view.texts, progress.next(len(view.texts)))
        if view is first:
            vectors = found
        told = progress.next(len(view.texts))
        near = search_neighbours(found, settings.n_neighbours, settings, on_progress=told)
        del found
        searches[rule] = near.search
        proposed.append((rule, _items_of(near, view.number, order, settings)))
        del near
    oversized: dict[str, int] = {}
    is_visible = np.flatnonzero(first.number >= 0)
    same_text = KeyEntries(is_visible, first.number[is_visible])
    for rule, own in [(SAME_FORM, same_text), *entries.items()]:
        by_key = pairs_of_entries(own, n_items, settings.max_block, order)
        _report(rule, by_key, settings.max_block)
        oversized[rule] = oversized.get(rule, 0) + by_key.n_oversized_blocks
        proposed.append((rule, by_key.left * n_items + by_key.right))

    rules = [rule for rule, _ in proposed]
    pairs = unite(proposed, n_items, first.number, vectors)
    counts = {rule: int(np.count_nonzero(pairs.rule & (1 << RULES.index(rule)))) for rule in rules}
    log.info("blocked %d items: %d pairs, %s", n_items, len(pairs), counts)
    return BlockingResult(pairs, encoder, first.number, vectors, counts, oversized, searches)


def check_columns(texts: Mapping[str, Sequence[str]], keys: Mapping[str, Sequence[Keys]]) -> int:
    """The number of items, once every column has that length and every rule its name."""
    if not texts:
        raise BlockingError("block needs at least one view of the items' texts, got none")
    unknown = [rule for rule in (*texts, *keys) if rule not in RULES]
    if unknown:
        raise BlockingError(f"no such rule: {', '.join(unknown)}; rules are {', '.join(RULES)}")
    both = [rule for rule in texts if rule in keys or rule == SAME_FORM]
    if both:
        raise BlockingError(f"{both[0]} is a rule for keys here, so it cannot name a view of the texts")
    lengths = {rule: len(column) for rule, column in (*texts.items(), *keys.items())}
    if len(set(lengths.values())) > 1:
        raise BlockingError(
            f"block needs one text and one key for each item, got columns of lengths {lengths}"
        )
    return next(iter(lengths.values()))


def distinct_texts(column: Sequence[str]) -> DistinctTexts:
    """Sorted distinct texts: encoding, index and ties then do not depend on the order of the items."""
    visible = [text if text.strip() else "" for text in column]
    return DistinctTexts(sorted({text for text in visible if text}), key_codes(visible))


def prepared_encoder(encoder: Encoder | None, texts: Sequence[str], settings: BlockingSettings) -> Encoder:
    """The encoder to use, fitted to the texts if it learns from them and has not yet."""
    if encoder is None:
        encoder = load_encoder(
            settings.encoder,
            truncate_dim=settings.truncate_dim,
            device=settings.device,
            batch_size=settings.batch_size,
            prompt=settings.prompt,
            revision=settings.revision,
        )
    if isinstance(encoder, CorpusEncoder) and not encoder.is_fitted:
        encoder.fit(texts)
    return encoder


def _items_of(found: Neighbours, number: Int64s, order: Int64s, settings: BlockingSettings) -> Int64s:
    """Neighbours of texts in, pairs of the items that have these texts out, as `pair_keys` does, ascending.

    An item meets at most `n_neighbours / rank` items of its text's neighbour of that rank (and one at the
    least), so that two texts with a thousand items each propose no million pairs: the two groups are joined
    all the same, and "same_form" joins each group in itself.
    """
    members = order[number[order] >= 0]
    sizes = np.bincount(number[members], minlength=len(found.ids))
    starts = np.cumsum(sizes) - sizes
    members = members[np.argsort(number[members], kind="stable")]
    keys = [np.empty(0, np.int64)]
    at_a_time = at_once(_TEXTS_AT_ONCE, _BYTES_A_TEXT)
    for first in range(0, len(found.ids), at_a_time):
        part = slice(first, first + at_a_time)
        is_link = (found.ids[part] >= 0) & (found.similarities[part] >= settings.min_similarity)
        row, rank = np.nonzero(is_link)
        text, neighbour = row + first, found.ids[part][is_link]
        n_met = np.minimum(sizes[neighbour], np.maximum(1, settings.n_neighbours // (rank + 1)))
        link = np.repeat(np.arange(len(text)), sizes[text] * n_met)
        place, step = np.divmod(ranges(sizes[text] * n_met), n_met[link])
        item = members[starts[text[link]] + place]
        other = members[starts[neighbour[link]] + (place + step) % sizes[neighbour[link]]]
        keys.append(pair_keys(item, other, len(number)))
    ordered = np.concatenate(keys)
    keys.clear()
    ordered.sort()
    return each_once(ordered)


def unite(
    proposed: list[tuple[str, Int64s]], n_items: int, number: Int64s, vectors: Float32s
) -> CandidatePairs:
    """Every pair once, with the rules that proposed it and its cosine in the first view.

    Args:
        proposed: rules with the keys of their pairs (`pair_keys`), each once; emptied, to let go of them.
        n_items: number of items.
        number: row of `vectors` for each item, -1 for none, shape (n_items,).
        vectors: of the texts of the first view.
    """
    both = _with_rules(proposed, n_items)
    both.sort()
    pieces = [slice(a, b) for a, b in pairwise(_ends_of_pieces(both))]
    n_pairs = sum(len(each_once(both[piece] >> _RULE_BITS)) for piece in pieces)
    left, right = (empty_column(n_pairs, np.int64) for _ in range(2))
    similarity, rule = empty_column(n_pairs, np.float32), empty_column(n_pairs, np.uint8)
    start = 0
    for piece in pieces:
        own = both[piece] >> _RULE_BITS
        first = np.flatnonzero(np.diff(own, prepend=-1))
        part = slice(start, start + len(first))
        left[part], right[part] = np.divmod(own[first], n_items)
        rule[part] = np.bitwise_or.reduceat(_BITS[both[piece] & (len(_BITS) - 1)], first)
        similarity[part] = cosines(number[left[part]], number[right[part]], vectors)
        start = part.stop
    return CandidatePairs(left, right, similarity, rule)


def _with_rules(proposed: list[tuple[str, Int64s]], n_items: int) -> Int64s:
    """Pair and rule in one number: numbers are sorted in place, far quicker than anything by numbers."""
    both = np.empty(sum(len(keys) for _, keys in proposed), np.int64)
    end = len(both)
    while proposed:
        rule, keys = proposed.pop()
        own = both[end - len(keys) : end]
        np.left_shift(keys, _RULE_BITS, out=own)
        own += RULES.index(rule)
        end -= len(keys)
    return both


def _ends_of_pieces(both: Int64s) -> list[int]:
    """Where to cut ascending numbers of pairs and rules, so that no pair is cut in two."""
    ends = [0]
    while ends[-1] < len(both):
        end = min(ends[-1] + _PAIRS_AT_ONCE, len(both))
        ends.append(int(np.searchsorted(both, both[end - 1] | (len(_BITS) - 1), "right")))
    return ends


def cosines(a: Int64s, b: Int64s, vectors: Float32s, others: Float32s | None = None) -> Float32s:
    """Cosines of pairs of rows, `b` of them in `others` where given; 0 where one of them is no row (-1)."""
    others = vectors if others is None else others
    found = np.zeros(len(a), np.float32)

    def fill(start: int) -> None:
        part = slice(start, start + _SIMILARITY_CHUNK)
        is_known = (a[part] >= 0) & (b[part] >= 0)
        known = np.flatnonzero(is_known) + start
        found[known] = np.einsum("ij,ij->i", vectors[a[known]], others[b[known]])

    with ThreadPoolExecutor(n_workers()) as pool:
        list(pool.map(fill, range(0, len(a), _SIMILARITY_CHUNK)))
    np.clip(found, -1, 1, out=found)
    return found


def _report(rule: str, by_key: KeyPairs, max_block: int) -> None:
    if by_key.n_oversized_blocks:
        log.warning(
            "rule %s: %d blocks hold more than %d items (the largest %d); in these each item meets only some",
            rule,
            by_key.n_oversized_blocks,
            max_block,
            by_key.largest_block,
        )


class Steps:
    """One progress bar over several steps, each of which counts from nought."""

    def __init__(self, on_progress: Progress | None, total: int) -> None:
        self._on_progress, self._total, self._done = on_progress, total, 0

    def next(self, size: int) -> Progress | None:
        """The size of the next step in, the callback for it out."""
        report, before = self._on_progress, self._done
        self._done += size
        if report is None:
            return None
        return lambda done, _: report(before + done, self._total)
