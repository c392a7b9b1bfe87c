"""What the tagger sees of a text: its tokens, and hashed features of each and of the segment it stands in."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from pipeline.concepts import concept_tokens
from pipeline.known_names import KnownNames, hash_of
from pipeline.lexicon import Lexicon, keys_of
from pipeline.parsing.naming import JOINING
from pipeline.parsing.reading import Reading
from pipeline.places import Gazetteer
from pipeline.text import compare

_MARKS = r",;:()\[\]{}\"“”„«»/\\|<>\-–—·•"
#: Words as `naming.TOKEN` has them, and every mark between them.
_TOKEN = re.compile(rf"[^\s{_MARKS}]+|[{_MARKS}]")
_MARK = re.compile(rf"[{_MARKS}]")
#: Lengths and counts above this look alike.
_MANY = 12


#: Of the piece that a token stands in: its kind, whether the rules chose it, whether it begins and ends with
#: the token, and how many pieces they chose; () for a token in none.
SegmentKey = tuple[str, bool, bool, bool, int] | tuple[()]
#: What the table of known names says of a token, () where it says nothing: see `_look_up_names`.
NameKey = tuple[Any, ...]
#: Marks that part organisations more often than they stand in the name of one.
_PARTING = frozenset(",;:|()[]")


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of a text: where they stand, and what `word_features` and `segment_features` take."""

    span: list[tuple[int, int]]
    word: list[str]
    segment: list[SegmentKey]
    name: list[NameKey]


def tokens_of(readings: Sequence[Reading]) -> list[Tokens]:
    """The rules' readings of texts to the texts' tokens."""
    found = []
    for reading in readings:
        tokens = list(_TOKEN.finditer(reading.text))
        spans = [m.span() for m in tokens]
        found.append(Tokens(spans, [m[0] for m in tokens], _segments(spans, reading), [()] * len(spans)))
    _look_up_names(found, [r.location.country_code for r in readings])
    return found


def _look_up_names(texts: Sequence[Tokens], country: Sequence[str | None]) -> None:
    """Mark the known names in texts, the longest where two overlap."""
    names = KnownNames.load()
    hashes: list[int] = []
    text_of: list[int] = []
    token_of: list[int] = []
    for number, text in enumerate(texts):
        for n, word in enumerate(text.word):
            own = concept_hashes(word)
            hashes.extend(own)
            text_of.extend([number] * len(own))
            token_of.extend([n] * len(own))
            if len(own) == 1 and (row := single_name(own[0])) is not None:
                records = names.single.records(row)
                text.name[n] = ("one", word.isupper(), *_about(names, records, country[number]))
    if not hashes:
        return
    taken = np.zeros(len(hashes), np.bool_)
    for at, n, row in names.runs(np.array(hashes, np.uint64), np.array(text_of, np.int64)):
        if taken[at : at + n].any():
            continue
        taken[at : at + n] = True
        text, first, last = texts[text_of[at]], token_of[at], token_of[at + n - 1]
        about = _about(names, names.bag.records(row), country[text_of[at]])
        crosses = any(word in _PARTING for word in text.word[first + 1 : last])
        for token in range(first, last + 1):
            at_edge = (token == first, token == last)
            text.name[token] = ("run", min(n, 5), crosses, *at_edge, *about)


def _about(names: KnownNames, records: Sequence[int], country: str | None) -> tuple[int, str]:
    """How many records are called so (3 for more), and whether one of them is in the text's country."""
    places = [names.places[names.place[r]][0] for r in records]
    where = "unknown" if country is None else "here" if country in places else "elsewhere"
    return min(len(records), 3), where


@lru_cache(maxsize=200_000)
def concept_hashes(word: str) -> tuple[int, ...]:
    """One token to the hashes of its concept tokens."""
    return () if _MARK.fullmatch(word) else tuple(map(hash_of, concept_tokens(compare(word))))


@lru_cache(maxsize=1 << 16)
def known_records(text: str) -> tuple[int, ...]:
    """The records that a text as a whole is a name of, in the table of known names."""
    tokens = concept_tokens(compare(text))
    return KnownNames.load().named(tokens) if tokens else ()


def is_known(text: str) -> bool:
    """Whether a text as a whole is a name in the table of known names."""
    return bool(known_records(text))


@lru_cache(maxsize=200_000)
def single_name(hashed: int) -> int | None:
    """The row of a name of one token in the table of known names; None where it is none."""
    row = int(KnownNames.load().single.rows(np.array([hashed], np.uint64))[0])
    return row if row >= 0 else None


@lru_cache(maxsize=10_000)
def name_features(key: NameKey, n_buckets: int) -> tuple[int, ...]:
    """What the table of known names says of a token to the numbers of its features."""
    if not key:
        return ()
    if key[0] == "one":
        _, is_upper, n_records, where = key
        names = [f"one {is_upper} {n_records}", f"one {is_upper} {where}", f"one {n_records} {where}"]
    else:
        _, n, crosses, begins, ends, n_records, where = key
        edges = f"{begins} {ends}"
        names = [f"run {edges}", f"run {n} {edges}", f"run {crosses} {edges}"]
        names += [f"run {n_records} {edges}", f"run {where} {edges}"]
    return _hashed([f"known: {name}" for name in names], n_buckets)


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
