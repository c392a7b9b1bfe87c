"""Repairs of encoding, markup and single characters. Each step takes a text and gives it back repaired."""

from __future__ import annotations

import html
import re
import unicodedata
from functools import lru_cache
from html.entities import html5

import ftfy
from ftfy.badness import is_bad

#: How often text is taken to have been escaped at most: `&amp;amp;amp;` has been seen, more has not.
_MAX_ESCAPES = 4
#: NFKC sorts a run of combining marks in quadratic time; no script needs more than this many on one letter.
_MAX_MARKS = 16
_LONG = 1000

_FTFY = ftfy.TextFixerConfig(
    unescape_html=False,
    uncurl_quotes=False,
    fix_latin_ligatures=False,
    fix_character_width=False,
    fix_line_breaks=False,
    normalization=None,
)
_COMMON = "amp|quot|apos|lt|gt|nbsp"
# The entities that go without a semicolon are few: `Design&ETH Zurich` is no `&ETH`.
_ENTITY = re.compile(
    rf"&(#\d{{1,7}}|#[xX][0-9a-fA-F]{{1,6}}|[A-Za-z][A-Za-z0-9]{{1,31}});|&\s?((?i:{_COMMON}))\s?;"
    rf"|&({_COMMON}|#\d{{2,6}})(?![A-Za-z0-9])|&(?:am|quo|apo|nbs)$"
)
_NOTE_ELEMENT = re.compile(r"<(sup|label|xref)\b[^<>]{0,80}>([^<>]{0,40})</\1>", re.IGNORECASE)
_TAG = re.compile(r"</?([A-Za-z][\w:.-]{0,40})(?:\s[^<>]{0,300})?/?>|<[!?][^<>]{0,300}>")
_INLINE_TAGS = frozenset(
    {"a", "b", "bold", "em", "font", "i", "italic", "mark", "named-content", "roman", "sc", "small", "span"}
    | {"strong", "sub", "sup", "u", "underline"}
)
_PLACEHOLDER = re.compile(r"#(?:(?:TAB|N|R|LF|CR)#|NAME\?|N/A|(?:REF|VALUE|NULL|DIV/0)!)")
_EXCEL_ESCAPE = re.compile(r"_x([0-9A-Fa-f]{4})_")
_TYPED_ESCAPE = re.compile(r"\\[nrt](?![a-z])")
_LATEX_ACCENT = re.compile(r"""\{?\\(["'`^~])\s?\{?([A-Za-z])\}?(?:(?<=\})\})?""")
_SPACING_ACCENT = re.compile(r"([¨ˇ˜])\s?([A-Za-z])")
_COMBINING = dict(zip("\"'`^~¨ˇ˜", "\u0308\u0301\u0300\u0302\u0303\u0308\u030c\u0303", strict=True))

_SUPERSCRIPTS = "¹²³⁰⁴⁵⁶⁷⁸⁹ᵃᵇᶜ"
# Between letters a superscript is part of a name: I²R.
_NOTE_SUPERSCRIPT = re.compile(
    rf"(?<![^\W_])[{_SUPERSCRIPTS}]{{1,12}}|(?<![\W\d_])[{_SUPERSCRIPTS}]{{1,12}}(?![^\W_])"
)
# Persian and the scripts of India need the joiners inside words.
_JOINED_SCRIPTS = "\u0600-\u08ff\u0900-\u0dff\ufb50-\ufdff\ufe70-\ufefe"
_STRAY_JOINER = re.compile(rf"(?<![{_JOINED_SCRIPTS}])[\u200c\u200d]")

# `BioCenter` is one word, so that centres are left as they are.
_HEADS = (
    "University|Universität|Université|Universidad|Universidade|Università|Hospital|College|Department|School"
    "|Faculty|Institute|Academy"
)
_GLUED = re.compile(r"[a-zß-ÿ](?=[A-Z][a-zß-ÿ])")
_BEFORE_HEAD = re.compile(rf"(?<=[a-zß-ÿ]{{2}})(?=(?:{_HEADS})\b)")
_BEHIND_HEAD = re.compile(rf"\b(?:{_HEADS})(?=[A-Z][a-zß-ÿ])")

_CONTROLS = dict.fromkeys([*range(0x09), *range(0x0E, 0x1C), 0x7F, *range(0x80, 0x85), *range(0x86, 0xA0)])
_CONTROLS |= dict.fromkeys(range(0xD800, 0xE000))
_INVISIBLE = "\u00ad\u034f\u061c\u180e\u200b\u200e\u200f\u2060\ufeff\ufffc\ufffd"
_CHARACTERS: dict[int, str | None] = {
    **dict.fromkeys(map(ord, _INVISIBLE)),
    **dict.fromkeys([*range(0x202A, 0x202F), *range(0x2061, 0x2070), *range(0xFE00, 0xFE10)]),
    **dict.fromkeys(range(0xE0000, 0xE0080)),
    **dict.fromkeys(map(ord, "™℠®©¨ˇ˜")),
    **dict.fromkeys(map(ord, "‐‑‒–—―−﹘﹣－⁃"), "-"),
    **dict.fromkeys(map(ord, "‘’‚‛′´`ʼʹʻ＇‹›"), "'"),
    **dict.fromkeys(map(ord, "“”„‟″«»＂「」『』《》〈〉"), '"'),
    **dict.fromkeys(map(ord, "，﹐"), ", "),
    **dict.fromkeys(map(ord, "；﹔"), "; "),
    **dict.fromkeys(map(ord, "。．｡"), ". "),
    **dict.fromkeys(map(ord, "：﹕"), ": "),
    **dict.fromkeys(map(ord, "（﹙"), " ("),
    **dict.fromkeys(map(ord, "）﹚"), ") "),
    **dict.fromkeys(map(ord, "【［〔"), " ["),
    **dict.fromkeys(map(ord, "】］〕"), "] "),
    **dict.fromkeys(map(ord, "•▪●■◦‣∙"), " • "),
}


