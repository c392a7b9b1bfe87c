"""Two collections in, candidate pairs between them out: the rules of `block`, and no pair within a side."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from blocking.blocks import Steps, check_columns, distinct_texts, prepared_encoder, unite
from blocking.encoders import Encoder
from blocking.errors import BlockingError
from blocking.keys import KeyEntries, Keys, key_entries, ranges
from blocking.neighbours import nearest_rows
from blocking.pairs import CandidatePairs, Int64s
from blocking.settings import BlockingSettings, Progress

log = logging.getLogger(__name__)

Views = Mapping[str, Sequence[str]]
KeyColumns = Mapping[str, Sequence[Keys]]


def block_two(
    left: Views,
    right: Views,
    left_keys: KeyColumns | None = None,
    right_keys: KeyColumns | None = None,
    settings: BlockingSettings | None = None,
    *,
    encoder: Encoder | None = None,
    on_progress: Progress | None = None,
) -> CandidatePairs:
    """Items of two collections as texts and keys in, the pairs between them worth comparing out.

    Each text on the left looks for its `n_neighbours` nearest texts on the right, in every view; items that
    share a key meet, an item on the left at most `max_block` for each key.

    Args:
        left: views of the items on the left, as `block` takes them.
        right: the same views of the items on the right.
        left_keys, right_keys: the same key rules of both.
        settings: what to choose.
        encoder: used instead of the one that the settings name; one that learns from a corpus and has not yet
            learns from the texts of the first view on the right.
        on_progress: called with (texts encoded or searched, texts to encode and to search).

    Returns:
        Pairs in which `left` numbers the items on the left and `right` those on the right, from the number of
        items on the left on. `similarity` is the cosine in the first view.

    Raises:
        BlockingError: columns of several lengths, views or rules of one side only, a library that is missing.
    """
    settings, left_keys, right_keys = settings or BlockingSettings(), left_keys or {}, right_keys or {}
    if list(left) != list(right) or set(left_keys) != set(right_keys):
        raise BlockingError("both sides need the same views and the same key rules")
    n_left, n_right = check_columns(left, left_keys), check_columns(right, right_keys)
    proposed: list[tuple[str, Int64s, Int64s]] = []
    first: tuple[Int64s, Any] | None = None
    views = {rule: distinct_texts([*left[rule], *right[rule]]) for rule in left}
    asked = {rule: np.unique(texts.number[:n_left]) for rule, texts in views.items()}
    asked = {rule: queries[queries >= 0] for rule, queries in asked.items()}
    progress = Steps(on_progress, sum(len(views[rule].texts) + len(asked[rule]) for rule in left))
    for rule, texts in views.items():
        number_left, number_right = texts.number[:n_left], texts.number[n_left:]
        if encoder is None or first is None:
            own = sorted({texts.texts[i] for i in number_right.tolist() if i >= 0})
            encoder = prepared_encoder(encoder, own, settings)
        vectors = encoder.encode(texts.texts, on_progress=progress.next(len(texts.texts)))
        queries, corpus = asked[rule], np.unique(number_right[number_right >= 0])
        found_by = progress.next(len(queries))
        ids, cosine = nearest_rows(
            vectors[queries], vectors[corpus], settings.n_neighbours, settings, on_progress=found_by
        )
        is_link = (ids >= 0) & (cosine >= settings.min_similarity)
        found = KeyEntries(queries[np.nonzero(is_link)[0]], corpus[ids[is_link]])
        proposed.append((rule, *_items_of(found, number_left, number_right, settings.max_block)))
        first = first or (texts.number, vectors)
    assert first is not None  # `check_columns` asks for a view.
    for rule in left_keys:
        entries = key_entries([*left_keys[rule], *right_keys[rule]])
        is_left = entries.item < n_left
        mine = KeyEntries(entries.item[is_left], entries.code[is_left])
        theirs = KeyEntries(entries.item[~is_left] - n_left, entries.code[~is_left])
        proposed.append((rule, *_joined(mine, theirs, settings.max_block)))
    n_items = n_left + n_right
    pairs = unite([(rule, a * n_items + b + n_left) for rule, a, b in proposed], n_items, *first)
    log.info("blocked %d items against %d: %d pairs", n_left, n_right, len(pairs))
    return pairs


def _items_of(
    links: KeyEntries, number_left: Int64s, number_right: Int64s, max_block: int
) -> tuple[Int64s, Int64s]:
    """Links between texts to pairs of the items that have them."""
    by_text = KeyEntries(np.arange(len(number_left)), number_left)
    item, text = _joined(by_text, KeyEntries(links.code, links.item), max(1, len(links.item)))
    return _joined(KeyEntries(item, text), KeyEntries(np.arange(len(number_right)), number_right), max_block)


def _joined(mine: KeyEntries, theirs: KeyEntries, most: int) -> tuple[Int64s, Int64s]:
    """Items of both sides whose codes are equal, each item of mine with the first `most` of theirs."""
    order = np.lexsort([theirs.item, theirs.code])
    items, codes = theirs.item[order], theirs.code[order]
    is_known = mine.code >= 0
    own, code = mine.item[is_known], mine.code[is_known]
    start = np.searchsorted(codes, code, "left")
    size = np.minimum(np.searchsorted(codes, code, "right") - start, most)
    return np.repeat(own, size), items[np.repeat(start, size) + ranges(size)]
