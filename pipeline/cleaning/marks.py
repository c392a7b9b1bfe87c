"""Footnote marks, introductory phrases, separators, quotes and brackets around the name itself."""

from __future__ import annotations

import re

from pipeline.cleaning.people import names_organization

#: A text has seldom more than two marks before it ("* 1 Department"): more are not worth another pass.
_MAX_MARKS = 4
_UNIT = (
    r"(?:Dep(?:t|artment|artamento|artement)|Dipartimento|Département|Division|Faculty|Faculté|Facultad"
    r"|Faculdade|School|Institut[eo]?|Instituto|Istituto|Laborator|Universi|Centre|Center|Centro|College|Hospital|Service"
    r"|State Key|Key Lab|Graduate|Academy|National|Clinic|Unit|Section|Medical|Research|Escuela|[EÉ]cole)"
)
_SYMBOLS = re.compile(r"^[\s*†‡§¶#‖∥⁎∗•·★☆^~+=<>_.,;:!?|-]+")
_BRACKETED = re.compile(r"^(?:\((?:\d{1,2}|[A-Za-z]|[ivx]{2,4})\)|\[\d{1,2}\]|(?:\d{1,2}|[A-Za-z])\))\s*")
_NUMBERS = re.compile(r"^\d{1,2}(?:\s?,\s?\d{1,2})+[\s,]+(?=[^\W\d_a-z])")
# Latin capitals only: Russian institutes bear numbers.
_NUMBER = re.compile(r"^(\d{1,3})(\s?)(?=[A-ZÀ-ÖØ-Þ])")
_NUMBER_COMMA = re.compile(r"^\d{1,2} ,\s?(?=[^\W\d_a-z])")
# German, Czech and others write ordinals with a dot ("1. Medizinische Klinik"), English and French do not.
_NUMBER_DOT = re.compile(rf"^\d{{1,2}}\.\s?(?={_UNIT})")
_LETTER = re.compile(
    r"^(?:[abcefghijkmopqrstuvwxyz](?:\s?,\s?[a-z])*\s+(?=[^\W\d_a-z]|\d{1,2} [A-Z])"
    rf"|[a-z](?:,[a-z])*\s?(?={_UNIT}))"
)
_STREET = re.compile(
    r"(?:st|str|street|rd|road|rue|ave?|avenue|avenida|blvd|boulevard|dr|drive|ln|lane|pl|place|plaza|platz"
    r"|piazza|sq|square|way|via|calle|quai|allée|allee|impasse|chemin|route|cours|court|terrace|crescent|parkway|pkwy|highway"
    r"|hwy|floor|room|building|military|field|corps|north|south|east|west|passage|\w*stra(?:ß|ss)e)\.?",
    re.IGNORECASE,
)
_MONTH = re.compile(
    r"(?:jan|feb|mar|mär|apr|avr|abr|ma[iy]|jui?n|jul|aug|aoû|ago|sep|set|oct|okt|out|nov|dec|dez|déc|dic)[a-zû]*$",
    re.IGNORECASE,
)
_PHRASE = re.compile(
    r"^(?:(?:current(?:ly)?|present|permanent|new|former|previous|mailing|postal)"
    r" (?:address(?:es)?|affiliation)(?: is| at)?|(?:currently|presently|now) (?:at|with)"
    r"|on (?:sabbatical )?leave (?:of absence )?(?:from|at)|(?:formerly|previously)(?: at| with| of)?"
    r"|from (?:the )?(?=(?-i:[A-Z])))\s?[:.,-]?\s?(?=(?-i:[^\W_a-z])|$|the )",
    re.IGNORECASE,
)
_INNER_PHRASE = re.compile(
    r"[;,.]\s?(?:and )?(?:from the (?=(?-i:[A-Z]))|(?:present|current) address\s?:\s?)", re.IGNORECASE
)
_MARK_BEFORE_BREAK = re.compile(r"(?<=[^\W\d_])[*†‡§¶]+(?=\s?[,;]|$)")
_INNER_MARK = re.compile(r"\s?[†‡¶]+\s?")
_JATS_NUMBER = re.compile(rf"(?<=[a-z)]) \d{{1,2}} (?={_UNIT}[^,;]{{0,200}}, ,|, ,)")
_ARROWS = re.compile(r"\s?[>|][>|\s]*")
_MESSY_BREAK = re.compile(r" [,;][ ,;]*|[,;](?:[,;][ ,;]*| [,;][ ,;]*|(?=[^\W\d_]))")
_REPEATED = re.compile(r"([.\-_])\1+")
_EMPTY_BRACKETS = re.compile(r"\s?(?:\([\s,;.:]{0,9}\)|\[[\s,;.:]{0,9}\])")
_TRAILING = " .,;:*†‡§¶|-"
_TRAILING_NUMBER = re.compile(r"\s?\[\d{1,2}(?:,\s?\d{1,2}){0,9}\]$")
_DANGLING_AND = re.compile(r"(?:^(?:and|und|et|y)\s(?=[A-Z])|[,;]?\s(?:and|und|&)$)")
_DUTCH_ARTICLE = re.compile(r"'[st][ -]")
_PAIRS = (("[", "]"), ("(", ")"), ("{", "}"))


