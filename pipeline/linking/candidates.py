"""Candidates: the records that a mention could be, each by its best name, and what sets them apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blocking import CandidatePairs
from pipeline.linking.comparing import (
    NO_LOGIT,
    above_best,
    best_others,
    margin,
    rank,
    relatives,
    within_others,
)
from pipeline.linking.features import NAMES as NAME_FEATURES
from pipeline.linking.features import RegistryFacts
from pipeline.linking.standing import NAMES as STANDING
from pipeline.records import Float64s, Int64s
from pipeline.registry.schema import DISPLAY, KINDS, LABEL
from pipeline.scoring.tokens import Float32s

#: Features of the best name that are looked at again when records are chosen among.
_KEPT = (
    *("organization_ratio", "organization_token_sort", "organization_token_set", "context_token_set"),
    *("country", "region", "city", "name_lacking", "name_lacking_rarest", "mention_lacking"),
    *("mention_lacking_rarest", "kind", "type", "mention_class", "n_same_name", "n_same_name_here"),
    *("is_main", "name_in_units", "n_children", "has_parent", "is_closed", "same_organization", "acronym"),
    *("name_weight", "organization_jaccard", "hospital", "classes_in_context"),
    *(name for name in STANDING if name not in ("stands_at", "stands_length")),
)
#: What is best over all names of a record; the longest one that stands in the string, and how many do.
_OF_NAMES = ("best_ratio", "least_lacking", "least_lacking_own", "n_standing", "standing_length")
#: In the order of the columns of `Candidates.features`.
NAMES = (
    *("logit", "margin", "rank", "parent_logit", "child_logit", "covered", "covered_margin"),
    *("mention_logit", "string_margin", "elsewhere_logit", "elsewhere_first_logit", "n_mentions"),
    *("place_margin", "namesake_margin", "is_within", "around_logit"),
    *_OF_NAMES,
    *_KEPT,
)
#: A name of which the string lacks no more than this (of a token's weight) stands in it whole.
_WHOLE = 0.02
#: Lacks more than any name does.
_LACKS_ALL = 9.0


@dataclass(frozen=True)
class Candidates:
    """Records for mentions, ordered by (mention, -logit, record); each mention and record once.

    Attributes:
        mention: mention number, int64, shape (n,).
        record: number of the record that stands for what was found (`Registry.current`), int64, shape (n,).
        name: number of its best name, int64, shape (n,).
        logit: log-odds of that name, float64, shape (n,).
        features: float32, shape (n, len(NAMES)).
    """

    mention: Int64s
    record: Int64s
    name: Int64s
    logit: Float64s
    features: Float32s

    def __len__(self) -> int:
        return len(self.mention)


def candidates(
    pairs: CandidatePairs, values: Float32s, logit: Float64s, string: Int64s, facts: RegistryFacts
) -> Candidates:
    """Pairs of mention and name, their features and log-odds, to the records that mentions choose among.

    Args:
        pairs: names count on from the mentions.
        values: their features, shape (n pairs, len(NAME_FEATURES)).
        logit: their log-odds, shape (n pairs,).
        string: number of each mention's string, shape (n mentions,).
        facts: the registry.
    """
    registry, name = facts.registry, pairs.right - len(string)
    record = registry.current[facts.names.names.record[name]]
    # Of the names of a record the best one stands for it; ties go to the first in the file.
    order = np.lexsort([name, -logit, record, pairs.left])
    mention_sorted, record_sorted = pairs.left[order], record[order]
    is_first = np.ones(len(order), bool)
    is_first[1:] = (np.diff(mention_sorted) != 0) | (np.diff(record_sorted) != 0)
    best = order[is_first]
    place = np.lexsort([record[best], -logit[best], pairs.left[best]])
    # The candidate of each pair: its number among those of (mention, record), then its place.
    number, group = np.empty(len(place), np.int64), np.empty(len(order), np.int64)
    number[place] = np.arange(len(place))
    group[order] = number[np.cumsum(is_first) - 1]
    best = best[place]

    column = {n: values[:, i] for i, n in enumerate(NAME_FEATURES)}
    bits = facts.names.names.kind[name]
    columns = {n: column[n][best] for n in _KEPT} | _of_names(group, len(best), column, bits)
    mention, chosen = pairs.left[best], record[best]
    columns |= _compared(columns, mention, chosen, logit[best], string, facts)
    columns |= _placed(columns, mention, facts.name_concept[name[best]])
    features = np.stack([np.asarray(columns[n], np.float32) for n in NAMES], axis=1)
    return Candidates(mention, chosen, name[best], logit[best], features)


def _of_names(
    group: Int64s, n: int, column: dict[str, Float32s], kind: npt.NDArray[np.uint8]
) -> dict[str, Float32s]:
    """What all names of a candidate say together; `group` is the candidate of each pair."""

    def greatest(values: Float32s, none: float = 0.0) -> Float32s:
        found = np.full(n, none, np.float32)
        np.maximum.at(found, group, values.astype(np.float32))
        return found

    lacking = column["name_lacking"]
    is_own = kind & ((1 << KINDS.index(DISPLAY)) | (1 << KINDS.index(LABEL))) > 0
    stands, length = column["stands_at"] >= 0, column["stands_length"]
    longest = greatest(length)
    at = np.where(stands & (length == longest[group]), -column["stands_at"], -np.inf)
    return {
        "best_ratio": greatest(column["organization_ratio"]),
        "least_lacking": -greatest(-lacking, -_LACKS_ALL),
        "least_lacking_own": -greatest(np.where(is_own, -lacking, -_LACKS_ALL), -_LACKS_ALL),
        "n_standing": np.minimum(np.bincount(group, stands, n), 6).astype(np.float32),
        "standing_length": longest,
        "standing_at": np.where(longest > 0, -greatest(at, -np.inf), -1),
        "covered": greatest(np.where(lacking <= _WHOLE, column["name_weight"], 0)),
    }


def _compared(
    columns: dict[str, Float32s],
    mention: Int64s,
    record: Int64s,
    logit: Float64s,
    string: Int64s,
    facts: RegistryFacts,
) -> dict[str, Float32s]:
    """What candidates are beside the others of their mention, and of their string."""
    registry = facts.registry
    place, in_string = rank(mention), string[mention]
    first = np.where(place == 0, logit, NO_LOGIT)
    up, down = relatives(mention, record, logit, registry.parents, len(registry))
    start = columns["standing_at"].astype(np.int64)
    is_within, around = within_others(mention, start, columns["standing_length"].astype(np.int64), logit)
    here = in_string * len(registry) + record
    found = {
        "logit": logit,
        "margin": np.clip(margin(mention, logit), -10, 20),
        "rank": place,
        "parent_logit": up,
        "child_logit": down,
        "covered_margin": margin(mention, columns["covered"].astype(np.float64)),
        "mention_logit": logit - above_best(mention, logit),
        "string_margin": above_best(in_string, logit),
        "elsewhere_logit": best_others(here, logit, NO_LOGIT),
        "elsewhere_first_logit": best_others(here, first, NO_LOGIT),
        "n_mentions": np.minimum(np.bincount(string)[in_string], 6),
        "is_within": is_within,
        "around_logit": around,
    }
    return {name: np.asarray(column, np.float32) for name, column in found.items()}


def _placed(columns: dict[str, Float32s], mention: Int64s, concept: Int64s) -> dict[str, Float32s]:
    """How far candidates are behind the one whose place agrees best: of all, and of those of one name."""
    place = (4 * columns["country"] + 2 * columns["city"] + columns["region"]).astype(np.float64)
    namesake = mention * (int(concept.max(initial=0)) + 1) + concept
    return {
        "place_margin": above_best(mention, place).astype(np.float32),
        "namesake_margin": above_best(namesake, place).astype(np.float32),
    }
