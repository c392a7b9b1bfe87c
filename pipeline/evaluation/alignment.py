"""A run's mentions and pairs in, the same in terms of the gold strings out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import UsageError
from pipeline.evaluation.gold import Gold
from pipeline.evaluation.memberships import Memberships
from pipeline.records import MAIN, Float64s, Int64s

if TYPE_CHECKING:
    import pandas as pd

EXAMPLE_LENGTH = 60


@dataclass(frozen=True)
class AlignedRun:
    """The entities that a run gives the gold strings, and which of its mentions speak for which string.

    `predicted` holds one singleton of its own for every string in `is_missing`, shape (n_gold,).
    `gold_string` holds for each row of the mentions the number of its gold string, -1 where the row does not
    count.
    """

    predicted: Memberships
    is_missing: npt.NDArray[np.bool_]
    gold_string: Int64s
    n_with_several: int


@dataclass(frozen=True)
class StringPairs:
    """Pairs of gold strings, each once, left < right; `probability` is NaN where the run gave none."""

    left: Int64s
    right: Int64s
    probability: Float64s


def align(mentions: pd.DataFrame, gold: Gold) -> AlignedRun:
    """Mentions (affiliation, entity_id, role) and gold in, the run's entities of the gold strings out.

    A string with one gold label is seen through its main mentions (all of them, where no main mention has an
    entity), a string with several through all. Without a `role` column every mention is a main one.

    Raises:
        UsageError: a column is missing, or no gold string is in the run.
    """
    import pandas as pd

    need_columns(mentions, ("affiliation", "entity_id"), "mentions")
    affiliation = mentions["affiliation"].to_numpy(dtype=object)
    string = pd.Index(gold.affiliation, dtype=object).get_indexer(pd.Index(affiliation, dtype=object))
    if not np.any(string >= 0):
        raise UsageError(_nothing_in_common(affiliation, gold))
    has_entity = mentions["entity_id"].notna().to_numpy()
    string = np.where(has_entity, string, -1).astype(np.int64)
    is_main = _is_main(mentions)
    n = len(gold)
    has_main = np.bincount(string[is_main & (string >= 0)], minlength=n) > 0
    by_main = has_main & (np.fromiter(map(len, gold.labels), np.int64, n) == 1)
    counts = (string >= 0) & (is_main | ~by_main[string])
    entity = pd.factorize(mentions["entity_id"])[0].astype(np.int64)
    is_missing = np.bincount(string[counts], minlength=n) == 0
    missing = np.flatnonzero(is_missing)
    predicted = Memberships.of(
        np.concatenate([string[counts], missing]),
        np.concatenate([entity[counts], len(mentions) + np.arange(len(missing))]),
        n,
    )
    labelled = string >= 0
    distinct = np.unique(string[labelled] * (len(mentions) + 1) + entity[labelled]) // (len(mentions) + 1)
    n_with_several = int((np.bincount(distinct, minlength=n) > 1).sum())
    return AlignedRun(predicted, is_missing, np.where(counts, string, -1), n_with_several)


def pairs_of_strings(pairs: pd.DataFrame, mentions: pd.DataFrame, run: AlignedRun) -> StringPairs:
    """Scored pairs of mentions in, the pairs of two gold strings among them out.

    Where several pairs of mentions join the same two strings, the highest probability stands for the strings:
    strings are linked when any of their mentions match.

    Raises:
        UsageError: a column is missing, a mention id occurs twice, or a probability lies outside 0..1.
    """
    import pandas as pd

    need_columns(pairs, ("left_mention_id", "right_mention_id", "probability"), "pairs")
    need_columns(mentions, ("mention_id",), "mentions")
    rows = np.flatnonzero(run.gold_string >= 0)
    ids = pd.Index(mentions["mention_id"].iloc[rows])
    if not ids.is_unique:
        raise UsageError(
            f"mention id {ids[ids.duplicated()][0]!r} occurs more than once in the run's mentions"
        )
    ends = [ids.get_indexer(pd.Index(pairs[c])) for c in ("left_mention_id", "right_mention_id")]
    inside = np.flatnonzero((ends[0] >= 0) & (ends[1] >= 0))
    a, b = (run.gold_string[rows[end[inside]]] for end in ends)
    probability = pairs["probability"].iloc[inside].to_numpy(np.float64, na_value=np.nan)
    outside = (probability < 0) | (probability > 1)
    if outside.any():
        raise UsageError(f"match probabilities lie in 0..1; the pairs hold {probability[outside][0]:g}")
    return _distinct_pairs(a, b, probability)


def _distinct_pairs(a: Int64s, b: Int64s, probability: Float64s) -> StringPairs:
    left, right = np.minimum(a, b), np.maximum(a, b)
    # Unknown probabilities first, then rising: the last row of each pair is the one to keep.
    order = np.lexsort((np.nan_to_num(probability, nan=-1.0), right, left))
    left, right, probability = left[order], right[order], probability[order]
    is_last = np.append((np.diff(left) != 0) | (np.diff(right) != 0), np.ones(min(len(left), 1), bool))
    keep = is_last & (left < right)
    return StringPairs(left[keep], right[keep], probability[keep])


def need_columns(frame: pd.DataFrame, columns: Sequence[str], name: str) -> None:
    """Raise a UsageError that lists the columns there are, when `frame` lacks one of `columns`."""
    for column in columns:
        if column not in frame.columns:
            there = ", ".join(map(str, frame.columns)) or "none"
            raise UsageError(f"the run's {name} have no column '{column}'; columns there: {there}")


def _is_main(mentions: pd.DataFrame) -> npt.NDArray[np.bool_]:
    if "role" not in mentions.columns:
        return np.ones(len(mentions), bool)
    is_main: npt.NDArray[np.bool_] = mentions["role"].to_numpy(dtype=object) == MAIN
    return is_main


def _nothing_in_common(affiliation: npt.NDArray[Any], gold: Gold) -> str:
    if not len(affiliation):
        return "the run holds no mentions, so no gold string is in it"
    ours, theirs = (repr(str(s)[:EXAMPLE_LENGTH]) for s in (affiliation[0], gold.affiliation[0]))
    return f"no gold string is in the run, e.g. gold {theirs}, run {ours}: same column, same input file?"
