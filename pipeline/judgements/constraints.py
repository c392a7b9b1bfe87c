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
    """What was said of the mentions of a run.

    Attributes:
        constraints: between mention numbers.
        unknown: the judgements that name a mention the run does not have.
        registry_key: for mentions of which it was said, or follows, which record of a registry they are: its
            key (see `registry_key`).
    """

    constraints: Constraints
    unknown: tuple[Judgement, ...]
    registry_key: dict[int, str]


def hold(judgements: Judgements, mention_id: Sequence[str]) -> Held:
    """Judgements become constraints between the mentions of a run, numbered as in `mention_id`.

    What follows from a string that this run lacks still holds: with A = B and B = C, A and C are joined
    where only they are there.
    """
    if not len(judgements):
        return Held(Constraints.none(), (), {})
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
    record_of = np.full(len(first), -1, np.int64)
    record_of[group[nodes.constraints.named]] = nodes.constraints.named
    is_named = record_of[group[known]] >= 0
    key = {int(mention[i]): nodes.name[record_of[group[i]]] for i in known[is_named].tolist()}
    named = first[group[known[is_named]]], record_of[group[known[is_named]]]
    held = Constraints(must[0][is_link], must[1][is_link], *cannot, *_once_each(*named))
    return Held(held, tuple(j for j in judgements.items if not _is_known(j, number)), key)


def _once_each(item: Int64s, identity: Int64s) -> tuple[Int64s, Int64s]:
    """Each item once, with its identity."""
    found, first = np.unique(item, return_index=True)
    return found, identity[first]


def _once(left: Int64s, right: Int64s) -> tuple[Int64s, Int64s]:
    """Each unordered pair once, without those that name no mention of the run."""
    is_there = (left >= 0) & (right >= 0)
    low, high = np.minimum(left, right)[is_there], np.maximum(left, right)[is_there]
    pairs = np.unique(np.stack([low, high], axis=1), axis=0)
    return pairs[:, 0], pairs[:, 1]


def _is_known(judgement: Judgement, number: dict[str, int]) -> bool:
    ends = [judgement.left_id] if judgement.verdict == IS_ID else [judgement.left_id, judgement.right_id]
    return all(end in number for end in ends)
