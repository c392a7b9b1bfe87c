"""Forms of a text: `display` for people; `compare`, `strip_accents`, `transliterate` for models. All pure."""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files

from anyascii import anyascii

#: What people type for an apostrophe; the accent ´ is among them because NFKC would turn it into a blank.
_APOSTROPHES = "'’‘‛′ʼʻʹ´`＇"
#: Notes that start with this word mark rows that are documented but never applied.
_NOT_APPLIED = "context"
#: Two passes are enough for what people write; the bound is there for what they do not.
_MAX_PASSES = 8
#: Combining marks of the Latin and Greek scripts.
_MARKS = "\u0300-\u036f"
#: Latin letters that Unicode does not decompose.
_LETTERS = dict(zip("øłđıðŧØŁĐÐŦ", "oldidtOLDDT", strict=True))
_LETTERS |= {"æ": "ae", "œ": "oe", "þ": "th", "ß": "ss", "Æ": "AE", "Œ": "OE", "Þ": "TH", "ẞ": "SS"}

# French, Italian and Catalan articles and prepositions that end in an apostrophe are words of their own.
_ELISION = re.compile(r"(?<![^\W_])(l|d|dell|nell|sull|all|dall|un|qu)'(?=[^\W\d_])")
_ACRONYM_DOT = re.compile(r"(?<![^\W_])([^\W\d_])\.(?=[^\W\d_](?![^\W\d_]))")
# Scripts with upper case only: a lone Chinese character is a word, not an initial.
_INITIALS = re.compile(r"(?<!\S)[a-zа-яёα-ω](?: [a-zа-яёα-ω])+(?!\S)")
_DOTTED_I = re.compile("i\u0307+")
_ACCENTED = re.compile(rf"([A-Za-zͰ-Ͽἀ-῿])[{_MARKS}]+")
_NOT_ALPHANUMERIC = re.compile(r"[^a-z0-9]+")


class _Characters(dict[int, str]):
    """Table for `compare`: punctuation, symbols, controls to a blank; invisible characters to nothing."""

    def __missing__(self, code: int) -> str:
        category = unicodedata.category(chr(code))
        blank_or_itself = " " if category[0] in "PSZC" else chr(code)
        kept = "" if category == "Cf" else blank_or_itself
        self[code] = kept
        return kept


class _Unaccented(dict[int, str]):
    """Translation table for `strip_accents`: Latin and Greek letters to their base, all else as it is."""

    def __missing__(self, code: int) -> str:
        letter = chr(code)
        base = unicodedata.normalize("NFD", letter)[0]
        is_folded = base in _LETTERS or base.isascii() or "\u0370" <= base <= "\u03ff"
        plain = _LETTERS.get(base, base) if is_folded and letter.isalpha() else letter
        self[code] = plain
        return plain


_BEFORE_FOLDING = {ord(c): "'" for c in _APOSTROPHES} | dict.fromkeys(map(ord, "™®©℠ـ"), "")
_CHARACTERS = _Characters({ord("&"): " and "})
_UNACCENTED = _Unaccented()


def compare(text: str) -> str:
    """Any text in, the form that models compare out: case-folded words in one spelling, blanks between them.

    Punctuation becomes blanks, dots in acronyms and apostrophes vanish, `&` becomes `and`, abbreviations are
    written out (`resources/abbreviations.tsv`). Accents and every script survive. Comparing a compare form
    changes nothing.
    """
    if text.isascii():
        # One word of letters: nothing in it to fold, to part or to join.
        return _word_form(text) if text.isalpha() else _compare_once(text)
    form = _compare_once(text)
    # Deleting and composing characters can feed each other (rarely): go on until nothing changes.
    for _ in range(_MAX_PASSES):
        again = _compare_once(form)
        if again == form:
            break
        form = again
    return form


def _word_form(word: str) -> str:
    lower = word.lower()
    return abbreviations()[0].get(lower, lower)


def compare_all(texts: Sequence[str]) -> list[str]:
    """Texts in, their compare forms out in the same order; each distinct text is worked on once."""
    forms = {text: compare(text) for text in set(texts)}
    return [forms[text] for text in texts]


