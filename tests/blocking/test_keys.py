import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocking.errors import BlockingError
from blocking.keys import key_pairs, ranges


def as_set(found):
    return set(zip(found.left.tolist(), found.right.tolist(), strict=True))


def test_items_that_share_a_key_meet_and_blank_keys_are_none():
    found = key_pairs(["a", None, "b", "a", "", "a", "", None], max_block=10)
    assert as_set(found) == {(0, 3), (0, 5), (3, 5)}
    assert (found.n_oversized_blocks, found.largest_block) == (0, 3)


def test_large_block_becomes_a_ring_and_is_counted():
    found = key_pairs(["x"] * 10 + ["y"] * 2, max_block=4)
    partners = np.bincount(np.concatenate([found.left, found.right]), minlength=12)
    assert partners.tolist() == [4] * 10 + [1, 1]
    assert {(0, 1), (0, 2), (0, 9), (0, 8)} <= as_set(found)
    assert (0, 5) not in as_set(found)
    assert (found.n_oversized_blocks, found.largest_block) == (1, 10)


def test_ring_follows_the_order_that_is_given():
    order = np.array([3, 0, 4, 1, 2])
    assert as_set(key_pairs(["x"] * 5, 2, order)) == {(0, 3), (0, 4), (1, 4), (1, 2), (2, 3)}


def test_no_items_and_no_keys():
    for keys in ([], [None, "", None], ["a", "b"]):
        assert as_set(key_pairs(keys, 5)) == set()


def test_max_block_below_two_is_refused():
    with pytest.raises(BlockingError, match="max_block must be 2 or more, got 1"):
        key_pairs(["a"], 1)


def test_ranges():
    assert ranges(np.array([2, 0, 3])).tolist() == [0, 1, 0, 1, 2]
    assert ranges(np.array([], np.int64)).tolist() == []


@given(st.lists(st.sampled_from([None, "", "a", "b", "c"]), max_size=40), st.integers(2, 12))
def test_against_a_plain_loop(keys, max_block):
    found = as_set(key_pairs(keys, max_block))
    by_key = {k: [i for i, key in enumerate(keys) if key == k] for k in set(keys) if k}
    for members in by_key.values():
        inside = {(i, j) for i in members for j in members if i < j}
        if len(members) <= max_block:
            assert inside <= found
        else:
            met = found & inside
            assert len(met) == len(members) * (max_block // 2)
    assert all(keys[i] == keys[j] and keys[i] and i < j for i, j in found)
