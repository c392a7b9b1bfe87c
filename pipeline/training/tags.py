"""What a tagger learns from a labelled string: a tag for each token, where one is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.concepts import concept_text
from pipeline.parsing.features import Tokens, name_features, segment_features, tokens_of, word_features
from pipeline.parsing.reading import STRENGTH, Piece, Reading, read
from pipeline.parsing.tagger import FIRST, INSIDE, OTHER, PLACE, UNIT
from pipeline.text import compare
from pipeline.training.spans import Example, Span, meet

Int64s = npt.NDArray[np.int64]
#: A token of which nothing is known.
UNKNOWN = -1
_UNITS = frozenset({"unit", "topic"})
#: What parts the segments of most texts.
_PARTING = ",;"
#: Names of a likeness of so much, of 100, are taken for one organisation's where a label has to be somewhere.
_LIKE = 80.0


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


def lessons_of(
    found: Sequence[Example],
    n_buckets: int,
    is_complete: bool,
    without_commas: npt.NDArray[np.bool_] | None = None,
) -> list[Lesson]:
    """Examples to what they teach; a text that is only a place, or names nothing that was found, is left out.

    Args:
        found: texts with their labels.
        n_buckets: rows of the table of features.
        is_complete: whether every organisation of the texts is labelled.
        without_commas: which examples are taught once more with their texts without commas and semicolons,
            shape (n,); by default none.
    """
    again = np.zeros(len(found), bool) if without_commas is None else without_commas
    told = [(e, r, bool(b)) for e, b in zip(found, again, strict=True) if (r := _told(e, is_complete))]
    readings = [r for _, r, _ in told]
    tokens = tokens_of(readings)
    tags = [tags_of(e, r, tokens.spans(n), is_complete) for n, (e, r, _) in enumerate(told)]
    lessons = _lessons(tokens, tags, n_buckets)
    bare = [_bare(r.text, tokens.spans(n), tags[n]) for n, (_, r, is_again) in enumerate(told) if is_again]
    known = [(r, own) for r, own in bare if r is not None]
    return lessons + _lessons(tokens_of([r for r, _ in known]), [own for _, own in known], n_buckets)


def _told(example: Example, is_complete: bool) -> Reading | None:
    """The reading of an example that teaches something."""
    return read(example.text) if example.spans or is_complete else None


def _bare(text: str, tokens: Sequence[Span], tags: Int64s) -> tuple[Reading | None, Int64s]:
    """A text without the marks that part segments, as the rules read it, and the tags of the tokens left."""
    is_kept = np.array([text[start:end] not in _PARTING for start, end in tokens], bool)
    blank = text.translate(dict.fromkeys(map(ord, _PARTING), " "))
    return (None if is_kept.all() else read(blank)), tags[is_kept]


def _lessons(tokens: Tokens, tags: Sequence[Int64s], n_buckets: int) -> list[Lesson]:
    """Tokens of texts and their tags to lessons; a text without tokens is none."""
    lessons = []
    for number, own in enumerate(tags):
        lists = _features(tokens, number, n_buckets)
        if lists:
            starts = np.cumsum([0, *map(len, lists)])[:-1].astype(np.int64)
            lessons.append(Lesson(np.concatenate(lists).astype(np.int64), starts, own))
    return lessons


def _features(tokens: Tokens, text: int, n_buckets: int) -> list[tuple[int, ...]]:
    """The numbers of the features of each token of a text."""
    own = slice(tokens.first[text], tokens.first[text + 1])
    numbers = (tokens.word[own].tolist(), tokens.segment[own].tolist(), tokens.name[own].tolist())
    return [
        (
            *word_features(tokens.words[word], n_buckets),
            *segment_features(segment, n_buckets),
            *name_features(name, n_buckets),
        )
        for word, segment, name in zip(*numbers, strict=True)
    ]


def tags_of(example: Example, reading: Reading, tokens: Sequence[Span], is_complete: bool) -> Int64s:
    """The tags of a text's tokens, of which it takes where they stand.

    Aligned names are organisations. Where labels that could not be aligned are as many as the rules'
    organisations elsewhere in the text, those are taken for them. Where every label is accounted for, nothing
    else is an organisation; else what could be one is unknown.
    """
    own, unclear = _taken(example)
    free = [p for p in reading.pieces if p.segment and not _meets(p, own) and not _meets(p, unclear)]
    near = _near(example, free)
    own += [(p.start, p.end) for p in near]
    own += [s for s in example.held if not meet(s, own)]
    unsure = [s for s in example.unsure if not meet(s, own)]
    free = [p for p in free if p not in near and not _meets(p, own) and not _meets(p, unsure)]
    n_missing = example.n_labels - len(example.spans) - len(near)
    added = _as_many(example.text, reading, free, n_missing) if is_complete else None
    # One label is taken for all where the rules, too, see one organisation.
    is_known = (
        added is not None if is_complete else n_missing == 0 and len(reading.chosen) == example.n_labels
    )
    tags = np.full(len(tokens), OTHER if is_known else UNKNOWN, np.int64)
    for n, (start, end) in enumerate(tokens):
        if end - start == 1 and not example.text[start:end].isalnum():
            tags[n] = OTHER
    for piece in reading.pieces:
        known = _tag_of(piece, is_known)
        if known != UNKNOWN:
            _mark(tags, tokens, (piece.start, piece.end), known, known)
    for span in [*unclear, *unsure]:
        _mark(tags, tokens, span, UNKNOWN, UNKNOWN)
    for span in [*((p.start, p.end) for p in added or ()), *own]:
        _mark(tags, tokens, span, FIRST, INSIDE)
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


def _near(example: Example, free: Sequence[Piece]) -> list[Piece]:
    """For labels that no name was found of, the pieces that are spelt much like one of their names."""
    texts = [concept_text(compare(example.text[p.start : p.end])) for p in free]
    ways = []
    for n, names in enumerate(example.lacking):
        known = {concept_text(" ".join(name.keys)) for name in names if not name.is_acronym}
        for at, text in enumerate(texts):
            likeness = max((_likeness(text, name) for name in known), default=0.0)
            if likeness >= _LIKE:
                ways.append((-likeness, at, n))
    chosen: dict[int, int] = {}
    for _, at, n in sorted(ways):
        if at not in chosen and n not in chosen.values():
            chosen[at] = n
    return [free[at] for at in sorted(chosen)]


def _likeness(left: str, right: str) -> float:
    from rapidfuzz import fuzz

    return max(fuzz.token_sort_ratio(left, right), fuzz.token_set_ratio(left, right) - 10)


def _meets(piece: Piece, spans: Sequence[Span]) -> bool:
    return meet((piece.start, piece.end), spans)


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
