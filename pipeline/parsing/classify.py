"""What a segment names: an organisation of some class, a part of one, or an address."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from pipeline.lexicon import Head, Lexicon, keys_of
from pipeline.parsing.naming import (
    ACRONYM,
    JOINING,
    TOKEN,
    has_own_word,
    heads_in,
    keys_in,
    kind_of_acronym_before_unit,
    kind_of_acronym_name,
    trim_joining,
)
from pipeline.parsing.segments import Part
from pipeline.places import Gazetteer, strip_postcodes

#: The hospital or else the university that begins a name without spaces; what follows is a part of it.
_UNSPACED_NAME = re.compile(
    r"(.+(?:医院|醫院|病院|병원|โรงพยาบาล\S+)|.+?(?:大学|大學|대학교|과학기술원|มหาวิทยาลัย\S*))(?=\S|\s)\s*(.+)"
)
#: Head words of units that can be organisations of their own.
_PART = re.compile(
    r"cent(?:er|re|ro|rum)|zentrum|school|ecole|escuela|college|institute?|institut\w*|lab\w*|clinic|klinik"
    r"|medical|key|program|cluster|law|graduate|hub|core|business"
)
_STREET = re.compile(
    r"(?:str|strasse|straat|street|st|road|rd|avenue|ave|av|rue|via|viale|calle|blvd|boulevard|lane|drive|dr"
    r"|way|square|floor|building|bldg|box|bp|km|rua|avenida|carretera|ctra|piazza|plaza|place|allee|weg|platz"
    r"|gade|vej|gatan|vagen|ul|ulica|prospekt|cedex|campus|district|block|suite|cs|cp|cep|highway|parkway"
    r"|route|chemin|quai)"
)
_STREET_ENDS = ("strasse", "straat", "gatan", "gasse")


#: Distinct parts whose classes are remembered.
_CACHE_SIZE = 1 << 16


class Segment(NamedTuple):
    """A named thing in a text.

    Attributes:
        kind: a class of `pipeline.lexicon.CLASSES`, or acronym, unknown, part, topic, address.
        position: number of the part that it stands in; half a step before it where a unit followed.
        is_specific: whether the name has a word of its own (`University Hospital` has none).
    """

    text: str
    kind: str
    position: float
    acronyms: tuple[str, ...] = ()
    is_specific: bool = True


def classify(part: Part, position: float) -> list[Segment]:
    """A part to what it names: usually one thing, two for `Faculty of Medicine University of Porto`."""
    return [
        Segment(s.text, s.kind, s.position + position, s.acronyms, s.is_specific) for s in _classified(part)
    ]


@lru_cache(maxsize=_CACHE_SIZE)
def _classified(part: Part) -> tuple[Segment, ...]:
    """What a part names, as if it stood first: affiliations name the same things over and over."""
    return tuple(_acronym(part) or _unspaced(part) or _by_heads(part))


def _by_heads(part: Part) -> list[Segment]:
    """What a part names by the head words in it."""
    text = _without_trailing_places(strip_postcodes(part.text) or part.text)
    keys, heads = keys_in(text), heads_in(text)
    start = _name_behind_unit(heads, keys)
    if start:
        begin = _starts(text)[start]
        unit = trim_joining(text[:begin].strip(" -,"))
        rest = classify(Part(text[begin:], part.acronyms), 0.0)
        return [Segment(unit, "unit", 0.0), *rest]
    cut = _unit_behind_name(heads, keys)
    if cut:
        begin = _starts(text)[cut]
        name, unit = text[:begin].strip(" -,"), text[begin:]
        is_specific = has_own_word(keys[:cut])
        # A unit stands between the name and the place behind it, so the place is no campus of the name.
        found = Segment(name, "university", -0.5, part.acronyms, is_specific)
        return [found, Segment(unit, "unit", 0.0)]
    kind = _kind(heads, keys)
    return [Segment(text, kind, 0.0, part.acronyms, kind == "academy" or has_own_word(keys))]


def _starts(text: str) -> list[int]:
    """Where the compare tokens of a text begin."""
    return [m.start() for m in TOKEN.finditer(text) for _ in keys_of(m[0])]


def _acronym(part: Part) -> list[Segment]:
    """`CERN`, `ETH Zurich` or `UCSD School of Medicine`; none for anything else."""
    text = strip_postcodes(part.text) or part.text
    if text.isupper() and ACRONYM.fullmatch(text):
        known = Lexicon.load().acronyms.get(text.replace(".", "").replace("-", ""), "acronym")
        # An institute that is known by its acronym alone (CERN, EMBL) is no part of another.
        return [Segment(text, "academy" if known == "institute" else known, 0.0, (text,))]
    if kind := kind_of_acronym_name(part.text):
        return [Segment(part.text, kind, 0.0, part.acronyms)]
    if kind := kind_of_acronym_before_unit(part.text):
        first, _, unit = part.text.partition(" ")
        return [Segment(first, kind, 0.0, (first,)), Segment(unit, "unit", 0.0)]
    return []


def _unspaced(part: Part) -> list[Segment]:
    """`清华大学材料学院` is a school of a university; none for a name with spaces."""
    found = _UNSPACED_NAME.match(part.text)
    if not found:
        return []
    keys = keys_of(found[1])
    kind = _kind(Lexicon.load().heads(keys), keys)
    return [Segment(found[1], kind, 0.0, part.acronyms), Segment(found[2].strip(), "unit", 0.0)]


def _without_trailing_places(text: str) -> str:
    """`Royal Marsden Hospital London UK` without its places; `Queen's University Belfast` stays."""
    rest, places = Gazetteer.load().strip_trailing_places(text)
    if not places:
        return text
    keys = keys_in(rest)
    if not has_own_word(keys):
        return text
    if len(places) > 1:
        return rest if any(p.kind != "city" for p in places) else text
    if places[0].kind == "city":
        return rest if set(keys_in(text[len(rest) :])) <= set(keys) else text
    # A lone country may end a name (`Universidad Autonoma Mexico`), unless a head word ends it already.
    return rest if places[0].kind == "country" and Lexicon.load().kind_of_word(keys[-1]) else text


def _kind(heads: Sequence[Head], keys: Sequence[str]) -> str:
    """What a segment with these heads names."""
    kinds = {h.kind for h in heads}
    for kind in ("hospital", "university", "academy"):
        if kind in kinds:
            return kind
    if heads and heads[0].kind == "unit" and heads[0].start <= 1:
        return "part" if _PART.fullmatch(keys[heads[0].start]) else "unit"
    if heads and heads[-1].end == len(keys) and heads[-1].kind in ("company", "unit"):
        last = keys[heads[-1].start :]
        is_part = any(_PART.fullmatch(k) for k in last)
        return "company" if heads[-1].kind == "company" else "part" if is_part else "unit"
    for kind in ("institute", "college", "agency"):
        if kind in kinds:
            return kind
    if heads:
        # `Princess Máxima Center for Oncology` has a name of its own, `Food Chemistry Group` has none.
        return "college" if has_own_word(keys[: heads[0].start]) else "unit"
    return _kind_without_head(keys)


def _kind_without_head(keys: Sequence[str]) -> str:
    lexicon = Lexicon.load()
    has_number = any(any(c.isdigit() for c in k) for k in keys)
    has_street = any(_STREET.fullmatch(k) or k.endswith(_STREET_ENDS) for k in keys)
    if has_street or (has_number and len(keys) <= 3):
        return "address"
    content = [k for k in keys if k not in JOINING]
    is_topic = all(lexicon.is_subject(k) or k.isdigit() for k in content)
    return "topic" if is_topic else "unknown"


def _name_behind_unit(heads: Sequence[Head], keys: Sequence[str]) -> int:
    """Where the name begins in `Faculty of Medicine University of Porto`; 0 where no unit leads."""
    strong = [h for h in heads if h.kind in ("hospital", "university", "academy")]
    if not strong or heads[0].kind != "unit" or heads[0].start > 1:
        return 0
    start = _name_start(keys, strong[0])
    return start if start > heads[0].end else 0


def _name_start(keys: Sequence[str], head: Head) -> int:
    """First token of the name around `head`, walking left over what can belong to a name."""
    lexicon = Lexicon.load()
    start = head.start
    while start > 0:
        key = keys[start - 1]
        if key in JOINING or (lexicon.is_subject(key) and key not in lexicon.adjectives):
            break
        if lexicon.kind_of_word(key) == "unit":
            break
        start -= 1
    return start


def _unit_behind_name(heads: Sequence[Head], keys: Sequence[str]) -> int:
    """Where a unit begins in `Indiana University School of Medicine`; 0 where none follows a university."""
    kinds = {h.kind for h in heads}
    if "university" not in kinds or "hospital" in kinds:
        return 0
    first = next(h for h in heads if h.kind == "university")
    for h in heads:
        if h.start < first.end or h.kind not in ("unit", "college", "institute"):
            continue
        if h.start > first.end and keys[h.start - 1] in JOINING:
            continue
        if h.start == first.end and first.start == 0:
            continue
        # `Northwestern University Feinberg School`: the name ends with its head, unless that leads.
        leads = first.start == 0 or (first.end < len(keys) and keys[first.end] in JOINING)
        return h.start if leads else first.end
    return 0
