"""What the tagger sees of texts: their tokens, and hashed features of each and of the segment it stands in.

Texts are worked on many at a time: what depends on a word alone is done once a word, the rest in columns.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.lexicon import Lexicon, keys_of
from pipeline.parsing.marking import NAMES, NameKey, NameMarks
from pipeline.parsing.naming import JOINING, MARK, MARKS
from pipeline.parsing.reading import PLACE, STRENGTH, Reading
from pipeline.places import Gazetteer

Int64s = npt.NDArray[np.int64]

#: Blanks, words as `naming.TOKEN` has them, and every mark between them: the whole of a text, piece by piece.
_PIECE = re.compile(rf"\s+|[^\s{MARKS}]+|[{MARKS}]")
#: Lengths and counts above this look alike.
_MANY = 12
#: The same of organisations that the rules chose.
_MANY_CHOSEN = 4

#: Of the piece that a token stands in: its kind, whether the rules chose it, how many pieces they chose,
#: whether it begins and ends with the token; () for a token in none.
SegmentKey = tuple[str, bool, int, bool, bool] | tuple[()]
_KINDS = (*STRENGTH, PLACE)
_EITHER = (False, True)
#: By number all that the rules can make of a token's segment.
SEGMENTS: list[SegmentKey] = [(), *product(_KINDS, _EITHER, range(_MANY_CHOSEN + 1), _EITHER, _EITHER)]
_SEGMENT_NUMBER = {key: n for n, key in enumerate(SEGMENTS)}
#: What is added to the number of a segment's inner tokens for its first and for its last one.
_BEGINS, _ENDS = 2, 1


@dataclass(frozen=True)
class Tokens:
    """The tokens of texts, one text after the other.

    Attributes:
        first: where the tokens of each text begin, and where the last one's end, shape (n_texts + 1,).
        start, end: where each token stands in its text, shape (n,).
        words: the distinct words.
        word, segment, name: number of each token's word in `words`, of what the rules make of its segment in
            `SEGMENTS`, and of what the table of known names says of it in `NAMES`; shape (n,).
    """

    first: Int64s
    start: Int64s
    end: Int64s
    words: list[str]
    word: Int64s
    segment: Int64s
    name: Int64s

    @property
    def n_tokens(self) -> Int64s:
        """How many tokens each text has."""
        return np.diff(self.first)

    @property
    def text_of(self) -> Int64s:
        """The number of the text that each token stands in."""
        return np.repeat(np.arange(len(self.first) - 1), self.n_tokens)

    def spans(self, text: int) -> list[tuple[int, int]]:
        """Where the tokens of one text stand."""
        own = slice(self.first[text], self.first[text + 1])
        return list(zip(self.start[own].tolist(), self.end[own].tolist(), strict=True))


class _Cut(NamedTuple):
    """Tokens before anything is known of them; `offset` is where each text begins among all characters."""

    offset: Int64s
    first: Int64s
    start: Int64s
    end: Int64s
    words: list[str]
    word: Int64s


def tokens_of(readings: Sequence[Reading], marks: NameMarks | None = None) -> Tokens:
    """The rules' readings of texts to the texts' tokens, marked by the table in the package or another."""
    cut = _cut([r.text for r in readings])
    segment = _segments(readings, cut)
    marks = marks or NameMarks.load()
    text_of = np.repeat(np.arange(len(readings)), np.diff(cut.first))
    name = marks.numbers(cut.words, cut.word, text_of, [r.location.country_code for r in readings])
    begins = cut.offset[text_of]
    return Tokens(cut.first, cut.start - begins, cut.end - begins, cut.words, cut.word, segment, name)


def _cut(texts: Sequence[str]) -> _Cut:
    # A line feed is a blank, so that no token reaches from one text into the next.
    pieces = _PIECE.findall("\n".join(texts))
    words = [piece for piece in dict.fromkeys(pieces) if not piece.isspace()]
    number = {word: n for n, word in enumerate(words)}
    word = np.fromiter((number.get(piece, -1) for piece in pieces), np.int64, len(pieces))
    length = np.fromiter(map(len, pieces), np.int64, len(pieces))
    is_token = word >= 0
    end = np.cumsum(length)[is_token]
    start = end - length[is_token]
    offset = np.cumsum([0, *(len(text) + 1 for text in texts)])
    return _Cut(offset, np.searchsorted(start, offset), start, end, words, word[is_token])


def _segments(readings: Sequence[Reading], cut: _Cut) -> Int64s:
    """For each token the number of what the rules make of the segment that it stands in."""
    pieces: list[tuple[int, int, int]] = []
    for reading, offset in zip(readings, cut.offset.tolist(), strict=False):
        is_chosen = set(map(id, reading.chosen))
        n = min(len(reading.chosen), _MANY_CHOSEN)
        for piece in sorted(reading.pieces, key=lambda p: p.start):
            number = _SEGMENT_NUMBER[piece.kind, id(piece.segment) in is_chosen, n, False, False]
            pieces.append((offset + piece.start, offset + piece.end, number))
    start, end, number = np.array([*pieces, (cut.offset[-1], cut.offset[-1], 0)], np.int64).T
    # Where pieces overlap the first one has the token.
    at = np.searchsorted(np.maximum.accumulate(end), cut.start, side="right")
    begins, ends = start[at] == cut.start, end[at] == cut.end
    return np.where(start[at] <= cut.start, number[at] + _BEGINS * begins + _ENDS * ends, 0)


@lru_cache(maxsize=200_000)
def word_features(word: str, n_buckets: int) -> tuple[int, ...]:
    """One token to the numbers of its features: its spelling, its shape, what the word lists know of it."""
    if MARK.fullmatch(word):
        return _hashed((f"mark {word}", "mark"), n_buckets)
    keys = keys_of(word) or (word.lower(),)
    first, last, key = keys[0], keys[-1], " ".join(keys)
    lexicon = Lexicon.load()
    names = ["word", f"word {key}", f"shape {_shape(word)}", f"length {min(len(key), _MANY)}"]
    names += [f"begins {first[:3]}", f"begins {first[:4]}", f"ends {last[-3:]}", f"ends {last[-4:]}"]
    names += [f"head {kind}" for k in dict.fromkeys((first, last)) if (kind := lexicon.kind_of_word(k))]
    names += ["subject"] if lexicon.is_subject(first) else []
    names += ["adjective"] if first in lexicon.adjectives else []
    names += ["joining"] if key in JOINING else []
    names += ["full stop"] if word.endswith(".") else []
    acronym = lexicon.acronyms.get(word.replace(".", "").upper())
    names += [f"acronym {acronym}"] if acronym else []
    places = {(p.kind, p.needs_support) for p in Gazetteer.load().lookup(word)}
    return _hashed([*names, *(f"place {kind} {weak}" for kind, weak in sorted(places))], n_buckets)


@lru_cache(maxsize=10_000)
def segment_features(number: int, n_buckets: int) -> tuple[int, ...]:
    """What the rules make of a token's segment, a number of `SEGMENTS`, to the numbers of its features."""
    key = SEGMENTS[number]
    if not key:
        return ()
    kind, chosen, n, begins, ends = key
    names = [
        f"segment {kind} {chosen}",
        f"begins {begins} {chosen}",
        f"ends {ends} {chosen}",
        f"of {n} {chosen}",
    ]
    return _hashed([f"rules: {name}" for name in names], n_buckets)