def strip_leading_marks(text: str) -> str:
    """A text in, the same without the footnote marks before it out; `3M`, `2nd …` and `1 rue …` stay."""
    for _ in range(_MAX_MARKS):
        before = text
        if not text[:1].isalpha() or text[1:2] in " ,)" or text[:1].islower():
            text = _strip_one_mark(text)
        if text == before:
            break
    return text


def _strip_one_mark(text: str) -> str:
    for pattern in (_SYMBOLS, _BRACKETED, _NUMBER_COMMA, _NUMBER_DOT, _LETTER):
        found = pattern.match(text)
        if found:
            return text[found.end() :]
    found = _NUMBERS.match(text) or _NUMBER.match(text)
    return text[found.end() :] if found and _is_note(text, found) else text


def _is_note(text: str, number: re.Match[str]) -> bool:
    """Whether a number before a capital is a footnote: no street follows, nor "37 Military Hospital"."""
    # Holidays ("15 June Foundation") are no notes either.
    segment = text[number.end() : number.end() + 120].split(",", 1)[0]
    words = segment.split()
    if len(number[0].strip()) == 3:
        return bool(re.match(_UNIT, segment)) and words[0] != "Hospital"
    is_glued = number.re is _NUMBER and not number[2]
    if is_glued and not re.match(r"[^\W\d_a-z][^\W\d_A-Z]{2}", segment):
        return bool(re.match(_UNIT, segment, re.IGNORECASE))
    is_street = any(_STREET.fullmatch(word) for word in (words[0], words[-1])) or _MONTH.match(words[0])
    # "3Shape AS", "7 Hills Pharma": companies like numbers in their names.
    return not is_street and names_organization(segment, but_company=True)


def set_aside_phrases(text: str, pieces: list[tuple[str, str]]) -> str:
    """`Present address:`, `Currently at`, `On leave from`, `From the` join `pieces` as `phrase`."""
    found = _PHRASE.match(text) if text[:1] in "CcFfMmNnOoPp" else None
    if found and found.end() < len(text):
        pieces.append((found[0].strip(" :.,-"), "phrase"))
        text = text[found.end() :]
    if "address" in text or "Address" in text or " the " in text:
        text = _INNER_PHRASE.sub("; ", text)
    return text


def strip_inner_marks(text: str) -> str:
    """Footnote marks after a word go; daggers inside and numbers between joined parts separate."""
    if not text.isascii():
        text = _INNER_MARK.sub("; ", text)
    if "*" in text or "§" in text:
        text = _MARK_BEFORE_BREAK.sub("", text)
    if ", ," in text:
        text = _JATS_NUMBER.sub(", ", text)
    return text


def tidy_separators(text: str) -> str:
    """Repeated separators become one, arrows and bars between blanks `; `, empty brackets vanish."""
    if ">" in text or "|" in text:
        text = _ARROWS.sub(_one_arrow, text)
    if "(" in text or "[" in text:
        text = _EMPTY_BRACKETS.sub("", text)
    text = _REPEATED.sub(r"\1", text)
    return _MESSY_BREAK.sub(_one_break, text)


def _one_break(match: re.Match[str]) -> str:
    return "; " if ";" in match[0] else ", "


def _one_arrow(match: re.Match[str]) -> str:
    is_apart = match[0][-1].isspace() or match.end() == len(match.string)
    return "; " if is_apart and match[0][0].isspace() else match[0]


def strip_ends(text: str) -> str:
    """Quotes and brackets around the whole, trailing stops, marks and `and` go."""
    for _ in range(_MAX_MARKS):
        before = text
        text = text.rstrip(_TRAILING)
        if text.endswith("]"):
            text = _TRAILING_NUMBER.sub("", text)
        if text[-3:] in ("and", "und") or text[-1:] == "&" or text[:3].lower() in ("and", "und", "et "):
            text = _DANGLING_AND.sub("", text)
        text = _unwrap(text.strip())
        if text == before:
            break
    return text


def _unwrap(text: str) -> str:
    for opening, closing in _PAIRS:
        if text.endswith(closing) and opening not in text:
            return text[:-1].rstrip()
        if text.startswith(opening) and closing not in text:
            return text[1:].lstrip()
        if text.startswith(opening) and text.endswith(closing) and text.count(opening) == 1:
            return text[1:-1].strip()
    for quote in "\"'":
        if text.startswith(quote) and text.endswith(quote) and text.count(quote) == 2:
            return text[1:-1].strip()
        is_lone = text.count(quote) == 1 and not _DUTCH_ARTICLE.match(text)
        if is_lone and (text.startswith(quote) or (quote == '"' and text.endswith(quote))):
            return text.strip(quote).strip()
    return text
