"""Concept tokens: the words of a compare form with inflections and translations of one concept made equal.

`technische universitat munchen` and `technical university of munich` become the same tokens. For models only:
people never see it, and two names with equal concepts are evidence, not proof.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files

from pipeline.places import Gazetteer
from pipeline.text import compare, strip_accents

#: Scripts written without spaces: runs of them are cut into overlapping pairs of characters.
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\u0e00-\u0e7f]+")


@lru_cache(maxsize=1)
def _concepts() -> dict[str, str]:
    with (files("pipeline") / "resources" / "concepts.tsv").open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t"))
    return {strip_accents(row["word"]): row["concept"] for row in rows}


@lru_cache(maxsize=1)
def _acronym_names() -> dict[str, str]:
    """Acronyms that stand for one name nearly everywhere, in lower case, to that name."""
    with (files("pipeline") / "resources" / "acronym_names.tsv").open(encoding="utf-8") as lines:
        return {row["acronym"].casefold(): row["name"] for row in csv.DictReader(lines, delimiter="\t")}


@lru_cache(maxsize=500_000)
def _concept(token: str) -> tuple[str, ...]:
    if token[0] == "0" and token.isdecimal():
        # A nought before a number tells nothing: `Univ Paris 06` is Paris 6.
        token = token.lstrip("0") or "0"
    known = _concepts().get(token)
    if known is not None:
        return tuple(known.split())
    name = _acronym_names().get(token)
    if name is not None:
        return tuple(concept_tokens(compare(name)))
    if _UNSPACED.search(token):
        return _pairs_of_characters(token)
    cities = {
        place.name
        for place in Gazetteer.load().lookup(token)
        if place.kind == "city" and not place.needs_support
    }
    if len(cities) == 1 and " " not in (city := strip_accents(cities.pop().casefold())):
        return (city,)
    return (token,)


def _pairs_of_characters(token: str) -> tuple[str, ...]:
    found: list[str] = []
    at = 0
    for run in _UNSPACED.finditer(token):
        found.append(token[at : run.start()])
        text = run[0]
        found.extend(text[i : i + 2] for i in range(max(1, len(text) - 1)))
        at = run.end()
    found.append(token[at:])
    return tuple(f for f in found if f)


def concept_tokens(text: str) -> list[str]:
    """A compare form to its concept tokens, in order; joining words (of, de, für …) are left out."""
    return [c for token in strip_accents(text).split() for c in _concept(token)]


def concept_text(text: str) -> str:
    """A compare form to one string of its concept tokens."""
    return " ".join(concept_tokens(text))


def concept_texts(texts: Sequence[str]) -> list[str]:
    """Compare forms to concept texts in the same order; each distinct form is worked on once."""
    found = {text: concept_text(text) for text in set(texts)}
    return [found[text] for text in texts]


@lru_cache(maxsize=200_000)
def name_key(organization: str) -> str:
    """The compare form of a name to a key that is equal for names of equal concepts, whatever their order.

    `university of heidelberg`, `heidelberg university` and `universität heidelberg` have one key: evidence
    that they are worth comparing, and nothing more (`Miami University` is not the `University of Miami`).
    """
    return " ".join(sorted(set(concept_tokens(organization)))) or organization
