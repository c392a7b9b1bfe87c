"""What a tagger learns from a labelled string: a tag for each token, where one is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.parsing.features import Tokens, segment_features, tokens_of, word_features
from pipeline.parsing.reading import STRENGTH, Piece, Reading, read
from pipeline.parsing.tagger import FIRST, INSIDE, OTHER, PLACE, UNIT
from pipeline.text import compare
from pipeline.training.spans import Example, Span

Int64s = npt.NDArray[np.int64]
#: A token of which nothing is known.
UNKNOWN = -1
_UNITS = frozenset({"unit", "topic"})


@dataclass(frozen=True)
class Lesson:
    """The features of a text's tokens, and their tags.

    Attributes:
        features, starts: numbers of all tokens' features, and where each token's begin, int64.
        tags: int64, `UNKNOWN` where the labels do not tell.
    """

    features: Int64s
    starts: Int64s
    tags: Int64s


def lesson_of(example: Example, n_buckets: int, is_complete: bool) -> Lesson | None:
    """An example to what it teaches; None for a text that is only a place or names nothing that was found.

    Args:
        example: a text with its labels.
        n_buckets: rows of the table of features.
        is_complete: whether every organisation of the text is labelled.
    """
    reading = read(example.text)
    if reading is None or not (example.spans or is_complete):
        return None
    tokens = tokens_of(example.text, reading)
    if not tokens.span:
        return None
    lists = [
        (*word_features(word, n_buckets), *segment_features(segment, n_buckets))
        for word, segment in zip(tokens.word, tokens.segment, strict=True)
    ]
    starts = np.cumsum([0, *map(len, lists)])[:-1].astype(np.int64)
    tags = tags_of(example, reading, tokens, is_complete)
    return Lesson(np.concatenate(lists).astype(np.int64), starts, tags)


def tags_of(example: Example, reading: Reading, tokens: Tokens, is_complete: bool) -> Int64s:
    """The tags of a text's tokens.

    Aligned names are organisations. Where labels that could not be aligned are as many as the rules'
    organisations elsewhere in the text, those are taken for them. Where every label is accounted for, nothing
    else is an organisation; else what could be one is unknown.
    """
    own, unclear = _taken(example)
    free = [p for p in reading.pieces if p.segment and not _meets(p, own) and not _meets(p, unclear)]
    n_missing = example.n_labels - len(example.spans)
    added = _as_many(example.text, reading, free, n_missing) if is_complete else None
    # One label is taken for all where the rules, too, see one organisation.
    is_known = (
        added is not None if is_complete else n_missing == 0 and len(reading.chosen) == example.n_labels
    )
    tags = np.full(len(tokens.span), OTHER if is_known else UNKNOWN, np.int64)
    for n, (start, end) in enumerate(tokens.span):
        if end - start == 1 and not example.text[start:end].isalnum():
            tags[n] = OTHER
    for piece in reading.pieces:
        known = _tag_of(piece, is_known)
        if known != UNKNOWN:
            _mark(tags, tokens.span, (piece.start, piece.end), known, known)
    for span in unclear:
        _mark(tags, tokens.span, span, UNKNOWN, UNKNOWN)
    for span in [*((p.start, p.end) for p in added or ()), *own]:
        _mark(tags, tokens.span, span, FIRST, INSIDE)
    return tags


def _taken(example: Example) -> tuple[list[Span], list[Span]]:
    """Spans of organisations, none within another, and second names of an organisation: no second one."""
    own: list[Span] = []
    unclear: list[Span] = []
    for spans in example.spans:
        longest = max(spans, key=lambda s: s[1] - s[0])
        name = compare(example.text[slice(*longest)])
        own += [s for s in spans if compare(example.text[slice(*s)]) == name]
        unclear += [s for s in spans if compare(example.text[slice(*s)]) != name]
    kept: list[Span] = []
    for start, end in sorted(set(own), key=lambda s: (s[0] - s[1], s[0])):
        if not any(start < b and a < end for a, b in kept):
            kept.append((start, end))
    return kept, [s for s in unclear if not any(s[0] < b and a < s[1] for a, b in kept)]


def _meets(piece: Piece, spans: Sequence[Span]) -> bool:
    return any(piece.start < end and start < piece.end for start, end in spans)


def _as_many(text: str, reading: Reading, free: Sequence[Piece], n: int) -> list[Piece] | None:
    """The pieces that are the `n` organisations not found by name; None where the rules do not tell."""
    if n == 0:
        return []
    strong = [p for p in free if any(p.segment is s for s in reading.chosen)]
    weaker = [p for p in free if STRENGTH[p.kind] > 0 and p.kind != "unknown"]
    for choice in (strong, weaker, [p for p in free if STRENGTH[p.kind] > 0 or p.kind == "part"]):
        if len({compare(text[p.start : p.end]) for p in choice}) == n:
            return choice
    return None


def _tag_of(piece: Piece, is_known: bool) -> int:
    """The tag of a piece that is no labelled organisation."""
    if piece.segment is None:
        return PLACE
    if piece.kind in _UNITS:
        return UNIT
    if piece.kind == "address":
        return OTHER
    if not is_known:
        return UNKNOWN
    return OTHER if piece.kind == "unknown" else UNIT


def _mark(tags: Int64s, tokens: Sequence[Span], span: Span, first: int, further: int) -> None:
    inside = [n for n, (start, end) in enumerate(tokens) if span[0] <= start and end <= span[1]]
    tags[inside] = further
    tags[inside[:1]] = first
