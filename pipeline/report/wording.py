"""How values read in the report: numbers, shares, durations, dates, shortened strings, differing words."""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime

#: What the rules that propose pairs are called in the report; an unknown rule is shown by its own name.
RULE_NAMES = {
    "neighbours": "similar text",
    "same_form": "same text once tidied",
    "organization_neighbours": "similar organisation name",
    "acronym_place": "same acronym and place",
    "shared_key": "shared identifier",
    "between_groups": "near clusters",
    "known_name": "names of one known record",
}

#: What features are called in the report; an unknown feature is shown by its own name.
FEATURE_NAMES = {
    "organization_ratio": "spelling of the names",
    "organization_token_sort": "words of the names in any order",
    "organization_token_set": "common words of the names",
    "organization_partial": "one name inside the other",
    "organization_prefix": "beginning of the names",
    "context_token_set": "common words of the strings",
    "organization_shared": "rare words in both names",
    "organization_shared_rarest": "rarest word in both names",
    "organization_jaccard": "share of words in both names",
    "organization_containment": "how much of one name the other has",
    "organization_lacking_more": "words that one string lacks",
    "organization_lacking_less": "words that both strings lack",
    "organization_rarest_lacking_more": "rarest word that one string lacks",
    "organization_rarest_lacking_less": "rarest words that both strings lack",
    "context_jaccard": "share of words in both strings",
    "context_shared_rarest": "rarest word in both strings",
    "unit_jaccard": "departments",
    "country": "country",
    "region": "region",
    "city": "city",
    "numbers": "numbers in the names",
    "modifiers_differ": "fields and compass words",
    "only_modifiers_differ": "only fields or compass words differ",
    "words_differ": "number of differing words",
    "acronym": "acronyms",
    "same_organization": "same name",
    "same_class": "kind of institution",
    "n_with_organization": "whether both name an organisation",
    "weight_of_less": "how telling the names are",
    "n_main": "main organisation or partner",
    "known_country": "country, as known of the names",
    "known_city": "city, as known of the names",
    "known_organization": "names known to be one organisation's or two",
    "known_related": "names known to be of related organisations",
    "n_known": "whether the names are known",
    "n_known_within": "whether parts of the names are known",
    "known_shared": "known organisations in both strings",
    "known_elsewhere": "one string names the other's organisation",
    "known_as_two": "names known to be of two unrelated organisations",
}

