"""The second pass: groups look for groups."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blocking import RULES, BlockingError, BlockingResult, BlockingSettings, CandidatePairs, block_between
from blocking.groups import BETWEEN_GROUPS
from blocking.hashing import HashingEncoder


def blocked(
    vectors: np.ndarray, numbers: list[int] | None = None, pairs: list[tuple[int, int]] = ()
) -> BlockingResult:
    """What a first pass would have given for items of these vectors."""
    vectors = np.asarray(vectors, np.float32)
    number = np.arange(len(vectors)) if numbers is None else np.array(numbers)
    left, right = (np.array([p[side] for p in sorted(pairs)], np.int64) for side in (0, 1))
    found = CandidatePairs(left, right, np.zeros(len(left), np.float32), np.ones(len(left), np.uint8))
    return BlockingResult(found, HashingEncoder(), number, vectors, {}, {})


def proposed(result: CandidatePairs) -> set[tuple[int, int]]:
    return set(zip(result.left.tolist(), result.right.tolist(), strict=True))


def angles(*degrees: float) -> np.ndarray:
    radians = np.radians(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1)


def test_near_groups_meet_by_the_items_nearest_to_their_means() -> None:
    """Three groups: the first two are near each other, the third is not; one link a group."""
    vectors = angles(0, 10, 20, 30, 40, 50, 170, 175, 180)
    group = np.repeat([0, 1, 2], 3)
    found = block_between(
        blocked(vectors), group, BlockingSettings(n_group_neighbours=1, n_representatives=1)
    )
    assert proposed(found) == {(1, 4)}
    assert found.similarity == pytest.approx([np.cos(np.radians(30))], abs=1e-6)
    assert found.rule.tolist() == [1 << RULES.index(BETWEEN_GROUPS)]


def test_a_small_group_meets_several_items_of_a_large_one() -> None:
    vectors = angles(0, 2, 4, 6, 8, 20)
    group = np.array([0, 0, 0, 0, 0, 1])
    found = block_between(
        blocked(vectors), group, BlockingSettings(n_group_neighbours=1, n_representatives=3)
    )
    assert proposed(found) == {(1, 5), (2, 5), (3, 5)}


def test_what_the_first_pass_proposed_is_not_proposed_again() -> None:
    vectors = angles(0, 10)
    once = block_between(blocked(vectors), np.array([0, 1]))
    assert proposed(once) == {(0, 1)}
    assert not len(block_between(blocked(vectors, pairs=[(0, 1)]), np.array([0, 1])))


def test_items_without_a_text_are_left_out() -> None:
    found = block_between(blocked(angles(0, 10), numbers=[0, -1, 1]), np.array([0, 0, 1]))
    assert proposed(found) == {(0, 2)}
    assert not len(block_between(blocked(angles(0), numbers=[0, -1, -1]), np.array([0, 1, 2])))


def test_nothing_in_nothing_out_and_the_pass_can_be_left_out() -> None:
    assert not len(block_between(blocked(np.zeros((0, 2)), numbers=[]), np.empty(0, np.int64)))
    assert not len(
        block_between(blocked(angles(0, 1)), np.array([0, 1]), BlockingSettings(n_group_neighbours=0))
    )
    with pytest.raises(BlockingError, match="n_representatives must be 1 or more"):
        BlockingSettings(n_representatives=0)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(1, 8), st.integers(1, 4), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_pairs_are_new_between_groups_and_few(n: int, n_groups: int, k: int, r: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((n, 5))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    group = np.unique(rng.integers(0, n_groups, n), return_inverse=True)[1].astype(np.int64)
    known = sorted({tuple(sorted(p)) for p in rng.integers(0, n, (n, 2)).tolist() if p[0] != p[1]})
    found = block_between(
        blocked(vectors, pairs=known), group, BlockingSettings(n_group_neighbours=k, n_representatives=r)
    )
    pairs = proposed(found)
    assert len(pairs) == len(found) and pairs.isdisjoint(known)
    assert all(group[a] != group[b] for a, b in pairs)
    per_link: dict[tuple[int, int], int] = {}
    for a, b in pairs:
        link = tuple(sorted((int(group[a]), int(group[b]))))
        per_link[link] = per_link.get(link, 0) + 1
    assert max(per_link.values(), default=0) <= r
    assert len(per_link) <= k * (group.max() + 1)
