"""What the nouns refuse, and what they promise."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import duckdb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import AffilError, UsageError
from pipeline.records import (
    PARTNER,
    Affiliations,
    Cleaned,
    Matches,
    Mention,
    Mentions,
    ScoredPairs,
    SetAside,
    affiliation_id,
    not_rescored,
)

STRINGS = Affiliations(["a1", "a2"], ["Univ A", "Univ B"], np.array([3, 1]))
MAIN, OTHER = Mention("A"), Mention("B", PARTNER)


def scored(left: list[int], right: list[int]) -> ScoredPairs:
    n = len(left)
    return ScoredPairs(
        np.array(left, np.int64),
        np.array(right, np.int64),
        np.zeros(n, np.float32),
        np.ones(n, np.uint8),
        np.zeros(n),
        np.full(n, np.nan),
    )


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_an_affiliation_id_is_the_one_that_duckdb_makes(raw: str) -> None:
    found = duckdb.execute("SELECT 'a' || md5(?)[:16]", [raw]).fetchone()
    assert found == (affiliation_id(raw),)


def test_a_lone_surrogate_has_an_id() -> None:
    assert len(affiliation_id("Univ \ud800")) == 17


def test_affiliations_need_columns_of_one_length() -> None:
    with pytest.raises(AffilError, match="one length"):
        Affiliations(["a1"], ["x", "y"], np.array([1]))


def test_records_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        STRINGS.affiliation = []  # type: ignore[misc]


def test_cleaning_gives_one_text_each() -> None:
    with pytest.raises(AffilError, match="one text"):
        Cleaned(STRINGS, ["only one"], SetAside.empty())


@pytest.mark.parametrize(
    ("affiliation", "mention", "message"),
    [
        ([0], [], "one affiliation number each"),
        ([1, 0], [MAIN, MAIN], "in the order"),
        ([0, 0], [MAIN, MAIN], "exactly one main"),
        ([0], [OTHER], "exactly one main"),
        ([0, 1], [MAIN, OTHER], "exactly one main"),
    ],
)
def test_mentions_are_refused(affiliation: list[int], mention: list[Mention], message: str) -> None:
    with pytest.raises(AffilError, match=message):
        Mentions(STRINGS, np.array(affiliation, np.int64), mention)


@pytest.mark.parametrize(
    ("affiliation", "mention"), [([], []), ([0, 0, 1], [OTHER, MAIN, MAIN]), ([1], [MAIN])]
)
def test_mentions_are_taken(affiliation: list[int], mention: list[Mention]) -> None:
    assert len(Mentions(STRINGS, np.array(affiliation, np.int64), mention)) == len(mention)


@pytest.mark.parametrize(("left", "right"), [([1], [0]), ([2], [2]), ([0, 3], [1, 2])])
def test_scored_pairs_need_left_before_right(left: list[int], right: list[int]) -> None:
    with pytest.raises(AffilError, match="left < right"):
        scored(left, right)


def test_scored_pairs_need_columns_of_one_length() -> None:
    with pytest.raises(AffilError, match="one length"):
        replace(scored([0], [1]), logit=np.zeros(2))


@pytest.mark.parametrize("probability", [-0.1, 1.0001, np.nan])
def test_a_probability_lies_between_0_and_1(probability: float) -> None:
    with pytest.raises(AffilError, match="between 0 and 1"):
        Matches(scored([0], [1]), np.array([probability]))


def test_matches_need_one_probability_a_pair() -> None:
    with pytest.raises(AffilError, match="one probability a pair"):
        Matches(scored([0], [1]), np.empty(0))
    assert len(Matches(scored([], []), np.empty(0))) == 0


def test_what_is_set_aside_adds_up() -> None:
    one = SetAside(["x"], ["email"], [2], [False], [0])
    both = SetAside.empty() + one + one
    assert len(both) == 2
    assert (both.string, both.n_occurrences) == (["x", "x"], [2, 2])


def test_a_usage_error_is_an_error_of_the_program() -> None:
    assert issubclass(UsageError, AffilError)


@given(
    st.sets(st.tuples(st.integers(0, 6), st.integers(7, 12))),
    st.sets(st.tuples(st.integers(0, 6), st.integers(7, 12))),
    st.booleans(),
)
def test_joined_pairs_are_all_of_both_in_order(
    one: set[tuple[int, int]], other: set[tuple[int, int]], is_rescored: bool
) -> None:
    def pairs(ends: set[tuple[int, int]]) -> ScoredPairs:
        found = scored(*(list(side) for side in zip(*sorted(ends), strict=True))) if ends else scored([], [])
        found = replace(found, logit=found.left * 100.0 + found.right)
        return found if is_rescored else replace(found, rescored=not_rescored(len(ends)))

    both = pairs(one).joined(pairs(other - one))
    assert list(zip(both.left.tolist(), both.right.tolist(), strict=True)) == sorted(one | other)
    assert both.logit.tolist() == (both.left * 100.0 + both.right).tolist()
    assert len(both.rescored) == len(both) and np.isnan(both.rescored).all()
    if not is_rescored and other - one:
        assert both.rescored.strides == (0,)
