"""The groups that figures are told by: the labelled set, the country that the parser finds, the script."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np

from pipeline.records import Forms, Mentions

#: Countries with a line of their own, the others are one; strings that a set of its own line has at least.
N_COUNTRIES, LEAST = 10, 50
KINDS = ("", "set", "country", "script")
#: They stand last of their kind.
REST = (NONE_FOUND, OTHERS, SMALLER) = ("none found", "other countries", "smaller sets")


def script(text: str) -> str:
    """The script that most letters of a text are of, in the words of Unicode but for Han; "" without any."""
    names = Counter(unicodedata.name(c, "?").split()[0].title() for c in text if c.isalpha())
    return names.most_common(1)[0][0].replace("Cjk", "Han") if names else ""


def grouped(
    mentions: Mentions, forms: Forms, set_of: Mapping[str, str] | None = None
) -> dict[str, list[str]]:
    """Name of a group, such as `country: CN`, to its strings; every parsed string is in one of each kind.

    Args:
        mentions: the parsed strings.
        forms: of the same mentions; the country is that of the main one.
        set_of: the labelled set of each string; without it there are no groups by set.
    """
    main = np.flatnonzero(forms.is_main)
    strings = [mentions.affiliations.affiliation[i] for i in mentions.affiliation[main].tolist()]
    country = [forms.country_code[i] or NONE_FOUND for i in main.tolist()]
    common = {name for name, _ in Counter(country).most_common(N_COUNTRIES)}
    kinds = {
        "country": [name if name in common else OTHERS for name in country],
        "script": [script(string) or "none" for string in strings],
    }
    if set_of is not None:
        of_set = [set_of[string] for string in strings]
        size = Counter(of_set)
        kinds["set"] = [name if size[name] >= LEAST else SMALLER for name in of_set]
    found: dict[str, list[str]] = {}
    for kind, names in kinds.items():
        for name, string in zip(names, strings, strict=True):
            found.setdefault(f"{kind}: {name}", []).append(string)
    return {name: found[name] for name in ordered(found)}


def ordered(names: Iterable[str]) -> list[str]:
    """Names of groups by kind, then by the alphabet, with the rest last; those of no kind come first."""

    def key(group: str) -> tuple[int, bool, str]:
        kind, _, name = group.rpartition(": ")
        return KINDS.index(kind), name in REST, name

    return sorted(names, key=key)