@lru_cache(maxsize=10_000)
def name_features(number: int, n_buckets: int) -> tuple[int, ...]:
    """What the table of known names says of a token, a number of `NAMES`, to the numbers of its features."""
    key: NameKey = NAMES[number]
    if not key:
        return ()
    if key[0] == "one":
        _, is_upper, n_records, where = key
        names = [f"one {is_upper} {n_records}", f"one {is_upper} {where}", f"one {n_records} {where}"]
    else:
        _, n, crosses, n_records, where, begins, ends = key
        edges = f"{begins} {ends}"
        names = [f"run {edges}", f"run {n} {edges}", f"run {crosses} {edges}"]
        names += [f"run {n_records} {edges}", f"run {where} {edges}"]
    return _hashed([f"known: {name}" for name in names], n_buckets)


def _hashed(names: Sequence[str], n_buckets: int) -> tuple[int, ...]:
    # CRC-32: the same on every machine, and even enough for a few thousand names.
    return tuple([zlib.crc32(name.encode("utf-8", "surrogatepass")) % n_buckets for name in names])


def _shape(word: str) -> str:
    if word.isdigit():
        return f"digits {min(len(word), 6)}"
    if any(c.isdigit() for c in word):
        return "capitals with digits" if word == word.upper() else "with digits"
    if word.isupper():
        return f"capitals {min(len(word), 7)}"
    if word.islower():
        return "small"
    if word[0].isupper():
        return "capitalised" if word[1:].islower() else "mixed, capital first"
    return "mixed"