def _compare_once(text: str) -> str:
    words = split_words(text)
    singles, pairs, openers = abbreviations()
    if not openers.isdisjoint(words):
        words = _expand_pairs(words, pairs)
    joined = join_initials(" ".join(words))
    return " ".join([singles.get(word, word) for word in joined.split(" ")])


def split_words(text: str) -> list[str]:
    """Any text in, its case-folded words out, before initials are joined and abbreviations written out."""
    folded = text.lower() if text.isascii() else _fold(text)
    if "'" in folded:
        folded = _ELISION.sub(r"\1 ", folded).replace("'", "")
    if "." in folded:
        folded = _ACRONYM_DOT.sub(r"\1", folded)
    words = folded.translate(_CHARACTERS)
    if not words.isascii():
        words = unicodedata.normalize("NFKC", words)
    return words.split()


def _fold(text: str) -> str:
    composed = unicodedata.normalize("NFKC", text.translate(_BEFORE_FOLDING))
    folded = unicodedata.normalize("NFKC", composed.casefold())
    # The lower case of the Turkish İ is i with a second dot above: the same letter to everybody.
    return _DOTTED_I.sub("i", folded).translate(_BEFORE_FOLDING)


def join_initials(words: str) -> str:
    """Words with single blanks in, runs of single letters joined out: `b r smith` becomes `br smith`."""
    return _INITIALS.sub(lambda run: run[0].replace(" ", ""), words)


def _expand_pairs(words: list[str], pairs: dict[tuple[str, str], str]) -> list[str]:
    expanded: list[str] = []
    at = 0
    while at < len(words):
        word = pairs.get((words[at], words[at + 1])) if at + 1 < len(words) else None
        expanded.append(word or words[at])
        at += 2 if word else 1
    return expanded


@lru_cache(maxsize=1)
def abbreviations() -> tuple[dict[str, str], dict[tuple[str, str], str], frozenset[str]]:
    """The table of abbreviations: of one word, of two (`ун-т`), and the first words of those of two."""
    singles: dict[str, str] = {}
    pairs: dict[tuple[str, str], str] = {}
    for row in _read_rows("abbreviations.tsv"):
        if row["note"].startswith(_NOT_APPLIED):
            continue
        words = split_words(row["abbreviation"])
        if len(words) == 1:
            singles[words[0]] = row["expansion"]
        else:
            first, second = words
            pairs[first, second] = row["expansion"]
    return singles, pairs, frozenset(first for first, _ in pairs)


def strip_accents(text: str) -> str:
    """Any text in, the same without the accents of Latin and Greek letters out; other scripts are untouched.

    Letters that Unicode does not decompose are written plainly too: `ø` as o, `ł` as l, `ß` as ss, `æ` as ae.
    """
    if text.isascii():
        return text
    return _ACCENTED.sub(r"\1", text.translate(_UNACCENTED))


def transliterate(text: str) -> str:
    """Any text in, its compare form in ASCII out: a blocking key, lossy for most scripts."""
    form = compare(text)
    plain = form if form.isascii() else anyascii(form).lower()
    return _NOT_ALPHANUMERIC.sub(" ", plain).strip()


#: Articles and prepositions that stand before an apostrophe.
_ELIDED = frozenset({"d", "l", "dell", "nell", "sull", "all", "dall", "qu"})
_VOWELS = frozenset("aeiouyαεηιουωаеёиоуыэюяіїє")
_FIVE_CAPITALS = re.compile(r"[^\W\d_a-z]{5}")
_SEGMENT_BREAK = re.compile(r"(\s*[,;|/()\[\]:]+\s*|\s+-\s+)")
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
_ROMAN = re.compile(r"I{2,3}|IV|VI{0,3}|IX|X|XI{2,3}|XIV|XVI{0,3}|X{2,3}")
_ORDINAL = re.compile(r"\d+(?:ST|ND|RD|TH)")


def display(text: str) -> str:
    """Any text in, the form for people out: segments all in capitals become title case, the rest stays.

    Acronyms stay (`resources/capitals.txt`, words without vowels); small words (of, de, und) become lower
    case (`resources/small_words.tsv`).
    """
    text = " ".join(text.split())
    if not _FIVE_CAPITALS.search(text):
        return text
    parts = _SEGMENT_BREAK.split(text)
    shouted = [_is_shouted(part) for part in parts]
    if not any(shouted):
        return text
    for at in range(0, len(parts), 2):
        in_brackets = at > 0 and "(" in parts[at - 1]
        if shouted[at] or (not in_brackets and _is_all_capitals(parts[at]) and _long_words(parts[at], 4)):
            parts[at] = _soften(parts[at])
    return "".join(parts)


