"""A run with its ids resolved to row numbers, and what the report asks of its pairs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from blocking import vectors
from blocking.engine import slices
from pipeline.errors import UsageError

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]

#: Below this probability a pair of different institutions is no near miss.
MIN_NEAR_MISS_PROBABILITY = 0.05
#: Edges of the chart of pairs by their probability; the last bin takes 1.0 in.
PAIR_EDGES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


@dataclass(frozen=True)
class Evidence:
    """A run with its ids resolved to row numbers; rows are in the order of their ids, whatever the input's.

    Attributes:
        entity: the row in `institutions` of each mention, -1 for none, shape (n_mentions,).
        left, right: the rows in `mentions` of each pair that has both ends there and is inside an
            institution or a near miss, shape (n shown,); of a corpus these are few.
        rule: what proposed each pair; similarity, probability: of each pair, NaN where unknown.
        is_inside: whether both ends of a pair belong to one institution.
        n_pairs: all pairs by their probability (`PAIR_EDGES`): those inside institutions, and the others.
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
    n_pairs: Int64s


def gather(mentions: pd.DataFrame, institutions: pd.DataFrame, pairs: pd.DataFrame) -> Evidence:
    """Tables of a run in, evidence out.

    Raises:
        UsageError: where a mention id or an entity id occurs twice.
    """
    mentions = _by_id(mentions, "mention_id", "mentions")
    institutions = _by_id(institutions, "entity_id", "institutions")
    entity = _rows(institutions["entity_id"], mentions["entity_id"])
    index = pd.Index(mentions["mention_id"])
    ends = [_coded_rows(index, pairs[f"{side}_mention_id"]) for side in ("left", "right")]
    similarity, probabilities = pairs["similarity"], pairs["probability"]
    kept, n_pairs = [np.empty(0, np.int64)], np.zeros((2, len(PAIR_EDGES)), np.int64)
    for part in slices(len(pairs), vectors.AT_ONCE):
        left, right = (rows[codes[part]] for rows, codes in ends)
        probability = floats(probabilities.iloc[part])
        is_known = (left >= 0) & (right >= 0) & ~np.isnan(probability)
        is_inside = is_known & (entity[left] >= 0) & (entity[left] == entity[right])
        for place, chosen in enumerate((is_inside, is_known & ~is_inside)):
            n_pairs[place] += histogram(probability[chosen], PAIR_EDGES)
        near = np.flatnonzero(is_inside | (is_known & (probability >= MIN_NEAR_MISS_PROBABILITY)))
        kept.append(part.start + near)
    # Of a million strings half of all pairs can be inside: nothing of them is held twice, and most in files.
    number = np.concatenate(kept)
    kept.clear()

    def ends_of(part: slice) -> list[Int64s]:
        return [rows[codes[number[part]]] for rows, codes in ends]

    left = vectors.filled(len(number), np.int32, lambda part: np.minimum(*ends_of(part)))
    right = vectors.filled(len(number), np.int32, lambda part: np.maximum(*ends_of(part)))

    def figures(column: pd.Series[Any]) -> Float64s:
        return vectors.filled(len(number), np.float64, lambda part: floats(column.iloc[number[part]]))

    def inside(part: slice) -> npt.NDArray[np.bool_]:
        own = entity[left[part]]
        return np.asarray((own >= 0) & (own == entity[right[part]]))

    return Evidence(
        mentions=mentions,
        institutions=institutions,
        entity=entity,
        left=left,
        right=right,
        rule=pairs["rule"].iloc[number],
        similarity=vectors.filled(
            len(number), np.float64, lambda part: floats(similarity.iloc[number[part]])
        ),
        probability=vectors.filled(
            len(number), np.float64, lambda part: floats(probabilities.iloc[number[part]])
        ),
        is_inside=vectors.filled(len(number), np.bool_, inside),
        n_pairs=n_pairs,
    )


def histogram(values: Float64s, edges: Sequence[float]) -> Int64s:
    """How many values lie from each edge to the next, the last one open; shape (len(edges),)."""
    number = np.searchsorted(np.array(edges), values, side="right") - 1
    return np.bincount(np.clip(number, 0, len(edges) - 1), minlength=len(edges)).astype(np.int64)


def floats(column: pd.Series[Any]) -> Float64s:
    """A column of numbers as float64, NaN where a value is missing, shape (n,)."""
    return pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)


def _by_id(table: pd.DataFrame, column: str, name: str) -> pd.DataFrame:
    if table[column].duplicated().any():
        raise UsageError(f"{name}: {column} must be unique, but some occur twice; write the run folder again")
    # As a run writes its mentions; a million are not copied.
    is_sorted = table[column].is_monotonic_increasing
    return table.reset_index(drop=True) if is_sorted else table.sort_values(column, ignore_index=True)


def _coded_rows(index: pd.Index[Any], ids: pd.Series[Any]) -> tuple[Int64s, npt.NDArray[np.integer[Any]]]:
    """Row of each distinct id in an index, −1 for none, and for each id of a column its number among them."""
    names = ids.astype("category").cat
    # A missing id has code −1, the last of the rows.
    rows = np.append(_rows(index, pd.Series(names.categories)), -1)
    return rows, names.codes.to_numpy()


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
