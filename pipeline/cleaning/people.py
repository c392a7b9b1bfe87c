"""Names of people in affiliations, set aside only where there is no doubt: hospitals bear names too."""

from __future__ import annotations

import csv
import re
from functools import lru_cache
from importlib.resources import files

from pipeline.lexicon import Lexicon, keys_of
from pipeline.text import strip_accents

_MAX_NAME = 60
_MAX_ORGANIZATION_PREFIX = 400
_PARTICLES = frozenset(
    {"al", "bin", "da", "de", "del", "den", "der", "di", "dos", "el", "la", "le", "van", "von"}
)
_INITIALS = re.compile(r"(?:[A-Z]\.?-?){1,3}")
_NAME_WORD = re.compile(r"[^\W\d_a-z][^\W\d_]*(?:['-][^\W\d_]+){0,3}")
_HEAD_OF = re.compile(
    r",\s?(?:director|head|chair(?:man)?|chief|diret(?:to|ta) da(?:l|lla)?)\s?:?\s", re.IGNORECASE
)
_BRACKETS = re.compile(r"\s?\(([^()]{2,400})\)")
_BRACKET_HINT = re.compile(r"\((?:[A-Z][a-z]?\.|Drs?\b|Mrs?\b|Ms\b)")
_INITIALS_ENTRY = re.compile(r"[A-Z][a-z]?\.[\s-]?(?:[A-Za-z]{1,2}\.[\s-]?){0,5}[A-Z]?\.?")
_ENTRY_BREAK = re.compile(r"\s?(?:[,;&]|\band\b)\s?")
_ET_AL = re.compile(r"\bet al\b\.?,?;?", re.IGNORECASE)
_BEGINS_WITH_UNIT = re.compile(
    r"\s*(?:dep|div|fac|school|inst|lab|sect|service|unit|clinic|chair)", re.IGNORECASE
)


@lru_cache(maxsize=1)
def _words() -> dict[str, frozenset[str]]:
    with (files("pipeline") / "resources" / "titles.tsv").open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t"))
    return {
        kind: frozenset(r["title"] for r in rows if r["kind"] == kind) for kind in {r["kind"] for r in rows}
    }


def set_aside_people(text: str, pieces: list[tuple[str, str]]) -> str:
    """A text in, the same without names of people out; what was cut joins `pieces` as `person_name`."""
    if "(" in text and _BRACKET_HINT.search(text):
        text = _BRACKETS.sub(lambda m: _without_initials(m, pieces), text)
    lower = text.lower()
    if "et al" in lower:
        text = _without_et_al(text, pieces)
    if "dr" in lower or "pro" in lower or "m" in lower[:3] or "h" in lower[:2]:
        text = _without_titled_name(text, pieces)
    return _without_degrees(text, pieces)


def names_organization(text: str, but_company: bool = False) -> bool:
    """Whether a word of the text heads the name of an organisation (`but_company`: of another kind)."""
    heads = Lexicon.load().heads(keys_of(text[:_MAX_ORGANIZATION_PREFIX]))
    return any(not but_company or head.kind != "company" for head in heads)


def first_segment_is_name(text: str) -> bool:
    """Whether what stands before the first comma can only be a person, with an organisation after it."""
    name, comma, rest = text[: _MAX_ORGANIZATION_PREFIX + _MAX_NAME].partition(",")
    return bool(comma) and _is_name(name) and names_organization(rest)


def _is_name(text: str, min_words: int = 2) -> bool:
    """Two to five capitalised words or initials, none of them a word of organisations or of subjects."""
    words = text.split()
    if not min_words <= len(words) <= 5 or len(text) > _MAX_NAME:
        return False
    proper = [w for w in words if w.lower() not in _PARTICLES]
    if not all(_INITIALS.fullmatch(w) or _NAME_WORD.fullmatch(w) for w in proper):
        return False
    lexicon = Lexicon.load()
    keys = keys_of(text)
    is_known = any(lexicon.is_subject(key) or key in _words()["eponym"] for key in keys)
    return not is_known and not lexicon.heads(keys) and any(len(key) > 2 for key in keys)


def _without_initials(match: re.Match[str], pieces: list[tuple[str, str]]) -> str:
    """`(A.B., C.D.)` and `(Dr Smith and Ms Jones)` go; `(P.R.C.)` and acronyms of the words before stay."""
    entries = [entry.strip() for entry in _ENTRY_BREAK.split(match[1]) if entry.strip()]
    letters = ["".join(c for c in entry if c.isalpha()).lower() for entry in entries]
    if all(_INITIALS_ENTRY.fullmatch(entry) for entry in entries):
        is_people = not all(word in _words()["not_initials"] for word in letters)
        if len(entries) == 1:
            before = match.string[max(0, match.start() - 200) : match.start()]
            is_people = is_people and 2 <= len(letters[0]) <= 4 and not _abbreviates(letters[0], before)
    else:
        is_people = _are_titled_surnames(entries)
    if not is_people:
        return match[0]
    pieces.append((match[1], "person_name"))
    return ""


