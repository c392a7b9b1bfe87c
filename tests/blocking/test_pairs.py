import numpy as np
import pytest

from blocking import BlockingError, CandidatePairs


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
