"""Features of candidate pairs: what speaks for two mentions being one organisation, and what against.

All are symmetric in left and right and computed for many pairs at a time; no pair is a Python object. The
cosine of blocking is not among them: it added nothing on the tune fold (average precision .966 with it, .967
without), and so one model serves every encoder.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from rapidfuzz import distance, fuzz
from rapidfuzz.process import cpdist
from scipy import sparse

from blocking.keys import distinct_with_places
from blocking.workers import n_workers
from pipeline.concepts import concept_texts
from pipeline.lexicon import CLASSES, COMPASS, Lexicon, initials, keys_of
from pipeline.records import Forms, Int64s
from pipeline.scoring.known import KNOWN_NAMES, KnownFeatures, agreement, coded
from pipeline.scoring.tokens import Float32s, Vocabulary, lacking, overlap

#: In the order of the columns that `PairFeatures.of` gives.
NAMES = (
    "organization_ratio",
    "organization_token_sort",
    "organization_token_set",
    "organization_partial",
    "organization_prefix",
    "context_token_set",
    "organization_shared",
    "organization_shared_rarest",
    "organization_jaccard",
    "organization_containment",
    "organization_lacking_more",
    "organization_lacking_less",
    "organization_rarest_lacking_more",
    "organization_rarest_lacking_less",
    "context_jaccard",
    "context_shared_rarest",
    "unit_jaccard",
    "country",
    "region",
    "city",
    "numbers",
    "modifiers_differ",
    "only_modifiers_differ",
    "words_differ",
    "acronym",
    "same_organization",
    "same_class",
    "n_with_organization",
    "weight_of_less",
    "n_main",
    *KNOWN_NAMES,
)

_PERCENT = np.float32(100)
#: Pairs that one thread works on at a time.
_PART = 50_000
_NUMBER = re.compile(r"\d+")
_ORDINALS = {
    word: number
    for number, words in enumerate(
        (
            "first 1st i premier primera erste primo",
            "second 2nd ii deuxieme segunda zweite secondo",
            "third 3rd iii troisieme tercera dritte terzo",
            "fourth 4th iv",
            "fifth 5th v",
            "sixth 6th vi",
            "seventh 7th vii",
            "eighth 8th viii",
            "ninth 9th ix",
            "tenth 10th x",
            "eleventh 11th xi",
            "twelfth 12th xii",
        ),
        start=1,
    )
    for word in words.split()
}


@dataclass(frozen=True)
class PairFeatures:
    """Everything that features need to know about the mentions; made once for a run."""

    forms: Forms
    vocabulary: Vocabulary

    def __getstate__(self) -> dict[str, Any]:
        """What travels to other machines: without the columns of the forms that no feature looks at."""
        return vars(self) | {"forms": replace(self.forms, display=[], keys={})}

    @property
    def context(self) -> list[str]:
        """The concept tokens of each mention's context, as one string."""
        return self.forms.context_concept

    @cached_property
    def _tables(self) -> tuple[Any, Any, Any]:
        table = self.vocabulary.table
        return table(self.forms.concept), table(self.context), table(concept_texts(self.forms.units))

    @cached_property
    def _weights(self) -> tuple[Float32s, Float32s, Float32s]:
        weight = self.vocabulary.weight
        org, context, unit = (np.asarray(t @ weight, np.float32).ravel() for t in self._tables)
        return org, context, unit

    @cached_property
    def _codes(self) -> dict[str, Int64s]:
        forms = self.forms
        return {
            "country": coded(forms.country_code),
            "region": coded(forms.region),
            "city": coded(forms.city),
            "organization": coded([o or None for o in self.forms.concept]),
            "name": coded(self.forms.concept),
            "numbers": coded([_numbers(o) or None for o in forms.organization]),
            "class": _classes(forms.organization),
        }

    @cached_property
    def _modifiers(self) -> Any:
        """Binary table of the words that tell siblings apart: fields of study, compass words, classes."""
        is_modifier = np.array([_is_modifier(t) for t in self.vocabulary.token], np.float32)
        return self._tables[0].multiply(is_modifier[None, :]).tocsr() if len(is_modifier) else self._tables[0]

    def of(self, left: Int64s, right: Int64s) -> Float32s:
        """Features of pairs, float32, shape (n pairs, len(NAMES)); on all cores where there are many."""
        if len(left) <= _PART:
            return self._of_part(left, right)
        self.prepare()
        found = np.empty((len(left), len(NAMES)), np.float32)

        def fill(start: int) -> None:
            found[start : start + _PART] = self._of_part(
                left[start : start + _PART], right[start : start + _PART]
            )

        # rapidfuzz, NumPy and SciPy let go of the interpreter in their loops: threads do use several cores.
        with ThreadPoolExecutor(n_workers()) as pool:
            list(pool.map(fill, range(0, len(left), _PART)))
        return found

    def by_names(self, left: Int64s, right: Int64s) -> Int64s:
        """An order of pairs in which those of equal names stand together, so that names are compared once."""
        name = self._codes["name"].astype(np.int32)
        first, second = name[left], name[right]
        key = np.minimum(first, second).astype(np.int64)
        key *= int(name.max(initial=0)) + 1
        key += np.maximum(first, second, out=first)
        return np.argsort(key)

    def prepare(self) -> None:
        """Make what all pairs need, once: a property that threads ask for at once would be made by each."""
        self._weights, self._codes, self._modifiers, self._acronym_table, self._known  # noqa: B018

    def _of_part(self, left: Int64s, right: Int64s) -> Float32s:
        columns = {
            **self._ratios(left, right),
            **self._overlaps(left, right),
            **self._places(left, right),
            **self._marks(left, right),
            **self._known.of(left, right),
        }
        return np.stack([np.asarray(columns[name], np.float32) for name in NAMES], axis=1)

    def _ratios(self, left: Int64s, right: Int64s) -> dict[str, Float32s]:
        # Candidates repeat pairs of names: half of them on the train fold.
        name = self._codes["name"]
        first, again = _distinct_pairs(name[left], name[right])
        org_l, org_r = _take(self.forms.concept, left[first]), _take(self.forms.concept, right[first])
        all_l, all_r = _take(self.context, left), _take(self.context, right)
        ratios: dict[str, Callable[..., float]] = {
            "organization_ratio": fuzz.ratio,
            "organization_token_sort": fuzz.token_sort_ratio,
            "organization_token_set": fuzz.token_set_ratio,
            "organization_partial": fuzz.partial_ratio,
        }
        found = {key: _compared(org_l, org_r, ratio)[again] / _PERCENT for key, ratio in ratios.items()}
        prefix = _compared(org_l, org_r, distance.Prefix.normalized_similarity)
        found["organization_prefix"] = prefix[again]
        found["context_token_set"] = _compared(all_l, all_r, fuzz.token_set_ratio) / _PERCENT
        return found

    def _overlaps(self, left: Int64s, right: Int64s) -> dict[str, Float32s]:
        organization, context, unit = self._tables
        w_org, w_context, w_unit = self._weights
        weight = self.vocabulary.weight
        org_l, org_r, all_l, all_r = organization[left], organization[right], context[left], context[right]
        shared, rarest = overlap(org_l, org_r, weight)
        sum_l, max_l = lacking(org_l, all_r, right, self.context, self.vocabulary)
        sum_r, max_r = lacking(org_r, all_l, left, self.context, self.vocabulary)
        all_shared, all_rarest = overlap(all_l, all_r, weight)
        unit_shared, _ = overlap(unit[left], unit[right], weight)
        less, more = np.minimum(w_org[left], w_org[right]), np.maximum(w_org[left], w_org[right])
        return {
            "organization_shared": shared,
            "organization_shared_rarest": rarest,
            "organization_jaccard": _share(shared, less + more - shared),
            "organization_containment": _share(shared, less),
            "organization_lacking_more": np.maximum(sum_l, sum_r),
            "organization_lacking_less": np.minimum(sum_l, sum_r),
            "organization_rarest_lacking_more": np.maximum(max_l, max_r),
            "organization_rarest_lacking_less": np.minimum(max_l, max_r),
            "context_jaccard": _share(all_shared, w_context[left] + w_context[right] - all_shared),
            "context_shared_rarest": all_rarest,
            "unit_jaccard": _share(unit_shared, w_unit[left] + w_unit[right] - unit_shared),
            "weight_of_less": less,
        }

    def _places(self, left: Int64s, right: Int64s) -> dict[str, Float32s]:
        return {name: agreement(self._codes[name], left, right) for name in ("country", "region", "city")}

    def _marks(self, left: Int64s, right: Int64s) -> dict[str, Float32s]:
        codes, forms = self._codes, self.forms
        names, modifiers = self._tables[0], self._modifiers
        differ = np.asarray(abs(modifiers[left] - modifiers[right]).sum(axis=1), np.float32).ravel()
        words = np.asarray(abs(names[left] - names[right]).sum(axis=1), np.float32).ravel()
        has = codes["organization"] >= 0
        numbers = codes["numbers"]
        return {
            "numbers": np.where(numbers[left] == numbers[right], np.where(numbers[left] >= 0, 1, 0), -1),
            "modifiers_differ": np.minimum(differ, 4),
            "only_modifiers_differ": self._siblings(left, right, (differ > 0) & (differ == words)),
            "words_differ": np.minimum(words, 6),
            "acronym": self._acronyms(left, right),
            "same_organization": (codes["organization"][left] == codes["organization"][right]) & has[left],
            "same_class": agreement(codes["class"], left, right),
            "n_with_organization": has[left].astype(np.float32) + has[right],
            "n_main": forms.is_main[left].astype(np.float32) + forms.is_main[right],
        }

    def _siblings(self, left: Int64s, right: Int64s, is_like: npt.NDArray[np.bool_]) -> Float32s:
        """1 where names differ by modifiers alone, 2 for universities: `of Florida`, `of South Florida`."""
        kind = self._codes["class"]
        university = CLASSES.index("university")
        both = (kind[left] == university) & (kind[right] == university)
        return (is_like * np.where(both, 2, 1)).astype(np.float32)

    @cached_property
    def _known(self) -> KnownFeatures:
        return KnownFeatures.of_forms(self.forms)

    @cached_property
    def _acronym_table(self) -> tuple[Any, Any]:
        """Binary tables (n, n acronyms): acronyms that a mention states; these and its own initials."""
        stated = [set(a) for a in self.forms.acronyms]
        either = [s | set(initials(o)) for s, o in zip(stated, self.forms.organization, strict=True)]
        number = {a: i for i, a in enumerate(sorted(set().union(*either) if either else ()))}

        def table(sets: Sequence[set[str]]) -> Any:
            ends = np.cumsum([0, *map(len, sets)])
            columns = np.array([number[a] for s in sets for a in sorted(s)], np.int64)
            shape = (len(sets), max(len(number), 1))
            return sparse.csr_array((np.ones(len(columns), np.float32), columns, ends), shape=shape)

        return table(stated), table(either)

    def _acronyms(self, left: Int64s, right: Int64s) -> Float32s:
        """1 where one side states an acronym that the other states or spells, -1 where both state others."""
        stated, either = self._acronym_table
        meets = (stated[left].multiply(either[right]) + either[left].multiply(stated[right])).sum(axis=1)
        has = np.asarray(stated.sum(axis=1)).ravel() > 0
        return np.where(np.asarray(meets).ravel() > 0, 1, np.where(has[left] & has[right], -1, 0)).astype(
            np.float32
        )