def unescape_entities(text: str) -> str:
    """HTML entities become characters: escaped twice, without a semicolon, cut off at the end."""
    for _ in range(_MAX_ESCAPES):
        if "&" not in text:
            break
        unescaped = _ENTITY.sub(_entity, text)
        if unescaped == text:
            break
        text = unescaped
    return text


def _entity(match: re.Match[str]) -> str:
    named, common, bare = match[1], match[2], match[3]
    if named and not named.startswith("#") and f"{named};" not in html5:
        return html.unescape(f"&{named.lower()};") if re.fullmatch(_COMMON, named.lower()) else match[0]
    name = named or common or bare
    return html.unescape(f"&{name if named else name.lower()};") if name else "&"


def repair_mojibake(text: str) -> str:
    """Text that was decoded with the wrong encoding (`UniversitÃ©`) becomes what was meant."""
    if text.isascii() or not is_bad(text):
        return text
    return str(ftfy.fix_text(text, _FTFY))


def strip_markup(text: str) -> str:
    """Tags, placeholders such as `#TAB#`, typed and Excel escapes and LaTeX accents become text or blanks."""
    if "<" in text:
        text = _TAG.sub(_tag, _NOTE_ELEMENT.sub(_note_element, text))
    if "#" in text:
        text = _PLACEHOLDER.sub(" ", text)
    if "_x" in text:
        text = _EXCEL_ESCAPE.sub(lambda m: chr(int(m[1], 16)), text)
    if "\\" in text:
        text = _TYPED_ESCAPE.sub(" ", _LATEX_ACCENT.sub(_compose, text)).replace("\\&", "&")
    return text


def _note_element(match: re.Match[str]) -> str:
    """Footnote marks go; `4<sup>th</sup>`, `A<sup>2</sup>` alone and other contents stay."""
    marks = re.split(r"[\s,;()\[\]]+", match[2])
    is_note = all(mark.isdigit() or len(mark) <= 1 or not mark.isalnum() for mark in marks)
    before = match.string[max(0, match.start() - 2) : match.start()]
    is_name = (
        before[-1:].isupper() and not before[:-1].isalnum() and match.string[match.end() :][:1].isalpha()
    )
    return " " if is_note and not is_name else match[2]


def _tag(match: re.Match[str]) -> str:
    return "" if (match[1] or "").lower() in _INLINE_TAGS else ", "


def _compose(match: re.Match[str]) -> str:
    composed = unicodedata.normalize("NFC", match[2] + _COMBINING[match[1]])
    return composed if len(composed) == 1 else match[2]


def drop_controls(text: str) -> str:
    """Control characters, NUL and lone surrogates vanish; the blanks among them stay."""
    return text if text.isprintable() else text.translate(_CONTROLS)


def normalize_characters(text: str) -> str:
    """One character for each hyphen, quote, comma and bracket; invisible ones vanish; the rest in NFKC."""
    if text.isascii():
        return text
    text = _NOTE_SUPERSCRIPT.sub("", _SPACING_ACCENT.sub(_compose, text))
    text = _STRAY_JOINER.sub("", text.translate(_CHARACTERS))
    if len(text) > _LONG:
        text = _mark_runs().sub(r"\1", text)
    # Some signs of NFKC are no letters of any word: ´ and ˝ decompose to a blank and a mark, … to three dots.
    return unicodedata.normalize("NFKC", text)


@lru_cache(maxsize=1)
def _mark_runs() -> re.Pattern[str]:
    marks = "".join(chr(code) for code in range(0x1F000) if unicodedata.combining(chr(code)))
    return re.compile(rf"([{marks}]{{{_MAX_MARKS}}})[{marks}]+")


def collapse_blanks(text: str) -> str:
    """Runs of blanks, tabs and line breaks become one blank, none at the ends."""
    return " ".join(text.split())


def part_glued_words(text: str) -> str:
    """Head words lose what sticks to them: `TechnischeUniversität Darmstadt`, `Yale UniversitySchool of Law`.

    Two heads that stick together are parted, and what stands behind a head begins something else.
    """
    if not _GLUED.search(text):
        return text
    return _BEFORE_HEAD.sub(" ", _BEHIND_HEAD.sub(r"\g<0>, ", text))
