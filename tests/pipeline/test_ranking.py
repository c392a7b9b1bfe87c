"""How well scores order the candidates of each query, held against scikit-learn and by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, ndcg_score

from pipeline.evaluation.ranking import ranking_quality

PAIRS = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7), st.booleans()), min_size=1, max_size=40)


@given(PAIRS, st.randoms(use_true_random=False))
def test_it_is_the_mean_of_what_scikit_learn_says_of_each_query(pairs, random) -> None:
    unique = {(min(a, b), max(a, b)): hit for a, b, hit in pairs if a != b}
    left, right = (np.array([p[i] for p in unique], np.int64) for i in (0, 1))
    hits = np.array(list(unique.values()), bool)
    scores = list(range(len(unique)))
    random.shuffle(scores)
    score = np.array(scores, float)
    found = ranking_quality(left, right, score, hits)
    precision, rank, gain = [], [], []
    for query in range(8):
        own = np.flatnonzero((left == query) | (right == query))
        truth = hits[own]
        if not truth.any():
            continue
        precision.append(average_precision_score(truth, score[own]))
        order = own[np.argsort(-score[own])]
        rank.append(1 / (1 + np.flatnonzero(hits[order])[0]))
        gain.append(ndcg_score([truth], [score[own]], k=10) if len(own) > 1 else 1.0)
    assert found.n_queries == len(precision)
    expected = [np.mean(x) if x else 0.0 for x in (precision, rank, gain)]
    assert [found.mean_average_precision, found.reciprocal_rank, found.discounted_gain] == pytest.approx(
        expected
    )


def test_a_first_hit_below_the_cut_counts_nothing() -> None:
    left, right = np.zeros(3, np.int64), np.arange(1, 4)
    hits = np.array([False, False, True])
    found = ranking_quality(left, right, np.array([3.0, 2.0, 1.0]), hits, cut=2)
    # Two queries: string 0, whose hit is third, and string 3, whose hit is first.
    assert found.n_queries == 2
    assert found.reciprocal_rank == pytest.approx(0.5)
    assert found.discounted_gain == pytest.approx(0.5)
    assert found.mean_average_precision == pytest.approx((1 / 3 + 1) / 2)


def test_no_pairs_are_no_queries() -> None:
    none = np.empty(0, np.int64)
    assert ranking_quality(none, none, np.empty(0), np.empty(0, bool)).n_queries == 0
