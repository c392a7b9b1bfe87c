"""Which words head the name of an organisation, a unit or a subject, in many languages and scripts."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources import files
from operator import methodcaller
from typing import NamedTuple

from pipeline.text import compare, strip_accents

#: Classes of head words, strongest first: the order in which they decide what a segment names.
CLASSES = ("hospital", "university", "academy", "company", "institute", "agency", "college", "unit")
#: Words that tell siblings apart: "University of Florida" and "University of South Florida".
COMPASS = {
    *("north", "south", "east", "west", "northern", "southern", "eastern", "western", "central"),
    *("northeast", "northwest", "southeast", "southwest", "upper", "lower", "new", "state"),
}


@lru_cache(maxsize=200_000)
def keys_of(token: str) -> tuple[str, ...]:
    """One token of display text as the compare tokens that word lists are written in (no Latin accents)."""
    return tuple(strip_accents(compare(token)).split())


class Head(NamedTuple):
    """A head word or phrase at tokens `start` to `end` (exclusive) of a segment."""

    start: int
    end: int
    kind: str


@dataclass(frozen=True)
class Lexicon:
    """Word lists as look-up tables; made once by `load`."""

    words: dict[str, str]
    phrases: dict[tuple[str, ...], str]
    affixes: tuple[tuple[Callable[[str], object], str], ...]
    subjects: frozenset[str]
    adjectives: frozenset[str]
    acronyms: dict[str, str]
    systems: frozenset[tuple[str, ...]]
    longest_phrase: int

    @staticmethod
    @lru_cache(maxsize=1)
    def load() -> Lexicon:
        """The reviewed word lists of the package."""
        rows = _read_rows("organization_words.tsv")
        words: dict[str, str] = {}
        phrases: dict[tuple[str, ...], str] = {}
        affixes: dict[tuple[str, str], list[str]] = {}
        for row in rows:
            keys = keys_of(row["word"]) if row["match"] in ("exact", "phrase") else (row["word"],)
            if row["match"] == "exact" and len(keys) == 1:
                words.setdefault(keys[0], row["class"])
            elif row["match"] in ("exact", "phrase"):
                phrases.setdefault(keys, row["class"])
            else:
                affixes.setdefault((row["class"], row["match"]), []).append(row["word"])
        order = sorted(affixes, key=lambda key: (CLASSES.index(key[0]), key[1]))
        subjects = _read_rows("subject_words.tsv")
        return Lexicon(
            words=words,
            phrases=phrases,
            affixes=tuple((_affix_test(match, affixes[kind, match]), kind) for kind, match in order),
            subjects=frozenset(key for row in subjects for key in keys_of(row["word"])),
            adjectives=frozenset(
                key for row in subjects if row["kind"] == "adjective" for key in keys_of(row["word"])
            ),
            acronyms={row["acronym"]: row["class"] for row in _read_rows("known_acronyms.tsv")},
            systems=frozenset(tuple(keys_of(line)) for line in _read_lines("organization_systems.txt")),
            longest_phrase=max(map(len, phrases)),
        )

    def heads(self, keys: Sequence[str]) -> list[Head]:
        """Head words and phrases among compare tokens, in order, longest phrase first, none overlapping."""
        found: list[Head] = []
        at = 0
        while at < len(keys):
            head = self._phrase_at(keys, at) if keys[at] in self._openers else None
            if head is None and (kind := self.kind_of_word(keys[at])):
                head = Head(at, at + 1, kind)
            if head:
                found.append(head)
            at = head.end if head else at + 1
        return found

    @cached_property
    def _openers(self) -> frozenset[str]:
        """The first words of phrases: most words are none."""
        return frozenset(phrase[0] for phrase in self.phrases)

    def _phrase_at(self, keys: Sequence[str], at: int) -> Head | None:
        for length in range(min(self.longest_phrase, len(keys) - at), 1, -1):
            kind = self.phrases.get(tuple(keys[at : at + length]))
            if kind:
                return Head(at, at + length, kind)
        return None

    def kind_of_word(self, key: str) -> str | None:
        """Class of one compare token, or None where it heads nothing."""
        return self.words.get(key) or _kind_by_affix(key)

    def is_subject(self, key: str) -> bool:
        """Whether a token names a field of study or work, so that it tells units apart, not organisations."""
        return key in self.subjects


@lru_cache(maxsize=200_000)
def _kind_by_affix(key: str) -> str | None:
    if len(key) < 2:
        return None
    for has_affix, kind in Lexicon.load().affixes:
        if has_affix(key):
            return kind
    return None


def _affix_test(match: str, words: Sequence[str]) -> Callable[[str], object]:
    """Whether a token begins with (prefix), ends with (suffix) or holds (substring) one of the words."""
    if match == "substring":
        return re.compile("|".join(map(re.escape, words))).search
    return methodcaller({"prefix": "startswith", "suffix": "endswith"}[match], tuple(words))


def initials(organization: str) -> tuple[str, ...]:
    """Upper-case initials of a name of three or more words, with and without its joining words."""
    words = organization.split()
    content = [w for w in words if len(w) > 3 or w in ("new", "air")]
    found = ("".join(w[0] for w in words), "".join(w[0] for w in content))
    return tuple(dict.fromkeys(f.upper() for f in found if len(f) >= 3))


def _read_rows(name: str) -> list[dict[str, str]]:
    with (files("pipeline") / "resources" / name).open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines, delimiter="\t"))


def _read_lines(name: str) -> list[str]:
    text = (files("pipeline") / "resources" / name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line]
