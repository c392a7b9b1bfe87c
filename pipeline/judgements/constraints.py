"""Judgements and the mentions of a run in, the constraints that hold in this run out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.clustering import Constraints, must_groups
from pipeline.judgements.judgement import IS_ID, Judgement, Judgements, Nodes
from pipeline.records import Int64s


@dataclass(frozen=True)
class Held:
    """Constraints between mention numbers, and the judgements that name a mention the run does not have."""

    constraints: Constraints
    unknown: tuple[Judgement, ...]


def hold(judgements: Judgements, mention_id: Sequence[str]) -> Held:
    """Judgements become constraints between the mentions of a run, numbered as in `mention_id`.

    What follows from a string that this run lacks still holds: with A = B and B = C, A and C are joined
    where only they are there.
    """
    if not len(judgements):
        return Held(Constraints.none(), ())
    nodes = Nodes.of(judgements.items)
    number = {key: i for i, key in enumerate(mention_id)}
    mention = np.array([number.get(key, -1) for key in nodes.name], np.int64)
    group = must_groups(len(nodes.name), nodes.constraints)
    known = np.flatnonzero(mention >= 0)
    # One known mention stands for each group; must-links make the others follow it.
    first = np.full(len(nodes.name), -1, np.int64)
    first[group[known][::-1]] = mention[known][::-1]
    must = first[group[known]], mention[known]
    is_link = must[0] != must[1]
    cannot = _once(first[group[nodes.constraints.cannot_left]], first[group[nodes.constraints.cannot_right]])
    held = Constraints(must[0][is_link], must[1][is_link], *cannot)
    return Held(held, tuple(j for j in judgements.items if not _is_known(j, number)))


def _once(left: Int64s, right: Int64s) -> tuple[Int64s, Int64s]:
    """Each unordered pair once, without those that name no mention of the run."""
    is_there = (left >= 0) & (right >= 0)
    low, high = np.minimum(left, right)[is_there], np.maximum(left, right)[is_there]
    pairs = np.unique(np.stack([low, high], axis=1), axis=0)
    return pairs[:, 0], pairs[:, 1]


def _is_known(judgement: Judgement, number: dict[str, int]) -> bool:
    ends = [judgement.left_id] if judgement.verdict == IS_ID else [judgement.left_id, judgement.right_id]
    return all(end in number for end in ends)
