"""A run with its ids resolved to row numbers, and what the report asks of its pairs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.errors import UsageError

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Evidence:
    """A run with its ids resolved to row numbers; rows are in the order of their ids, whatever the input's.

    Attributes:
        entity: the row in `institutions` of each mention, -1 for none, shape (n_mentions,).
        left, right: the rows in `mentions` of each pair that has both ends there, shape (n_pairs,).
        rule: what proposed each pair; similarity, probability: of each pair, NaN where unknown.
        is_inside: whether both ends of a pair belong to one institution.
    """

    mentions: pd.DataFrame
    institutions: pd.DataFrame
    entity: Int64s
    left: Int64s
    right: Int64s
    rule: pd.Series[Any]
    similarity: Float64s
    probability: Float64s
    is_inside: npt.NDArray[np.bool_]


def gather(mentions: pd.DataFrame, institutions: pd.DataFrame, pairs: pd.DataFrame) -> Evidence:
    """Tables of a run in, evidence out.

    Raises:
        UsageError: where a mention id or an entity id occurs twice.
    """
    mentions = _by_id(mentions, "mention_id", "mentions")
    institutions = _by_id(institutions, "entity_id", "institutions")
    entity = _rows(institutions["entity_id"], mentions["entity_id"])
    index = pd.Index(mentions["mention_id"])
    left, right = _rows(index, pairs["left_mention_id"]), _rows(index, pairs["right_mention_id"])
    is_known = (left >= 0) & (right >= 0)
    left, right = left[is_known], right[is_known]
    return Evidence(
        mentions=mentions,
        institutions=institutions,
        entity=entity,
        left=np.minimum(left, right),
        right=np.maximum(left, right),
        rule=pairs["rule"][is_known],
        similarity=floats(pairs["similarity"])[is_known],
        probability=floats(pairs["probability"])[is_known],
        is_inside=(entity[left] >= 0) & (entity[left] == entity[right]),
    )


def floats(column: pd.Series[Any]) -> Float64s:
    """A column of numbers as float64, NaN where a value is missing, shape (n,)."""
    return pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)


def _by_id(table: pd.DataFrame, column: str, name: str) -> pd.DataFrame:
    if table[column].duplicated().any():
        raise UsageError(f"{name}: {column} must be unique, but some occur twice; write the run folder again")
    return table.sort_values(column, ignore_index=True)


def _rows(ids: Iterable[Any], wanted: pd.Series[Any]) -> Int64s:
    return np.asarray(pd.Index(ids).get_indexer(pd.Index(wanted)), np.int64)


def weakest_links(evidence: Evidence) -> Float64s:
    """The lowest probability of a pair inside each institution, NaN where there is none, shape (n,)."""
    weakest = np.full(len(evidence.institutions), np.inf)
    inside = np.flatnonzero(evidence.is_inside & ~np.isnan(evidence.probability))
    np.minimum.at(weakest, evidence.entity[evidence.left[inside]], evidence.probability[inside])
    weakest[np.isinf(weakest)] = np.nan
    return weakest


def strongest_first(evidence: Evidence, pairs: Int64s, group: Int64s | None = None) -> Int64s:
    """The order of `pairs` by group, then from the most probable to the least; ties by similarity and ids."""
    keys = (
        evidence.right[pairs],
        evidence.left[pairs],
        -evidence.similarity[pairs],
        -evidence.probability[pairs],
    )
    return np.lexsort(keys if group is None else (*keys, group)).astype(np.int64)
