"""What the tagger sees of a text: its tokens, and hashed features of each and of the segment it stands in."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
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
#: What the table of known names says of a token, () where it says nothing: see `_known_names`.
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
    spans = [[m.span() for m in _TOKEN.finditer(r.text)] for r in readings]
    words = [[r.text[a:b] for a, b in own] for r, own in zip(readings, spans, strict=True)]
    names = _known_names(words, [r.location.country_code for r in readings])
    found, at = [], 0
    for reading, own, texts in zip(readings, spans, words, strict=True):
        found.append(Tokens(own, texts, _segments(own, reading), names[at : at + len(own)]))
        at += len(own)
    return found


def _known_names(words: Sequence[Sequence[str]], country: Sequence[str | None]) -> list[NameKey]:
    """The words of texts to what the table of known names says of them; of names that overlap the longest."""
    table, flat = KnownNames.load(), [word for own in words for word in own]
    found: list[NameKey] = [()] * len(flat)
    text_of = np.repeat(np.arange(len(words)), [len(own) for own in words])
    for n, word in enumerate(flat):
        if (records := single_name(word)) is not None:
            found[n] = ("one", word.isupper(), *_about(table, records, country[int(text_of[n])]))
    concepts = [concept_hashes(word) for word in flat]
    hashes = np.array(list(chain.from_iterable(concepts)), np.uint64)
    word_of = np.repeat(np.arange(len(flat)), [len(own) for own in concepts])
    taken = np.zeros(len(hashes), np.bool_)
    for at, n, row in table.runs(hashes, text_of[word_of]):
        if taken[at : at + n].any():
            continue
        taken[at : at + n] = True
        first, last = int(word_of[at]), int(word_of[at + n - 1])
        about = _about(table, table.bag.records(row), country[int(text_of[first])])
        crosses = not _PARTING.isdisjoint(flat[first + 1 : last])
        for token in range(first, last + 1):
            found[token] = ("run", min(n, 5), crosses, token == first, token == last, *about)
    return found


def _about(names: KnownNames, records: Sequence[int], country: str | None) -> tuple[int, str]:
    """How many records are called so (3 for more), and whether one of them is in the text's country."""
    places = [names.places[names.place[r]][0] for r in records]
    where = "unknown" if country is None else "here" if country in places else "elsewhere"
    return min(len(records), 3), where


@lru_cache(maxsize=200_000)
def concept_hashes(word: str) -> tuple[int, ...]:
    """One token to the hashes of its concept tokens."""
    return () if _MARK.fullmatch(word) else tuple(map(hash_of, concept_tokens(" ".join(keys_of(word)))))


@lru_cache(maxsize=1 << 16)
def known_records(text: str) -> tuple[int, ...]:
    """The records that a text as a whole is a name of, in the table of known names."""
    tokens = concept_tokens(compare(text))
    return KnownNames.load().named(tokens) if tokens else ()


def is_known(text: str) -> bool:
    """Whether a text as a whole is a name in the table of known names."""
    return bool(known_records(text))


@lru_cache(maxsize=200_000)
def single_name(word: str) -> tuple[int, ...] | None:
    """The records that a token alone is a name of; None where it is none."""
    own = concept_hashes(word)
    if len(own) != 1:
        return None
    single = KnownNames.load().single
    row = single.row_of.get(own[0])
    return None if row is None else single.records(row)


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
    keys: list[SegmentKey] = [()] * len(spans)
    at = 0
    for piece in sorted(reading.pieces, key=lambda p: p.start):
        while at < len(spans) and spans[at][0] < piece.start:
            at += 1
        kind, chosen = piece.kind, id(piece.segment) in is_chosen
        inside = (kind, chosen, False, False, n)
        while at < len(spans) and (start := spans[at][0]) < piece.end:
            end = spans[at][1]
            at_edge = start == piece.start or end == piece.end
            keys[at] = (kind, chosen, start == piece.start, end == piece.end, n) if at_edge else inside
            at += 1
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
