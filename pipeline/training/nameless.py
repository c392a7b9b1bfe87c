"""Labels whose records the registry does not hold: the known names in their strings that they stand for.

Some sets are labelled with ids of another registry, and a registry may be but a part of one. What such labels
are called is unknown, but not how many they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pipeline.lexicon import Lexicon
from pipeline.parsing.naming import has_own_word
from pipeline.places import Gazetteer
from pipeline.text import compare
from pipeline.training.spans import Example, HeldNames, Name, Span, meet

#: A word in capitals that is shorter is too often something else.
_SHORTEST = 4


def with_known_names(found: Sequence[Example], names: Mapping[str, Sequence[Name]]) -> list[Example]:
    """Examples, and the names of all records, to examples in which labels without a name have one.

    Where no more known names stand in a text beside those of its labels than it has labels whose records are
    missing, they are taken for those labels' names.
    """
    several = {
        label: [n for n in own if len(n.keys) == 1 or has_own_word(n.keys)] for label, own in names.items()
    }
    known = HeldNames(several, several)
    return [_named(example, known) for example in found]


def _named(example: Example, known: HeldNames) -> Example:
    n = sum(not called for called in example.lacking)
    if not n:
        return example
    text = example.text
    kept: list[Span] = []
    standing = [s for spans in known.spans(text) for s in spans if _is_name(text[slice(*s)])]
    labelled = [s for own in example.spans for s in own]
    for span in sorted(set(standing), key=lambda s: (s[0] - s[1], s[0])):
        if not meet(span, labelled) and not meet(span, kept):
            kept.append(span)
    named: dict[str, list[Span]] = {}
    for span in sorted(kept):
        named.setdefault(compare(text[slice(*span)]), []).append(span)
    if not 0 < len(named) <= n:
        return example
    lacking = [called for called in example.lacking if called] + [()] * (n - len(named))
    return replace(
        example,
        spans=example.spans + tuple(map(tuple, named.values())),
        lacking=tuple(lacking),
        held=tuple(s for s in example.held if not meet(s, kept)),
        unsure=tuple(s for s in example.unsure if not meet(s, kept)),
    )


def _is_name(text: str) -> bool:
    """Whether what is spelt as a known name is one here: several words, or an acronym."""
    if " " in text or text.upper() in Lexicon.load().acronyms:
        return True
    return text.isupper() and len(text) >= _SHORTEST and not Gazetteer.load().lookup(text)
