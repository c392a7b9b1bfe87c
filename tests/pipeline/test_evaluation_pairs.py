"""What scored pairs say about gold: calibration of the probabilities, and what blocking lost."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss

from pipeline.errors import AffilError, UsageError
from pipeline.evaluation import Gold, Memberships, evaluate, reliability
from pipeline.evaluation.blocking_loss import blocking_loss, is_true_pair

probabilities = st.lists(
    st.tuples(st.one_of(st.sampled_from([0.0, 0.3, 0.5, 1.0]), st.floats(0, 1)), st.booleans()),
    min_size=1,
    max_size=60,
)
label_sets = st.lists(st.frozensets(st.sampled_from("XYZ"), min_size=1), min_size=2, max_size=9)


@given(probabilities)
@settings(deadline=None)
def test_reliability_agrees_with_scikit_learn(rows: list[tuple[float, bool]]) -> None:
    p, truth = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    found = reliability(p, truth)
    assert found is not None
    assert found.brier == pytest.approx(brier_score_loss(truth, p, pos_label=True), abs=1e-12)
    assert found.log_loss == pytest.approx(log_loss(truth, p, labels=[False, True]), abs=1e-9)
    if truth.any():
        assert found.average_precision == pytest.approx(average_precision_score(truth, p))
    else:
        assert found.average_precision is None
    assert sum(b.n_pairs for b in found.bins) == found.n_pairs == len(rows)
    assert all(b.low <= b.mean_probability <= b.high for b in found.bins)


def test_reliability_by_hand() -> None:
    # Bin [0.8, 0.9): 0.8 0.8 0.8 0.8, three true → said 0.8, seen 0.75; last bin [0.9, 1]: 1.0, true.
    # ECE = (4·|0.8 − 0.75| + 1·0) / 5 = 0.04;  Brier = (3·0.04 + 0.64 + 0) / 5 = 0.152
    found = reliability(np.array([0.8, 0.8, 0.8, 0.8, 1.0]), np.array([True, True, True, False, True]))
    assert found is not None
    assert [(b.low, b.high, b.n_pairs) for b in found.bins] == [(0.8, 0.9, 4), (0.9, 1.0, 1)]
    assert found.bins[0].observed_share == 0.75
    assert found.expected_calibration_error == pytest.approx(0.04)
    assert found.brier == pytest.approx(0.152)
    # Recall 1/4 at precision 1, then 3/4 more at precision 4/5.
    assert found.average_precision == pytest.approx(0.25 * 1 + 0.75 * 0.8)
    assert found.to_dict()["bins"][1]["n_pairs"] == 1


def test_calibrated_probabilities_have_a_small_error() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(50_000)
    truth = rng.random(50_000) < p
    honest, bold = reliability(p, truth), reliability(p**0.2, truth)
    assert honest is not None and bold is not None
    assert honest.expected_calibration_error < 0.01 < 0.2 < bold.expected_calibration_error
    assert honest.average_precision == pytest.approx(bold.average_precision)


def test_reliability_of_nothing_and_of_nonsense() -> None:
    assert reliability(np.array([]), np.array([], bool)) is None
    with pytest.raises(AffilError, match=r"in 0\.\.1"):
        reliability(np.array([np.nan]), np.array([True]))
    with pytest.raises(AffilError, match="1 probabilities for 2"):
        reliability(np.array([0.5]), np.array([True, False]))


def test_blocking_loss_by_hand() -> None:
    # gold {0 1 2 3} {4 5}; proposed 01 12 (true), 34 (false). True pairs 6 + 1 = 7, proposed 2 of them.
    # A perfect matcher makes {0 1 2} {3} {4} {5}: recall (3·3/4 + 1/4 + 1/2 + 1/2) / 6 = 3.5/6
    gold = Memberships.of_sets([{"X"}] * 4 + [{"Y"}] * 2)
    found = blocking_loss(np.array([0, 1, 3]), np.array([1, 2, 4]), gold)
    assert (found.n_pairs, found.n_true_pairs, found.n_true_pairs_proposed) == (3, 7, 2)
    assert found.pair_completeness == pytest.approx(2 / 7)
    assert found.b3_recall_ceiling == pytest.approx(3.5 / 6)


@given(label_sets, st.data())
@settings(deadline=None)
def test_blocking_loss_by_definition(labels: list[frozenset[str]], data: st.DataObject) -> None:
    gold = Memberships.of_sets(labels)
    every = list(itertools.combinations(range(len(labels)), 2))
    proposed = sorted(data.draw(st.sets(st.sampled_from(every))))
    left, right = (np.array([pair[side] for pair in proposed], np.int64) for side in (0, 1))
    found = blocking_loss(left, right, gold)
    true = {(i, j) for i, j in every if labels[i] & labels[j]}
    assert is_true_pair(left, right, gold).tolist() == [pair in true for pair in proposed]
    assert (found.n_true_pairs, found.n_true_pairs_proposed) == (len(true), len(true & set(proposed)))
    assert 0 < found.b3_recall_ceiling <= 1 + 1e-12
    if true <= set(proposed):
        assert found.b3_recall_ceiling == pytest.approx(1.0)
        assert found.pair_completeness == (1.0 if true else None)
    fewer = blocking_loss(left[::2], right[::2], gold)
    assert fewer.b3_recall_ceiling <= found.b3_recall_ceiling + 1e-12


MENTIONS = pd.DataFrame(
    [
        ("m0", "a", "1", "main"),
        ("m1", "a", "2", "partner"),
        ("m2", "b", "1", "main"),
        ("m3", "c", "3", "main"),
        ("m4", "d", "2", "main"),
        ("m5", "not in gold", "1", "main"),
    ],
    columns=["mention_id", "affiliation", "entity_id", "role"],
)
PAIRS = pd.DataFrame(
    [
        ("m2", "m0", 0.9),  # a–b
        ("m0", "m3", 0.4),  # a–c
        ("m1", "m4", 0.8),  # a–d, through a partner mention
        ("m4", "m0", 0.1),  # a–d again, through the main mention
        ("m0", "m1", 0.2),  # both in a
        ("m0", "m5", 0.7),  # not in gold
        ("m3", "m4", None),  # c–d, without a probability
    ],
    columns=["left_mention_id", "right_mention_id", "probability"],
)


def test_single_labels_are_judged_by_main_mentions() -> None:
    gold = Gold(["a", "b", "c", "d"], [("X",), ("X",), ("X",), ("Y",)])
    found = evaluate(MENTIONS, gold, pairs=PAIRS, n_bootstrap=0)
    assert found.calibration is not None and found.blocking is not None
    # a–b .9 true, a–c .4 true, a–d .1 false; c–d has no probability but was proposed.
    assert (found.calibration.n_pairs, found.calibration.n_true) == (3, 2)
    assert found.calibration.brier == pytest.approx((0.1**2 + 0.6**2 + 0.1**2) / 3)
    assert (found.blocking.n_pairs, found.blocking.n_true_pairs) == (4, 3)
    assert found.blocking.pair_completeness == pytest.approx(2 / 3)
    assert found.blocking.b3_recall_ceiling == 1.0
    names = [row.name for row in found.table()]
    assert {"Brier", "pair completeness of blocking", "average precision of pairs"} <= set(names)
    assert found.to_dict()["blocking"]["n_true_pairs_proposed"] == 2


def test_several_labels_are_judged_by_all_mentions() -> None:
    gold = Gold(["a", "b", "c", "d"], [("X", "Y"), ("X",), ("X",), ("Y",)])
    found = evaluate(MENTIONS, gold, pairs=PAIRS, n_bootstrap=0)
    assert found.calibration is not None
    # a–d is true now, and its likeliest pair of mentions (.8) stands for it.
    assert (found.calibration.n_pairs, found.calibration.n_true) == (3, 3)
    assert found.calibration.brier == pytest.approx((0.1**2 + 0.6**2 + 0.2**2) / 3)


def test_pairs_outside_gold_are_a_warning() -> None:
    gold = Gold(["a", "b"], [("X",), ("X",)])
    found = evaluate(MENTIONS, gold, pairs=PAIRS.iloc[5:6], n_bootstrap=0)
    assert found.calibration is None
    assert found.blocking is not None and found.blocking.pair_completeness == 0.0
    assert found.blocking.b3_recall_ceiling == 0.5
    assert "no scored pair joins two gold strings" in found.warnings[-1]
    assert evaluate(MENTIONS, gold, pairs=PAIRS.iloc[:0], n_bootstrap=0).blocking == found.blocking


def test_gold_of_singletons_has_no_pair_to_lose() -> None:
    found = evaluate(MENTIONS, Gold(["a", "b"], [("X",), ("Y",)]), pairs=PAIRS, n_bootstrap=20)
    assert found.blocking is not None and found.calibration is not None
    assert found.blocking.pair_completeness is found.calibration.average_precision is None
    assert found.blocking.b3_recall_ceiling == 1.0
    assert not {"average precision of pairs", "pair completeness of blocking"} & {
        r.name for r in found.table()
    }


def test_wrong_pairs_are_explained() -> None:
    gold = Gold(["a", "b"], [("X",), ("X",)])
    with pytest.raises(
        UsageError, match="pairs have no column 'probability'; columns there: left_mention_id"
    ):
        evaluate(MENTIONS, gold, pairs=PAIRS.drop(columns="probability"))
    with pytest.raises(UsageError, match="mentions have no column 'mention_id'"):
        evaluate(MENTIONS.drop(columns="mention_id"), gold, pairs=PAIRS)
    with pytest.raises(UsageError, match="'m0' occurs more than once"):
        evaluate(MENTIONS.assign(mention_id="m0"), gold, pairs=PAIRS)
    with pytest.raises(UsageError, match=r"lie in 0\.\.1; the pairs hold 90"):
        evaluate(MENTIONS, gold, pairs=PAIRS.assign(probability=90.0))
