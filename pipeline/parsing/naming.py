"""What a piece of text looks like: its tokens, its head words, whether it names something of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from pipeline.lexicon import Head, Lexicon, keys_of

#: What stands between words, as the inside of a regular expression's brackets.
MARKS = r",;:()\[\]{}\"“”„«»/\\|<>\-–—·•"
MARK = re.compile(rf"[{MARKS}]")
#: Not `\w`: that cuts Indic and Thai words at their vowel signs.
TOKEN = re.compile(rf"[^\s{MARKS}]+")
ACRONYM = re.compile(r"[A-Z][A-Za-z]?[A-Z0-9&.\-]{1,9}")
JOINING = frozenset(
    [
        "of",
        "the",
        "for",
        "and",
        "in",
        "at",
        "de",
        "la",
        "du",
        "des",
        "del",
        "della",
        "di",
        "der",
        "die",
        "und",
        "fur",
        "et",
        "y",
        "e",
        "da",
        "do",
        "van",
        "zu",
        "an",
        "on",
    ]
)
#: Acronyms too short to name an organisation alone, but not before its place.
_LEADING_ACRONYMS = {
    **dict.fromkeys(
        ("TU", "UC", "KU", "VU", "FU", "HU", "UT", "TH", "FH", "LMU", "ETH", "IIT", "NIT"), "university"
    ),
    "UZ": "hospital",
}


@lru_cache(maxsize=1 << 16)
def keys_in(text: str) -> tuple[str, ...]:
    """The compare tokens of a text."""
    return tuple([k for t in TOKEN.findall(text) for k in keys_of(t)])


@lru_cache(maxsize=1 << 16)
def heads_in(text: str) -> tuple[Head, ...]:
    """The head words of a text; positions count compare tokens."""
    return tuple(Lexicon.load().heads(keys_in(text)))


def has_own_word(keys: Sequence[str]) -> bool:
    """Whether a name has a word beside head words and subjects: `University Hospital` has none."""
    return any(map(_is_own, keys))


@lru_cache(maxsize=200_000)
def _is_own(key: str) -> bool:
    """Whether a word is no head word, no subject, and joins nothing."""
    lexicon = Lexicon.load()
    is_content = len(key) > 1 and key not in JOINING
    return is_content and not lexicon.is_subject(key) and not lexicon.kind_of_word(key)


def names_organization(text: str) -> bool:
    """Whether a text has a strong head word and a word of its own beside it."""
    kinds = {h.kind for h in heads_in(text)}
    strong = ("hospital", "university", "academy", "institute")
    return has_own_word(keys_in(text)) and not kinds.isdisjoint(strong)


def starts_as_unit(text: str) -> bool:
    """Whether a text begins with the head of a unit (`Department of …`)."""
    heads = heads_in(text)
    return bool(heads) and heads[0].kind == "unit" and heads[0].start <= 1


def kind_of_acronym_name(text: str) -> str | None:
    """Class of a name that an acronym leads (`ETH Zurich`, `TU München`, `UC Berkeley`), else None."""
    first, _, rest = text.partition(" ")
    first = first.replace(".", "")
    if not rest or not first.isupper() or heads_in(rest):
        return None
    kind = _LEADING_ACRONYMS.get(first) or Lexicon.load().acronyms.get(first)
    return kind if kind in ("university", "hospital") else None


def kind_of_acronym_before_unit(text: str) -> str | None:
    """Class of a university's acronym before a part of it (`UCSD School of Medicine`), else None."""
    first, _, rest = text.partition(" ")
    if not rest or not first.isupper() or Lexicon.load().acronyms.get(first) != "university":
        return None
    heads = heads_in(rest)
    return "university" if heads and all(h.kind != "hospital" for h in heads) else None


def trim_joining(text: str) -> str:
    """A text without joining words at its end."""
    words = text.split()
    while len(words) > 1 and (keys_of(words[-1]) or ("of",))[0] in JOINING:
        words.pop()
    return " ".join(words)