# Control characters, lone surrogates and the noncharacters of HTML: they would break or scramble the page.
_UNSHOWABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
# Scripts without spaces are compared a character at a time; elsewhere a word runs between separators.
_UNSPACED = "\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_SEPARATORS = r"\s!-/:-@\[-`{-~\u00ab\u00b7\u00bb\u060c\u061b\u0964\u2000-\u206f\u3000-\u303f\uff00-\uff0f"
_WORD = re.compile(f"[{_UNSPACED}]|[^{_UNSPACED}{_SEPARATORS}]+")
# Between two marked words these are marked too, so that a phrase reads as one.
_JOINTS = frozenset({"", " ", "-", "'", "’"})
# Words beyond this many characters are not compared: a string of megabytes must not hold up the report.
_COMPARED_CHARACTERS = 3000


@dataclass(frozen=True)
class Piece:
    """A stretch of a string; `is_marked` where the other string of the pair lacks these words."""

    text: str
    is_marked: bool


def is_missing(value: object) -> bool:
    """True for None, NaN and the missing value of pandas."""
    return value is None or type(value).__name__ in {"NAType", "NaTType"} or value != value


def shorten(value: object, n_characters: int) -> str:
    """A value as text of at most `n_characters` (cut with "…"), on one line; "" where it is missing."""
    if is_missing(value):
        return ""
    head = str(value)[: 4 * n_characters]
    line = " ".join(_UNSHOWABLE.sub("\ufffd", head).split())
    is_cut = len(line) > n_characters or len(head) < len(str(value))
    return line[: n_characters - 1].rstrip() + "…" if is_cut else line


def as_number(value: object) -> float:
    """A value as a float; NaN where it is missing or no number."""
    if isinstance(value, bool) or is_missing(value):
        return math.nan
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.nan


def count(value: object) -> str:
    """A count with thousands separated, "12,345"; "–" where it is missing."""
    number = as_number(value)
    return f"{number:,.0f}" if math.isfinite(number) else "–"


def counted(value: object, noun: str) -> str:
    """A count with its noun, "1 string", "2,000 strings"."""
    return f"{count(value)} {noun}{'' if as_number(value) == 1 else 's'}"


def percent(share: float) -> str:
    """A share from 0 to 1 as a percentage that says 0% and 100% only where that is exact; "–" for NaN."""
    if math.isnan(share):
        return "–"
    if 0 < share < 0.01:
        return "<1%"
    if 0.99 < share < 1:
        return ">99%"
    return f"{share:.0%}"


def sureness(probability: float) -> str:
    """A probability as one of the words sure, likely, unsure, unknown (also a class of the style sheet)."""
    if math.isnan(probability):
        return "unknown"
    shown = round(probability, 2)
    return "sure" if shown >= 0.95 else "likely" if shown >= 0.8 else "unsure"


def duration(seconds: float) -> str:
    """Seconds as people say them: "0.4 s", "12 s", "3 min 5 s", "2 h 10 min"; "–" for NaN."""
    if math.isnan(seconds):
        return "–"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return "{} h {} min".format(*divmod(minutes, 60))


def moment(value: object) -> str:
    """An ISO 8601 moment as "20 November 2026, 18:41 UTC"; anything else as it is, cut at 60 characters."""
    try:
        at = datetime.fromisoformat(str(value))
    except ValueError:
        return shorten(value, 60)
    zone = at.tzname()
    return f"{at.day} {at:%B %Y, %H:%M}{' ' + zone if zone else ''}"


def rule_names(rule: object) -> list[str]:
    """The rules of a pair ("neighbours+same_form") in plain words."""
    parts = shorten(rule, 200).split("+")
    return [RULE_NAMES.get(part, part.replace("_", " ").strip()) for part in parts if part.strip()]


def feature_name(feature: str) -> str:
    """A feature, or two of them ("city × country"), in plain words."""
    parts = (part.strip() for part in feature.split("×"))
    return " and ".join(FEATURE_NAMES.get(part, part.replace("_", " ")) for part in parts)


def mark_differences(left: object, right: object, n_characters: int) -> tuple[list[Piece], list[Piece]]:
    """Two strings as pieces, the words marked that the other lacks; case and character width do not count.

    Strings without a common word (two scripts, say) are not marked: all of it would be.
    """
    left_words, right_words = _words(left), _words(right)
    if not left_words & right_words:
        left_words = right_words = left_words | right_words
    return _marked(left, right_words, n_characters), _marked(right, left_words, n_characters)


def _words(value: object) -> set[str]:
    return {_folded(word) for word in _WORD.findall(shorten(value, _COMPARED_CHARACTERS))}


def _folded(word: str) -> str:
    return unicodedata.normalize("NFKC", word).casefold()


def _marked(value: object, other: set[str], n_characters: int) -> list[Piece]:
    text = shorten(value, n_characters)
    spans: list[tuple[int, int]] = []
    for word in _WORD.finditer(text):
        is_cut = text.endswith("…") and word.end() == len(text) - 1
        if is_cut or _folded(word.group()) in other:
            continue
        if spans and text[spans[-1][1] : word.start()] in _JOINTS:
            spans[-1] = (spans[-1][0], word.end())
        else:
            spans.append(word.span())
    pieces, done = [], 0
    for start, end in spans:
        pieces += [Piece(text[done:start], False), Piece(text[start:end], True)]
        done = end
    return [piece for piece in [*pieces, Piece(text[done:], False)] if piece.text]
