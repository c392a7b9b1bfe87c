"""Items of one source are evidence against joining them."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.clustering import set_siblings_apart


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def test_a_pair_of_siblings_loses_its_probability_and_missing_ones_are_added() -> None:
    # Items 0, 1 and 2 come from one string; 3 and 4 from two others.
    left, right, probability = set_siblings_apart(
        ints(0, 0, 3), ints(1, 3, 4), np.array([0.9, 0.8, 0.7]), ints(0, 0, 0, 1, 2)
    )
    found = dict(zip(zip(left.tolist(), right.tolist(), strict=True), probability.tolist(), strict=True))
    assert found == {(0, 1): 0.0, (0, 3): 0.8, (3, 4): 0.7, (0, 2): 0.0, (1, 2): 0.0}


def test_nothing_changes_where_every_item_stands_alone() -> None:
    given_pairs = ints(0, 1), ints(2, 2), np.array([0.1, 1.0])
    for before, after in zip(given_pairs, set_siblings_apart(*given_pairs, ints(4, 7, 9)), strict=True):
        assert np.array_equal(before, after)


def test_no_items_and_no_pairs() -> None:
    none = ints()
    assert [len(c) for c in set_siblings_apart(none, none, np.empty(0), none)] == [0, 0, 0]
    left, right, probability = set_siblings_apart(none, none, np.empty(0), ints(0, 0))
    assert (left.tolist(), right.tolist(), probability.tolist()) == ([0], [1], [0.0])


@given(st.lists(st.integers(1, 4), max_size=8), st.integers(0, 2**32 - 1))
def test_siblings_have_probability_zero_and_all_else_is_as_it_was(sizes: list[int], seed: int) -> None:
    group = np.repeat(np.arange(len(sizes)) * 3, sizes)
    rng = np.random.default_rng(seed)
    every = list(combinations(range(len(group)), 2))
    asked = [pair for pair in every if rng.random() < 0.4]
    given_probability = {pair: float(rng.random()) for pair in asked}
    columns = np.array(asked, np.int64).reshape(-1, 2)
    left, right, probability = set_siblings_apart(
        columns[:, 0], columns[:, 1], np.array(list(given_probability.values())), group
    )
    pairs = list(zip(left.tolist(), right.tolist(), strict=True))
    siblings = {(i, j) for i, j in every if group[i] == group[j]}
    assert len(pairs) == len(set(pairs))
    assert all(i < j for i, j in pairs)
    assert set(pairs) == siblings | set(asked)
    expected = [0.0 if pair in siblings else given_probability[pair] for pair in pairs]
    assert probability.tolist() == expected
