"""Pairs to learn from: what people said of two strings, and what follows from it."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.clustering import Constraints, must_groups
from pipeline.consolidation import mention_ids
from pipeline.judgements import IS_ID, Judgements, hold, raw_string
from pipeline.records import Int64s
from pipeline.scoring import PairFeatures, vocabulary_of
from pipeline.training.labelled_pairs import Frequencies, proposed
from pipeline.training.scorer import LabelledPairs


@dataclass(frozen=True)
class JudgedPairs:
    """What was said of pairs.

    Attributes:
        pairs: all features of them, and whether they are one institution.
        n_unknown: judgements left out because a string of theirs is missing: they name its id alone.
        n_held_out: judgements left out because they are about a string that is held out.
    """

    pairs: LabelledPairs
    n_unknown: int
    n_held_out: int


def judged_pairs(
    judgements: Judgements, frequencies: Frequencies, held_out: Set[str] = frozenset()
) -> JudgedPairs:
    """Judgements to the pairs that they settle: those judged, and of those proposed what follows from them.

    Args:
        judgements: what was said; two strings of one registry id are one institution, of two ids two.
        frequencies: behind the weights of tokens.
        held_out: raw strings of which nothing may be learnt.
    """
    strings_of = [
        {
            raw
            for cell in ((j.left,) if j.verdict == IS_ID else (j.left, j.right))
            if (raw := raw_string(cell))
        }
        for j in judgements.items
    ]
    is_free = [held_out.isdisjoint(strings) for strings in strings_of]
    own = [(j, s) for j, s, free in zip(judgements.items, strings_of, is_free, strict=True) if free]
    said = Judgements(tuple(j for j, _ in own))
    mentions, forms, pairs = proposed(sorted(set().union(*(s for _, s in own))))
    ids = mention_ids(mentions)
    held = hold(said, ids)
    number = {name: n for n, name in enumerate(ids)}
    told = [(number.get(j.left_id, -1), number.get(j.right_id, -1)) for j in said.items]
    direct = np.array([ends for ends in told if min(ends) >= 0], np.int64).reshape(-1, 2)
    both = np.concatenate([np.stack([pairs.left, pairs.right], axis=1), np.sort(direct, axis=1)])
    left, right = np.unique(both, axis=0).T
    is_match, is_settled = _settled(left, right, held.constraints, len(ids))
    left, right = left[is_settled], right[is_settled]
    values = PairFeatures(forms, vocabulary_of(forms, frequencies)).of(left, right)
    n_held_out = len(is_free) - sum(is_free)
    return JudgedPairs(LabelledPairs(values, is_match[is_settled]), len(held.unknown), n_held_out)


def _settled(
    left: Int64s, right: Int64s, constraints: Constraints, n: int
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Pairs of mentions to whether they are one institution, and whether that is known."""
    group = must_groups(n, constraints)
    identity = np.full(n, -1, np.int64)
    identity[group[constraints.named]] = constraints.identity
    low, high = np.sort(np.stack([group[left], group[right]]), axis=0)
    apart = np.sort(np.stack([group[constraints.cannot_left], group[constraints.cannot_right]]), axis=0)
    is_two = np.isin(low * n + high, apart[0] * n + apart[1])
    is_two |= (identity[low] >= 0) & (identity[high] >= 0) & (identity[low] != identity[high])
    is_one = (low == high) & (left != right)
    return is_one, is_one | is_two
