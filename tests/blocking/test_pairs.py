import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import blocking.pairs
from blocking import BlockingError, CandidatePairs
from blocking.merging import joined


def pairs(left, right, similarity=None):
    similarity = [0.5] * len(left) if similarity is None else similarity
    return CandidatePairs(
        np.array(left, np.int64),
        np.array(right, np.int64),
        np.array(similarity, np.float32),
        np.ones(len(left), np.uint8),
    )


def test_good_pairs_and_none():
    assert len(pairs([0, 0, 1], [1, 2, 2])) == 3
    assert len(CandidatePairs.empty()) == 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (([0], [1], [0.1, 0.2]), "one length"),
        (([1], [1]), "left < right"),
        (([-1], [1]), "0 or more"),
        (([0, 0], [1, 1]), "each pair once"),
        (([1, 0], [2, 1]), "ordered"),
        (([0, 0], [2, 1]), "ordered"),
        (([0], [1], [1.1]), "similarity"),
    ],
)
def test_broken_pairs_are_refused(wrong, message):
    with pytest.raises(BlockingError, match=message):
        pairs(*wrong)


ENDS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)).filter(lambda p: p[0] < p[1]), unique=True)


@given(ENDS, ENDS, st.integers(1, 5))
def test_which_pairs_are_among_others(known, asked, chunk):
    columns = np.array(sorted(known), np.int64).reshape(-1, 2).T
    keys = np.array(sorted(a * 10 + b for a, b in asked), np.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocking.pairs, "_CHUNK", chunk)
        found = pairs(*columns).has(keys, 10)
        places = blocking.pairs.places_among(keys, *columns, 10)
    assert found.tolist() == np.isin(keys, columns[0] * 10 + columns[1]).tolist()
    assert places.tolist() == np.searchsorted(columns[0] * 10 + columns[1], keys).tolist()


def test_disorder_is_found_wherever_chunks_end(monkeypatch):
    monkeypatch.setattr(blocking.pairs, "_CHUNK", 2)
    ends = np.array([0, 0, 1, 1, 2]), np.array([3, 4, 2, 3, 3])
    assert len(pairs(*ends)) == 5
    for place in range(4):
        order = np.arange(5)
        order[[place, place + 1]] = order[[place + 1, place]]
        with pytest.raises(BlockingError, match="ordered"):
            pairs(*(column[order] for column in ends))


@given(
    st.sets(st.tuples(st.integers(0, 6), st.integers(7, 12))),
    st.sets(st.tuples(st.integers(0, 6), st.integers(7, 12))),
)
def test_two_lists_of_pairs_are_one_in_order(one: set[tuple[int, int]], other: set[tuple[int, int]]) -> None:
    def of(ends: set[tuple[int, int]]) -> CandidatePairs:
        left, right = np.array(sorted(ends), np.int64).reshape(-1, 2).T
        value = left / 20 + right / 200
        return CandidatePairs(left, right, value.astype(np.float32), (left + right).astype(np.uint8))

    both, whole = joined(of(one), of(other - one)), of(one | other)
    for name in ("left", "right", "similarity", "rule"):
        np.testing.assert_array_equal(getattr(both, name), getattr(whole, name))
    if one & other:
        with pytest.raises(BlockingError, match="each pair once"):
            joined(of(one), of(other))