def _abbreviates(letters: str, words: str) -> bool:
    """Whether the letters occur in this order among the first letters of the words before them."""
    firsts = iter(word[0].lower() for word in strip_accents(words).replace("-", " ").split()[-10:])
    return all(letter in firsts for letter in letters)


def _are_titled_surnames(entries: list[str]) -> bool:
    names = [entry.split() for entry in entries]
    has_title = names[0][0].rstrip(".").lower() in {"dr", "drs", "mr", "mrs", "ms"}
    surnames = [words[-1] for words in names]
    is_short = all(
        len(words) <= (2 if words[0].rstrip(".").lower() in _words()["title"] else 1) for words in names
    )
    return has_title and is_short and all(_is_name(name, min_words=1) for name in surnames)


def _without_et_al(text: str, pieces: list[tuple[str, str]]) -> str:
    """Authors before an `et al` go, if they stand at the beginning and name no organisation."""
    match = _ET_AL.search(text)
    if not match or match.start() > _MAX_ORGANIZATION_PREFIX or names_organization(text[: match.start()]):
        return text
    pieces.append((text[: match.end()].strip(" ,;"), "person_name"))
    return text[match.end() :].lstrip(" ,;.")


def _without_titled_name(text: str, pieces: list[tuple[str, str]]) -> str:
    """`Prof. Dr. Hans Müller, Department …` loses the name, `Dr. B.R. Ambedkar University` keeps it."""
    head = _HEAD_OF.search(text)
    for start in [0, *([head.end()] if head else [])]:
        end = _end_of_segment(text, start)
        titles, name = _split_titles(text[start:end])
        rest = text[end:]
        min_words = 1 if _BEGINS_WITH_UNIT.match(rest[1:]) else 2
        is_title_only = not name and rest[:1] == ","
        is_person = bool(titles) and (is_title_only or _is_name(name, min_words))
        if is_person and (start or names_organization(rest, but_company=True)):
            first = head.start() if start and head else start
            pieces.append((text[first:end].strip(" ,;"), "title" if is_title_only else "person_name"))
            return text[:first] + (rest if first else rest.lstrip(" ,;"))
    return text


def _end_of_segment(text: str, start: int) -> int:
    """Where the segment ends: at a comma or semicolon, or where a name is over at the latest."""
    ends = [at for mark in ",;" if (at := text.find(mark, start, start + 2 * _MAX_NAME)) >= 0]
    return min(ends, default=len(text))


def _split_titles(segment: str) -> tuple[str, str]:
    """The titles that a segment begins with, and what follows them."""
    if len(segment) > 2 * _MAX_NAME:
        return "", segment
    at = 0
    for match in re.finditer(
        r"(?:Univ\.-Prof|Priv\.-Doz|Dott\.ssa|h\. ?c|rer\. nat|[^\W\d_]+)[.\s-]*", segment
    ):
        key = "".join(c for c in match[0].lower() if c.isalpha())
        pair = "".join(c if c.isalpha() else " " for c in segment[at : match.end()].lower()).split()
        known = _words()["title"] | {"rernat"}
        is_adjective = key in {"assistant", "associate", "assoc", "asst"}
        if match.start() != at or not (key in known or " ".join(pair[-2:]) in known or is_adjective):
            break
        at = match.end()
    return segment[:at].strip(), segment[at:].strip()


def _without_degrees(text: str, pieces: list[tuple[str, str]]) -> str:
    """`Janet L. Poole, PhD, OTR/L, is …` loses the name and the degrees; `Silver Spring, MD` is a place."""
    if "," not in text[:_MAX_NAME]:
        return text
    segments = text[:_MAX_ORGANIZATION_PREFIX].split(",")
    degrees = [s.replace(".", "").replace(" ", "").lower() for s in segments[1:]]
    known, weak = _words()["degree"], _words()["weak_degree"]
    n_degrees = next((i for i, d in enumerate(degrees) if d not in known and d not in weak), len(degrees))
    if not n_degrees or not _is_name(segments[0]):
        return text
    follows_verb = n_degrees < len(degrees) and segments[n_degrees + 1].lstrip().startswith("is ")
    if not any(d in known for d in degrees[:n_degrees]) and not follows_verb:
        return text
    cut = ",".join(segments[: n_degrees + 1])
    pieces.append((cut.strip(), "person_name"))
    return re.sub(r"^[\s,;.]*(?:is (?:an? |the )?)?", "", text[len(cut) :])
