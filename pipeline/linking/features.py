"""Features of a mention and a registry name: what speaks for the name being the mention's organisation."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from blocking import CandidatePairs
from pipeline.concepts import concept_texts
from pipeline.lexicon import CLASSES
from pipeline.linking.names import NameForms
from pipeline.linking.standing import NAMES as STANDING
from pipeline.linking.standing import abbreviated, classes_in, standing
from pipeline.records import Forms, Int64s
from pipeline.registry import Registry
from pipeline.registry.schema import KINDS
from pipeline.scoring import PairFeatures, Vocabulary
from pipeline.scoring import features as pair_features
from pipeline.scoring.known import KNOWN_NAMES, coded
from pipeline.scoring.tokens import Float32s, lacking, overlap

#: Types of records in ROR's words; a record's first of these counts.
_TYPES = (
    *("education", "healthcare", "facility", "government", "company", "nonprofit", "archive", "funder"),
    "other",
)
#: Features of two mentions that are one thing for every mention and name.
_CONSTANT = {"unit_jaccard", "n_with_organization", "n_main"}
#: In the order of the columns that `link_features` gives.
NAMES = (
    *(name for name in pair_features.NAMES if name not in (*_CONSTANT, *KNOWN_NAMES)),
    *("similarity", "name_lacking", "name_lacking_rarest", "mention_lacking", "mention_lacking_rarest"),
    *("name_in_units", "name_weight", "kind", "type", "mention_class", "n_same_name", "n_same_name_here"),
    *("n_children", "has_parent", "is_closed", "is_main", "hospital", "classes_in_context"),
    *STANDING,
)


@dataclass(frozen=True)
class RegistryFacts:
    """What features ask of a registry; made once.

    Attributes:
        registry: the records.
        names: their names as forms.
    """

    registry: Registry
    names: NameForms

    @cached_property
    def frequency(self) -> Counter[str]:
        """In how many names each token stands."""
        return Counter(token for text in self.names.forms.concept for token in set(text.split()))

    @cached_property
    def n_same_name(self) -> tuple[Int64s, Int64s]:
        """For each name the records that have one of equal concepts: (all of them, in its country)."""
        forms, record = self.names.forms, self.names.names.record
        key = [" ".join(sorted(set(text.split()))) for text in forms.concept]
        here = [f"{k}|{c}" for k, c in zip(key, forms.country_code, strict=True)]
        counted = []
        for keys in (key, here):
            n = Counter(k for k, _ in set(zip(keys, record.tolist(), strict=True)))
            counted.append(np.array([n[k] for k in keys], np.int64))
        return counted[0], counted[1]

    @cached_property
    def name_concept(self) -> Int64s:
        """For each name the number of its concepts, equal for equal ones, int64, shape (n names,)."""
        return coded(self.names.forms.concept)

    @cached_property
    def of_record(self) -> dict[str, npt.NDArray[np.float32]]:
        """Facts of each record, shape (n records,): type, n_children, has_parent, is_closed."""
        registry, n = self.registry, len(self.registry)
        child, parent = registry.parents
        kinds = [min((_TYPES.index(t) for t in types if t in _TYPES), default=-1) for types in registry.types]
        return {
            "type": np.array(kinds, np.float32),
            "n_children": np.minimum(np.bincount(parent, minlength=n), 20).astype(np.float32),
            "has_parent": (np.bincount(child, minlength=n) > 0).astype(np.float32),
            "is_closed": np.array([s != "active" for s in registry.status], np.float32),
        }


def link_features(forms: Forms, facts: RegistryFacts, pairs: CandidatePairs) -> Float32s:
    """Pairs of a mention (left) and a name (right, from `len(forms)` on) to features, (n, len(NAMES))."""
    left, n = pairs.left, len(forms)
    used, right = np.unique(pairs.right - n, return_inverse=True)
    names = facts.names.forms
    joined = forms.joined(_taken(names, used))
    known = [*joined.concepts[:n], *joined.context_concept[n:]]
    vocabulary = Vocabulary.fit(known, facts.frequency, len(names))
    pair = PairFeatures(joined, vocabulary).of(left, right + n)
    columns = dict(zip(pair_features.NAMES, pair.T, strict=True))
    columns |= _directed(joined, vocabulary, left, right + n)
    columns |= standing(joined, left, right + n)
    record = facts.names.names.record[used][right]
    columns |= {name: column[record] for name, column in facts.of_record.items()}
    same, here = facts.n_same_name
    bits = facts.names.names.kind[used][right]
    kind = np.full(len(right), -1, np.float32)
    for i, _ in enumerate(KINDS):
        # The first of its kinds: a display name that is a label too is a display name.
        kind = np.where((kind < 0) & (bits >> i & 1 > 0), np.float32(i), kind)
    classes = np.array([pair_features.class_of(o) for o in joined.organization], np.float32)
    mention_class, columns["name_class"] = classes[:n], classes[right + n]
    columns |= {
        "similarity": pairs.similarity,
        "kind": kind,
        "n_same_name": np.minimum(same[used][right], 20).astype(np.float32),
        "n_same_name_here": np.minimum(here[used][right], 20).astype(np.float32),
        "mention_class": mention_class[left],
        "is_main": forms.is_main[left].astype(np.float32),
        "classes_in_context": classes_in(joined.context[:n])[left],
        "hospital": _hospitals(mention_class[left], columns["type"], columns["name_class"]),
    }
    return np.stack([np.asarray(columns[name], np.float32) for name in NAMES], axis=1)


def _hospitals(
    mention_class: npt.NDArray[np.float32], kind: npt.NDArray[np.float32], name_class: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Whether the string names a hospital and the record is one: 0 neither, 1 record, 2 string, 3 both."""
    is_named = mention_class == CLASSES.index("hospital")
    is_one = (kind == _TYPES.index("healthcare")) | (name_class == CLASSES.index("hospital"))
    return np.asarray(2 * is_named + is_one, np.float32)


def _directed(
    forms: Forms, vocabulary: Vocabulary, left: Int64s, right: Int64s
) -> dict[str, npt.NDArray[np.float32]]:
    """What the string lacks of the name, and the name of what the string calls its organisation."""
    context = forms.context_concept
    names, contexts = vocabulary.table(forms.concept), vocabulary.table(context)
    units = vocabulary.table(concept_texts(forms.units))
    name_sum, name_max = lacking(names[right], contexts[left], left, context, vocabulary)
    own_sum, own_max = lacking(names[left], contexts[right], right, context, vocabulary)
    weight = np.asarray(names @ vocabulary.weight, np.float32).ravel()[right]
    in_units, _ = overlap(names[right], units[left], vocabulary.weight)
    return {
        "name_lacking": name_sum,
        "name_lacking_rarest": name_max,
        "mention_lacking": own_sum,
        "mention_lacking_rarest": own_max,
        "name_in_units": np.divide(in_units, weight, out=np.zeros_like(weight), where=weight > 0),
        "name_weight": weight,
    } | abbreviated(names, contexts, vocabulary, left, right)


def _taken(forms: Forms, index: Int64s) -> Forms:
    """The entries of some mentions or names."""
    numbers = index.tolist()
    columns: dict[str, Any] = {
        f.name: [getattr(forms, f.name)[i] for i in numbers]
        for f in fields(Forms)
        if f.name not in ("is_main", "keys", "known")
    }
    return Forms(**columns, is_main=forms.is_main[index], keys={})
