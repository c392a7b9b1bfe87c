"""Words before a place that make it part of a name ("University of Sheffield", "TU München").

They are in `resources/place_words.tsv`, as place keys (lower case, no accents), in these lists:

- link: prepositions, articles, conjunctions; prefix: first words of longer place names ("West London")
- head: kinds and acronyms that mean nothing without the place after them ("ETH Zürich", "Klinikum Kassel")
- kind, generic: nouns and adjectives that want a proper name or a place: "General Hospital Vienna" holds its
  place, "Royal Marsden Hospital" needs no London; a discipline_ending marks a unit before such a name
- phrase: several words that end in their place; system: US states whose "University of X" is a system,
  so that the town after it names the campus; malay: words before the country in Malay and Indonesian names
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class _Words:
    attached: frozenset[str]
    heads: frozenset[str]
    kinds: frozenset[str]
    generic: frozenset[str]
    endings: tuple[str, ...]
    phrases: tuple[str, ...]
    malay: frozenset[str]
    systems: frozenset[str]


@cache
def _words() -> _Words:
    lists: dict[str, list[str]] = {}
    table = (files("pipeline") / "resources" / "place_words.tsv").read_text("utf-8")
    for line in table.splitlines()[1:]:
        name, _, word = line.partition("\t")
        lists.setdefault(name, []).append(word)
    return _Words(
        attached=frozenset(lists["link"] + lists["prefix"] + lists["head"]),
        heads=frozenset(lists["head"]),
        kinds=frozenset(lists["kind"]),
        generic=frozenset(lists["kind"] + lists["generic"]),
        endings=tuple(lists["discipline_ending"]),
        phrases=tuple(f" {phrase}" for phrase in lists["phrase"]),
        malay=frozenset(lists["malay"]),
        systems=frozenset(lists["system"]),
    )


def belongs_to_name(before: Sequence[str], place_kind: str, region_key: str) -> bool:
    """The keys of the words before a place, its kind and region key in; whether it is part of their name out.

    Empty keys (lone punctuation) are passed over; a place with nothing before it belongs to no name.
    """
    before = [key for key in before if key]
    if not before:
        return False
    words = _words()
    last = before[-1]
    if last in words.attached:
        return True
    tail = " " + " ".join(before[-8:])
    if tail.endswith(words.phrases):
        return True
    if place_kind == "country" and last in words.malay:
        return not {"universiti", "universitas"}.isdisjoint(before[-4:])
    if place_kind == "city" and region_key in words.systems and tail.endswith(f" university of {region_key}"):
        return True
    return last in words.kinds and _is_generic(before, words)


def is_tail(before: Sequence[str], place: Sequence[str]) -> bool:
    """The keys of the words before a town that no other place follows, and the town's own, in.

    Whether the town is rather part of a university or hospital name out ("Loyola University Chicago",
    "Hochschule für Musik Weimar"); not where the words before hold it already ("… of Leeds Leeds").
    """
    words = _words()
    is_named = not words.kinds.isdisjoint(before) or not words.heads.isdisjoint(before)
    return is_named and f" {' '.join(place)} " not in f" {' '.join(before)} "


def _is_generic(before: Sequence[str], words: _Words) -> bool:
    """Whether the name that ends here has no word of its own: only kinds and adjectives, then a unit."""
    position = len(before) - 1
    while position >= 0 and before[position] in words.generic:
        position -= 1
    return (
        position < 0
        or before[position] in {"and", "und", "et", "y"}
        or before[position].endswith(words.endings)
    )