def _take(texts: Sequence[str], index: Int64s) -> list[str]:
    return [texts[i] for i in index.tolist()]


def _distinct_pairs(left: Int64s, right: Int64s) -> tuple[Int64s, Int64s]:
    """Pairs of codes to (the first of each unordered pair, for every pair the number of its like there)."""
    low, high = np.minimum(left, right), np.maximum(left, right)
    n = int(high.max(initial=0)) + 1
    pairs, again = distinct_with_places(low * n + high)
    first = np.empty(len(pairs), np.int64)
    first[again[::-1]] = np.arange(len(again))[::-1]
    return first, again


def _compared(left: Sequence[str], right: Sequence[str], ratio: Callable[..., float]) -> Float32s:
    """A ratio of rapidfuzz for every pair of texts."""
    return np.asarray(cpdist(left, right, scorer=ratio, dtype=np.float32), np.float32)


def _share(part: Float32s, whole: Float32s) -> Float32s:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 1e-6)


def _numbers(organization: str) -> str:
    found = [
        str(_ORDINALS.get(w, "")) or "".join(_NUMBER.findall(w)).lstrip("0") for w in organization.split()
    ]
    return " ".join(sorted(f for f in found if f))


def class_of(organization: str) -> int:
    """The compare form of a name to the number of its strongest class of head words, -1 for none."""
    heads = Lexicon.load().heads([k for t in organization.split() for k in keys_of(t)])
    return min((CLASSES.index(h.kind) for h in heads), default=-1)


def _classes(organizations: Sequence[str]) -> Int64s:
    """The class of every name; names that many mentions share are looked at once."""
    known = {name: class_of(name) for name in set(organizations)}
    return np.array([known[name] for name in organizations], np.int64)


def _is_modifier(token: str) -> bool:
    lexicon = Lexicon.load()
    return lexicon.is_subject(token) or token in COMPASS or token in _ORDINALS or token.isdigit()
