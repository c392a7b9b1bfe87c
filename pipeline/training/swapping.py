"""Labelled strings again with other organisations in them: names of a registry in place of their own.

Labels name few organisations again and again; a tagger that has seen many names tells them by what a name
looks like, and by what stands around it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.parsing.classify import classify
from pipeline.parsing.reading import read
from pipeline.parsing.segments import split_text
from pipeline.training.renderings import read_registry
from pipeline.training.spans import Example, Name, Span, bare_names

#: Names that are tried until one is of the class of the name that it is put in place of.
_TRIES = 12
#: The class of names in capitals of one word.
_ACRONYM = "acronym"


class SpareNames:
    """Names of registry records by country, to put in place of others."""

    def __init__(self, records: Iterable[dict[str, object]]) -> None:
        """Records of a registry, as `read_registry` gives them."""
        self._by_country: dict[tuple[str | None, bool], list[str]] = defaultdict(list)
        for record in records:
            places = record.get("locations")
            country = str(places[0].get("country_code") or "") if isinstance(places, list) and places else ""
            for value, name in bare_names(record):
                if value.isascii() or any(c.isascii() and c.isalpha() for c in value):
                    for place in (country, None):
                        self._by_country[place, _is_acronym(name)].append(value)

    @classmethod
    def read(cls, registry: Path, left_out: frozenset[str] = frozenset()) -> SpareNames:
        """A registry file to its names, but those of records that are left out."""
        records = read_registry(registry)
        return cls(r for r in records if str(r["id"]).rsplit("/", 1)[-1] not in left_out)

    def like(self, name: str, country: str | None, random: np.random.Generator) -> str | None:
        """Another name of the class of a name, of that country; None where none was found."""
        kind = _kind(name)
        names = self._by_country.get((country, kind == _ACRONYM)) or self._by_country[None, kind == _ACRONYM]
        tried = (names[at] for at in random.integers(len(names), size=_TRIES)) if names else ()
        return next((other for other in tried if _kind(other) == kind), None)


def _is_acronym(name: Name) -> bool:
    return name.is_acronym and len(name.keys) == 1


def _kind(name: str) -> str:
    if name.isupper() and " " not in name:
        return _ACRONYM
    parts = split_text(name)
    return classify(parts[0], 0)[0].kind if len(parts) == 1 else "several"


def swapped(
    found: Sequence[Example], names: SpareNames, random: np.random.Generator, n_copies: int
) -> list[Example]:
    """Examples again, with other names in place of those of their labels; those without any are left out.

    A label that is named in several ways stays as it is: its other names would be another organisation's.
    """
    copies = []
    for example in found:
        reading = read(example.text)
        for _ in range(n_copies if reading else 0):
            copy = _swapped(example, reading.location.country_code if reading else None, names, random)
            if copy:
                copies.append(copy)
    return copies


def _swapped(
    example: Example, country: str | None, names: SpareNames, random: np.random.Generator
) -> Example | None:
    whole = [*(s for own in example.spans for s in own), *example.held]
    once = [*(own[0] for own in example.spans if len(own) == 1), *example.held]
    new: dict[Span, str] = {}
    for span in once:
        if sum(a < span[1] and span[0] < b for a, b in whole) == 1:
            other = names.like(example.text[slice(*span)], country, random)
            if other:
                new[span] = other
    if not new:
        return None
    text, at, moves = "", 0, []
    for (start, end), name in sorted(new.items()):
        text += example.text[at:start] + name
        moves.append((start, end, len(name)))
        at = end
    text += example.text[at:]

    def moved(span: Span) -> Span:
        shift = sum(n - (end - start) for start, end, n in moves if end <= span[0])
        own = next((n for start, end, n in moves if (start, end) == span), span[1] - span[0])
        return span[0] + shift, span[0] + shift + own

    return replace(
        example,
        text=text,
        spans=tuple(tuple(map(moved, own)) for own in example.spans),
        held=tuple(map(moved, example.held)),
        unsure=tuple(moved(s) for s in example.unsure if not any(a < s[1] and s[0] < b for a, b in new)),
    )