def _is_all_capitals(part: str) -> bool:
    return part == part.upper() != part.lower()


def _is_shouted(part: str) -> bool:
    """Whether a segment is a name in capitals: not acronyms alone, nor one word, which could be either."""
    if not _is_all_capitals(part):
        return False
    longest = max(map(len, _long_words(part, 4)), default=0)
    n_words = len(_WORD.findall(part))
    return (len(_long_words(part, 4)) >= 2 and longest >= 5) or (n_words >= 2 and longest >= 7)


def _long_words(part: str, n_letters: int) -> list[str]:
    return [w for w in _WORD.findall(part) if len(w) >= n_letters and not _is_acronym(w)]


def _is_acronym(word: str) -> bool:
    return word.lower() in _capitals() or (not word.isalpha() and "'" not in word) or not _has_vowel(word)


def _has_vowel(word: str) -> bool:
    return not _VOWELS.isdisjoint(strip_accents(word.lower()))


@lru_cache(maxsize=1)
def _capitals() -> dict[str, str]:
    text = (files("pipeline") / "resources" / "capitals.txt").read_text(encoding="utf-8")
    return {written.lower(): written for written in text.split()}


@lru_cache(maxsize=1)
def _small_words() -> tuple[frozenset[str], frozenset[str]]:
    """Words that are small inside any name, and articles that are so after a small word only.

    "Universidad de los Andes", but "University of California Los Angeles".
    """
    rows = _read_rows("small_words.tsv")
    small = frozenset(row["word"] for row in rows if row["kind"] == "small")
    return small, frozenset(row["word"] for row in rows) - small


def _soften(part: str) -> str:
    """A segment in capitals in, the same in title case out."""
    # Only Turkish has İ and, with Azerbaijani, Ğ: there the lower case of I has no dot.
    is_turkish = "İ" in part or "Ğ" in part
    small, articles = _small_words()
    words = list(_WORD.finditer(part))
    last = len(words) - 1
    after_small = False
    at = 0
    pieces: list[str] = []
    for number, match in enumerate(words):
        word = match[0]
        lower = _lower(word, is_turkish)
        is_initial = len(word) == 1 and part[match.end() : match.end() + 1] == "."
        is_inside = number > 0 and (number < last or len(word) > 2) and not is_initial
        is_small = is_inside and (lower in small or (after_small and lower in articles))
        after_small = is_small
        written = lower if is_small else _title(word, lower, number == last)
        pieces += [part[at : match.start()], written[:1].upper() + written[1:] if number == 0 else written]
        at = match.end()
    return "".join([*pieces, part[at:]])


def _lower(word: str, is_turkish: bool) -> str:
    if is_turkish:
        word = word.replace("İ", "i").replace("I", "ı")
    return _DOTTED_I.sub("i", word.lower())


def _title(word: str, lower: str, is_last: bool) -> str:
    known = _capitals().get(lower)
    if known:
        return known
    if "'" in word or "’" in word:
        return _title_elided(lower)
    if not word.isalpha():
        return lower if _ORDINAL.fullmatch(word) else word
    if _ROMAN.fullmatch(word) or not _has_vowel(word) or (len(word) == 2 and is_last) or len(word) == 1:
        return word
    if lower.startswith("mc") and len(lower) > 4:
        return "Mc" + lower[2:].capitalize()
    return _capitalize(lower)


def _title_elided(lower: str) -> str:
    mark = "'" if "'" in lower else "’"
    head, tail = lower.split(mark, 1)
    if head in _ELIDED:
        return head + mark + _capitalize(tail)
    return _capitalize(head) + mark + (_capitalize(tail) if len(head) == 1 and len(tail) > 1 else tail)


def _capitalize(lower: str) -> str:
    return lower[:1].upper() + lower[1:]


def _read_rows(name: str) -> list[dict[str, str]]:
    with (files("pipeline") / "resources" / name).open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines, delimiter="\t"))
