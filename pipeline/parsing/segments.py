"""Where a text parts into segments: at its punctuation, and at `and` or a dash between two organisations."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from pipeline.lexicon import Lexicon, keys_of
from pipeline.parsing.naming import ACRONYM, names_organization, starts_as_unit
from pipeline.text import abbreviations, strip_accents

_BREAK = re.compile(r"[,;|>\n•·]+\s*|[:：]\s+")
#: What may part two organisations, and may also stand inside the name of one.
_CONJUNCTION = re.compile(r"\s+(?:[-–—/]+|and|et|und|y|e|&|och|og|en|i)\s+|/")
#: Words before the number of a university (`Université Lyon 1`) or of a room: no footnote mark.
_NUMBERED = (
    *("paris", "lyon", "bordeaux", "toulouse", "lille", "rennes", "grenoble", "montpellier", "strasbourg"),
    *(
        "nancy",
        "marseille",
        "provence",
        "nice",
        "roma",
        "torino",
        "napoli",
        "no",
        "building",
        "room",
        "floor",
    ),
)
#: A footnote mark where the next affiliation begins: `University of Pavia 3 Department of Surgery`.
_INNER_MARK = re.compile(r"(?<![^\W\d_])([^\W\d_]+)\s+\d{1,2}\s*(?=,|[A-Z][a-z]+ )")
_FULL_STOP = re.compile(r"(\b[^\W\d_]{5,})\.\s+(?=[^\W\d_a-z])")
_LEADING = re.compile(
    r"^(?:(?:and|et|und|the|at|from|of|in|&|(?:now|currently|presently|also|on leave) (?:at|from)"
    r"|(?:corporate )?member of(?: the)?)\s+(?=\w))+",
    re.IGNORECASE,
)
_JOINED_ACRONYMS = re.compile(r"\s*[A-Z]{2,8}(?:[-/–][A-Z]{2,8})+\s*")
_PARENTHESES = re.compile(r"[(\[{]([^()\[\]{}]{1,200})[)\]}]")
_MARK = re.compile(r"\x00(\d+)\x00")
_MARKED = re.compile(r"\s*\x00\d+\x00\s*")
_DIGIT = re.compile(r"\s\d")


class Part(NamedTuple):
    """A segment, and the acronyms that stood in parentheses behind it."""

    text: str
    acronyms: tuple[str, ...] = ()


def split_text(text: str) -> list[Part]:
    """A cleaned text to its segments, in order; what stands in parentheses follows its segment."""
    asides: list[str] = []

    def note(match: re.Match[str]) -> str:
        asides.append(match[1].strip())
        return f" \x00{len(asides) - 1}\x00 "

    parts: list[Part] = []
    for raw in _pieces(_PARENTHESES.sub(note, text)):
        if not asides:
            if own := _bare(raw):
                parts.append(Part(own))
            continue
        marks = [asides[int(n)] for n in _MARK.findall(raw)]
        own = _bare(_MARKED.sub(" ", raw))
        if own:
            parts.append(Part(own, tuple(m for m in marks if ACRONYM.fullmatch(m))))
        for mark in marks:
            if not ACRONYM.fullmatch(mark):
                parts.extend(Part(p) for p in (x.strip(" .-") for x in _broken(mark)) if len(p) > 1)
    return _join_company_suffix(parts)


@lru_cache(maxsize=1 << 16)
def _bare(text: str) -> str:
    """A segment without marks at its ends and words that lead to a name."""
    return _LEADING.sub("", text.strip(" .-–/\"'()[]{}"))


def _pieces(text: str) -> list[str]:
    if _DIGIT.search(text):
        text = _INNER_MARK.sub(_comma_for_mark, text)
    if "." in text:
        text = _FULL_STOP.sub(_comma_for_stop, text)
    return [piece for part in _broken(text) for piece in _parted(part)]


def _broken(text: str) -> list[str]:
    """A text without the marks that part segments, and the blanks around them."""
    *before, last = _BREAK.split(text)
    return [*[part.rstrip() for part in before], last]


@lru_cache(maxsize=1 << 16)
def _parted(part: str) -> tuple[str, ...]:
    """What stands between two marks, parted where it names two organisations."""
    if _JOINED_ACRONYMS.fullmatch(part):
        return tuple(re.split(r"[-/–]", part))
    return tuple(_split_conjunction(part))


def _comma_for_mark(match: re.Match[str]) -> str:
    return match[0] if match[1].casefold() in _NUMBERED else f"{match[1]}, "


def _comma_for_stop(match: re.Match[str]) -> str:
    """A full stop behind a word that is no abbreviation parts two segments."""
    return match[0] if strip_accents(match[1].casefold()) in abbreviations()[0] else f"{match[1]}, "


def _split_conjunction(part: str) -> list[str]:
    """`Sorbonne Université and Université de Lille` is two; `Brigham and Women's Hospital` is one."""
    for joint in _CONJUNCTION.finditer(part):
        left, right = part[: joint.start()], part[joint.end() :]
        is_name = names_organization(left) or left.strip() in Lexicon.load().acronyms
        if is_name and (names_organization(right) or joint[0].strip() in "-–—/"):
            return [left, *_split_conjunction(right)] if _stands_alone(right) else [part]
    return [part]


def _stands_alone(text: str) -> bool:
    """`– Paraná` belongs to the name before it, `– CNRS` does not."""
    return names_organization(text) or bool(ACRONYM.fullmatch(text.strip())) or starts_as_unit(text)


def _join_company_suffix(parts: list[Part]) -> list[Part]:
    """`Cytokinetics`, `Inc` is one name."""
    words = Lexicon.load().words
    joined: list[Part] = []
    for part in parts:
        keys = keys_of(part.text) if len(part.text) < 14 else ()
        if joined and len(keys) == 1 and words.get(keys[0]) == "company":
            joined[-1] = joined[-1]._replace(text=f"{joined[-1].text}, {part.text}")
        else:
            joined.append(part)
    return joined
