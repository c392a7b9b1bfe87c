"""Where a string names the organisations of its labels, and what a parser makes of it.

The gold span: where a name of the labelled record (any name, alias, label or acronym) stands in the cleaned
text after compare-normalisation. A label none of whose names stands there has no span; its string counts for
the number of organisations only.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from pipeline.cleaning import clean
from pipeline.evaluation import Gold
from pipeline.folding import fold_values
from pipeline.lexicon import keys_of
from pipeline.parsing.naming import TOKEN, keys_in
from pipeline.training.renderings import read_registry

Span = tuple[int, int]
#: What registries put behind names that several organisations have: `Siemens (Germany)`.
_COUNTRY_BEHIND = re.compile(r" \([^()]*\)$")
#: A name of one word up to this length has to be written in capitals to be one: `ICE`, not `ice`.
_LONGEST_ACRONYM = 4
#: Shorter names of one word are too often something else.
_SHORTEST_HELD = 3


@dataclass(frozen=True)
class Name:
    """A name as compare tokens; `is_acronym` where the string must write it in capitals."""

    keys: tuple[str, ...]
    is_acronym: bool


@dataclass(frozen=True)
class Example:
    """A cleaned text, how many organisations it names, and for each label found in it where it stands.

    Attributes:
        lacking: the names of each label that was not found.
        held, unsure: where records stand that no label of the fold can be, see `HeldNames`.
    """

    text: str
    n_labels: int
    spans: tuple[tuple[Span, ...], ...]
    lacking: tuple[tuple[Name, ...], ...] = ()
    held: tuple[Span, ...] = ()
    unsure: tuple[Span, ...] = ()

    @property
    def is_aligned(self) -> bool:
        """Whether every label was found."""
        return len(self.spans) == self.n_labels


def registry_names(path: Path, left_out: frozenset[str] = frozenset()) -> dict[str, list[Name]]:
    """A registry file to the names of each record, by the last part of its id."""
    found: dict[str, list[Name]] = {}
    for record in read_registry(path):
        label = str(record["id"]).rsplit("/", 1)[-1]
        if label not in left_out:
            found[label] = [name for _, name in bare_names(record)]
    return found


def bare_names(record: dict[str, object]) -> list[tuple[str, Name]]:
    """A registry record to its names: as written, without the country behind, and as compare tokens."""
    found = []
    for entry in cast("list[dict[str, object]]", record["names"]):
        value, types = _COUNTRY_BEHIND.sub("", str(entry["value"])), entry.get("types")
        keys = keys_in(value)
        is_short = len(keys) == 1 and len(keys[0]) <= _LONGEST_ACRONYM
        if keys:
            is_acronym = is_short or (isinstance(types, list) and "acronym" in types)
            found.append((value, Name(keys, is_acronym)))
    return found


class HeldNames:
    """Names of records of which labelled strings were set aside, with all strings that they label.

    A string that names one of them and is left was left because its label is missing: that it is no
    organisation is not to be learned from it. Where a name is this record's alone, it is one: strings label
    what they name in 19 of 20 cases (fold train, names of labelled records).
    """

    def __init__(self, names: Mapping[str, Sequence[Name]], held: Iterable[str]) -> None:
        """The names of all records, and the ids of those that are held back."""
        n_records = Counter(keys for own in names.values() for keys in {n.keys for n in own})
        self._by_key: tuple[dict[str, list[Name]], ...] = (defaultdict(list), defaultdict(list))
        for label in held:
            for name in names.get(label, ()):
                if len(name.keys) > 1 or len(name.keys[0]) >= _SHORTEST_HELD:
                    self._by_key[n_records[name.keys] > 1][name.keys[0]].append(name)

    def spans(self, text: str) -> tuple[list[Span], list[Span]]:
        """Where they stand in a text: names of one record alone, and names of several."""
        keys = dict.fromkeys(keys_in(text))
        sure, unsure = (align(text, [n for key in keys for n in own.get(key, ())]) for own in self._by_key)
        return sure, unsure


def examples(gold: Gold, names: dict[str, list[Name]], held: HeldNames | None = None) -> list[Example]:
    """Labelled strings and registry names to examples; a string that cleaning empties gives none."""
    labels_of = dict(zip(gold.affiliation, gold.labels, strict=True))
    cleaned = clean(fold_values(gold.affiliation).affiliations)
    found = []
    for raw, text in zip(cleaned.affiliations.affiliation, cleaned.text, strict=True):
        if text:
            own = [
                (align(text, called), tuple(called)) for called in (names.get(x, []) for x in labels_of[raw])
            ]
            spans = tuple(tuple(spans) for spans, _ in own if spans)
            lacking = tuple(called for spans, called in own if not spans)
            sure, unsure = held.spans(text) if held else ((), ())
            found.append(Example(text, len(own), spans, lacking, tuple(sure), tuple(unsure)))
    return found


def meet(span: Span, spans: Iterable[Span]) -> bool:
    """Whether a span shares a character with one of others."""
    return any(span[0] < end and start < span[1] for start, end in spans)


def align(text: str, names: Iterable[Name]) -> list[Span]:
    """A text and the names of a record to where they stand in it; none within a longer one."""
    tokens = [(m.start(), m.end(), key) for m in TOKEN.finditer(text) for key in keys_of(m[0])]
    keys = [key for _, _, key in tokens]
    found: set[Span] = set()
    for name in names:
        n = len(name.keys)
        for at in range(len(keys) - n + 1):
            if keys[at] == name.keys[0] and tuple(keys[at : at + n]) == name.keys:
                start, end = tokens[at][0], tokens[at + n - 1][1]
                own = text[start:end]
                if not name.is_acronym or own == own.upper():
                    found.add((start, end))
    longest_first = sorted(found, key=lambda s: (s[0] - s[1], s[0]))
    kept: list[Span] = []
    for start, end in longest_first:
        if not any(a <= start and end <= b for a, b in kept):
            kept.append((start, end))
    return sorted(kept)


@dataclass(frozen=True)
class SpanQuality:
    """A parser held against examples.

    Attributes:
        n_strings, n_exact: strings, and those in which it finds as many organisations as there are labels.
        n_several, n_several_exact: the same of strings with two labels or more.
        n_aligned: strings in which every label has a span; the counts below are of these.
        n_found, n_right, n_gold, n_hit: organisations found, those that are a gold span, labels, those found.
    """

    n_strings: int
    n_exact: int
    n_several: int
    n_several_exact: int
    n_aligned: int
    n_found: int
    n_right: int
    n_gold: int
    n_hit: int

    @property
    def exact_share(self) -> float:
        """Share of strings with the right number of organisations."""
        return self.n_exact / max(1, self.n_strings)

    @property
    def precision(self) -> float:
        """Share of the organisations found that are gold spans."""
        return self.n_right / max(1, self.n_found)

    @property
    def recall(self) -> float:
        """Share of the labels that were found."""
        return self.n_hit / max(1, self.n_gold)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return 2 * self.precision * self.recall / max(1e-9, self.precision + self.recall)


def span_quality(found: Sequence[Example], organizations: Sequence[Sequence[str]]) -> SpanQuality:
    """Examples, and for each the organisations that a parser finds, to its quality.

    An organisation is right where it is written as one of the gold spans of a label; case, accents and a
    leading article do not count.
    """
    count = dict.fromkeys(SpanQuality.__dataclass_fields__, 0)
    for example, own in zip(found, organizations, strict=True):
        names = set(map(bare_keys, own)) - {()}
        gold = [{bare_keys(example.text[a:b]) for a, b in spans} for spans in example.spans]
        is_exact = len(names) == example.n_labels
        count["n_strings"] += 1
        count["n_exact"] += is_exact
        count["n_several"] += example.n_labels > 1
        count["n_several_exact"] += is_exact and example.n_labels > 1
        if example.is_aligned:
            count["n_aligned"] += 1
            count["n_found"] += len(names)
            count["n_right"] += len(names & set().union(*gold))
            count["n_gold"] += len(gold)
            count["n_hit"] += sum(not names.isdisjoint(g) for g in gold)
    return SpanQuality(**count)


def bare_keys(text: str) -> tuple[str, ...]:
    """The compare tokens of a name by which it is right or not: those behind a leading article."""
    keys = keys_in(text)
    return keys[1:] if keys[:1] == ("the",) else keys
