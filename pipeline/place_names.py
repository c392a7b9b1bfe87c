"""Place names and what they mean: the key that names are compared by, and the tables as one dictionary.

The tables are `resources/countries.tsv`, `regions.tsv` and `cities.tsv`, written for this project by hand:

- countries: `country_code` (ISO 3166, and XK), `kind`, `text`. Kinds: name (first row of each code), endonym,
  alias, code (counts only beside another place of the country), shared (a name that several countries go or
  went by; counts as a code does), outranks (the country whose name may stand behind this one's).
- regions: `country_code`, `region`, `alias`, `is_code` (postal and other abbreviations).
- cities: `city`, `country_code`, `region`, `aliases` (`|` between), `needs_support` (a lesser namesake, or a
  common word: counts only beside another place of its country or region).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from importlib.resources import files
from typing import Literal, NamedTuple

from pipeline.errors import AffilError

Kind = Literal["country", "region", "city"]
_APOSTROPHES_AND_PERIODS = frozenset(".'`´‘’‚‛′ʹʻʼʽˈ＇．")
_LETTERS_WITHOUT_ACCENT = dict(
    zip("øłđðþæœıħŧŋəĸ", ("o", "l", "d", "d", "th", "ae", "oe", "i", "h", "t", "n", "e", "k"), strict=True)
)


class _KeyTable(dict[int, "str | int | None"]):
    """Character by character what a place key makes of it, worked out once each."""

    def __missing__(self, code: int) -> str | int | None:
        char = chr(code)
        self[code] = made = self._make(char)
        return made

    @staticmethod
    def _make(char: str) -> str | int | None:
        category = unicodedata.category(char)
        if char in _APOSTROPHES_AND_PERIODS or category == "Cf" or "\u0300" <= char <= "\u036f":
            return None
        if char in _LETTERS_WITHOUT_ACCENT:
            return _LETTERS_WITHOUT_ACCENT[char]
        if category[0] in "PSZC":
            return " "
        parts = unicodedata.normalize("NFKD", char)
        if parts[0].isascii() or "α" <= parts[0] <= "ω":
            letters = "".join(part for part in parts.casefold() if part.isalnum())
            return letters or " "
        return char


_KEYS = _KeyTable()


@lru_cache(maxsize=1 << 16)
def place_key(text: str) -> str:
    """A text in; out the form under which place names are compared.

    Case folded, Latin (and Greek) accents off, apostrophes and periods deleted, other punctuation to single
    spaces: "P.R. China" gives "pr china", "Xi'an" "xian", "Köln" "koln"; other scripts survive.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return " ".join(text.casefold().translate(_KEYS).split())


class Place(NamedTuple):
    """One place that a text can name; `region` is the region's own name where `kind` is "region"."""

    kind: Kind
    name: str
    country_code: str
    region: str | None = None
    #: An abbreviation, or a name that several countries share: too short or too wide to count alone.
    is_code: bool = False
    #: Counts only beside another place of its country: codes, and lesser namesakes (Paris, Texas).
    needs_support: bool = False

    def agrees_with(self, other: Place) -> bool:
        """Whether another place can stand beside this one in an address and vouch for it."""
        if self.country_code != other.country_code or (self.is_code and other.is_code):
            return False
        return "country" in (self.kind, other.kind) or self.region == other.region


def read_tables() -> tuple[dict[str, tuple[Place, ...]], dict[str, str]]:
    """The places by the keys of all their names, and the countries that territories outrank, out.

    A territory outranks a country (`kind` "outranks") when strings that name both mean the territory.

    Raises:
        AffilError: if a table is damaged.
    """
    names: dict[str, list[Place]] = {}
    outranks: dict[str, str] = {}
    countries: dict[str, str] = {}
    for code, kind, text in _rows("countries.tsv"):
        if kind == "name":
            countries[code] = text
        if kind == "outranks":
            outranks[code] = text
            continue
        is_weak = kind in {"code", "shared"}
        _add(names, text, Place("country", countries[code], code, None, is_weak, is_weak))
    for code, region, alias, is_code in _rows("regions.tsv"):
        _add(names, alias, Place("region", region, code, region, bool(is_code), bool(is_code)))
    for city, code, region, aliases, needs_support in _rows("cities.tsv"):
        place = Place("city", city, code, region or None, False, bool(needs_support))
        _add(names, city, place)
        for alias in filter(None, aliases.split("|")):
            _add(names, alias, place)
    return {key: tuple(places) for key, places in names.items()}, outranks


def _add(names: dict[str, list[Place]], text: str, place: Place) -> None:
    names.setdefault(place_key(text), []).append(place)


def _rows(table: str) -> Iterator[list[str]]:
    text = (files("pipeline") / "resources" / table).read_text("utf-8")
    width = text[: text.index("\n")].count("\t") + 1
    for number, line in enumerate(text.splitlines()[1:], 2):
        row = line.split("\t")
        if len(row) != width:
            raise AffilError(
                f"resources/{table} line {number} has {len(row)} columns, not {width}: mend the table"
            )
        yield row
