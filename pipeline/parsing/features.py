"""What the tagger sees of a text: its tokens, and hashed features of each and of the segment it stands in."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from pipeline.lexicon import Lexicon, keys_of
from pipeline.parsing.naming import JOINING
from pipeline.parsing.reading import Reading
from pipeline.places import Gazetteer

_MARKS = r",;:()\[\]{}\"“”„«»/\\|<>\-–—·•"
#: Words as `naming.TOKEN` has them, and every mark between them.
_TOKEN = re.compile(rf"[^\s{_MARKS}]+|[{_MARKS}]")
_MARK = re.compile(rf"[{_MARKS}]")
#: Lengths and counts above this look alike.
_MANY = 12


#: Of the piece that a token stands in: its kind, whether the rules chose it, whether it begins and ends with
#: the token, and how many pieces they chose; () for a token in none.
SegmentKey = tuple[str, bool, bool, bool, int] | tuple[()]


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of a text: where they stand, and what `word_features` and `segment_features` take."""

    span: list[tuple[int, int]]
    word: list[str]
    segment: list[SegmentKey]


def tokens_of(text: str, reading: Reading) -> Tokens:
    """A text and the rules' reading of it to its tokens."""
    found = list(_TOKEN.finditer(text))
    spans = [m.span() for m in found]
    return Tokens(spans, [m[0] for m in found], _segments(spans, reading))


def _segments(spans: Sequence[tuple[int, int]], reading: Reading) -> list[SegmentKey]:
    """For each token what the rules make of the segment that it stands in."""
    is_chosen = set(map(id, reading.chosen))
    n = min(len(reading.chosen), 4)
    keys: list[SegmentKey] = []
    pieces = iter(sorted(reading.pieces, key=lambda p: p.start))
    piece = next(pieces, None)
    for start, end in spans:
        while piece is not None and piece.end <= start:
            piece = next(pieces, None)
        if piece is None or start < piece.start:
            keys.append(())
        else:
            chosen = id(piece.segment) in is_chosen
            keys.append((piece.kind, chosen, start == piece.start, end == piece.end, n))
    return keys


@lru_cache(maxsize=200_000)
def word_features(word: str, n_buckets: int) -> tuple[int, ...]:
    """One token to the numbers of its features: its spelling, its shape, what the word lists know of it."""
    if _MARK.fullmatch(word):
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
def segment_features(key: SegmentKey, n_buckets: int) -> tuple[int, ...]:
    """What the rules make of a token's segment to the numbers of its features."""
    if not key:
        return ()
    kind, chosen, begins, ends, n = key
    names = [
        f"segment {kind} {chosen}",
        f"begins {begins} {chosen}",
        f"ends {ends} {chosen}",
        f"of {n} {chosen}",
    ]
    return _hashed([f"rules: {name}" for name in names], n_buckets)


def _hashed(names: Sequence[str], n_buckets: int) -> tuple[int, ...]:
    # CRC-32: the same on every machine, and even enough for a few thousand names.
    return tuple(zlib.crc32(name.encode("utf-8", "surrogatepass")) % n_buckets for name in names)


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
