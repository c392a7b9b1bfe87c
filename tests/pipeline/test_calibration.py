import json
from dataclasses import replace

import numpy as np
import pytest

from blocking import vectors
from pipeline.calibration import CalibrationSettings, PlattScaling, calibrate, corpus_shift
from pipeline.errors import UsageError
from pipeline.records import Combination, ScoredPairs


def scored(logit: list[float], rescored: list[float]) -> ScoredPairs:
    n = len(logit)
    return ScoredPairs(
        np.arange(n, dtype=np.int64),
        np.arange(n, dtype=np.int64) + n,
        np.zeros(n, np.float32),
        np.ones(n, np.uint8),
        np.array(logit, np.float64),
        np.array(rescored, np.float64),
    )


def test_fit_finds_the_line_that_made_the_truth() -> None:
    rng = np.random.default_rng(0)
    logit = rng.normal(0, 8, 40_000)
    truth = (rng.random(40_000) < 1 / (1 + np.exp(-(0.6 * logit - 0.8)))).astype(float)
    found = PlattScaling.fit(logit, truth)
    assert found.slope == pytest.approx(0.6, abs=0.02)
    assert found.intercept == pytest.approx(-0.8, abs=0.05)


def test_probabilities_follow_the_calibration_file(tmp_path) -> None:
    file = tmp_path / "calibration.json"
    file.write_text(json.dumps({"slope": 2.0, "intercept": -1.0}))
    found = calibrate(scored([0.5, 10.0], [np.nan, np.nan]), CalibrationSettings(file=str(file)), 0.0)
    assert found.probability == pytest.approx([0.5, 1 / (1 + np.exp(-19.0))])


def test_a_rescored_pair_mixes_both_models(tmp_path) -> None:
    file = tmp_path / "calibration.json"
    file.write_text(json.dumps({"slope": 1.0, "intercept": 0.0}))
    settings = CalibrationSettings(
        str(file), reranker_slope=2.0, reranker_intercept=1.0, reranker_weight=0.25
    )
    found = calibrate(scored([1.0, 1.0], [np.nan, 3.0]), settings, 0.0)
    expected = 0.75 * 1.0 + 0.25 * (2.0 * 3.0 + 1.0)
    assert found.probability == pytest.approx([1 / (1 + np.exp(-1.0)), 1 / (1 + np.exp(-expected))])


def test_a_reranker_that_brings_a_combination_needs_no_settings() -> None:
    pairs = replace(scored([1.0, 1.0], [np.nan, 3.0]), combination=Combination(0.4, 0.7, -0.2))
    found = calibrate(pairs, CalibrationSettings(reranker_weight=0.0), 0.0)
    plain = calibrate(scored([1.0], [np.nan]), shift=0.0)
    # 0.4 * 1 + 0.7 * 3 - 0.2
    assert found.probability == pytest.approx([plain.probability[0], 1 / (1 + np.exp(-2.3))])


def test_raw_outputs_are_not_overwritten(tmp_path) -> None:
    pairs = scored([0.3], [0.7])
    found = calibrate(pairs, shift=0.0)
    assert found.pairs.logit.tolist() == [0.3]
    assert found.pairs.rescored.tolist() == [0.7]
    assert 0 <= found.probability[0] <= 1


def test_extreme_log_odds_stay_probabilities() -> None:
    found = calibrate(scored([-1e6, 1e6], [np.nan, np.nan]))
    assert found.probability.min() >= 0
    assert found.probability.max() <= 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no calibration"),
        ('{"slope": 1}', "intercept"),
        ('{"slope": "a", "intercept": 0}', "no calibration"),
        ('{"slope": 1, "intercept": 0, "plausible_share": 1.0}', "between 0 and 1"),
    ],
)
def test_a_broken_file_is_named(tmp_path, text: str, message: str) -> None:
    file = tmp_path / "c.json"
    file.write_text(text)
    with pytest.raises(UsageError, match=message):
        calibrate(scored([0.0], [np.nan]), CalibrationSettings(file=str(file)), 0.0)


def test_a_missing_file_is_named(tmp_path) -> None:
    with pytest.raises(UsageError, match="no such calibration file"):
        calibrate(scored([0.0], [np.nan]), CalibrationSettings(file=str(tmp_path / "none.json")), 0.0)


def test_weight_is_checked() -> None:
    with pytest.raises(UsageError, match="reranker_weight"):
        CalibrationSettings(reranker_weight=1.5)


@pytest.mark.parametrize("share", [0.05, 0.1, 0.2])
def test_the_share_of_matches_of_a_corpus_is_found(share: float) -> None:
    """Draws from a calibrated model at another share: the shift is the difference of log-odds a priori."""
    random = np.random.default_rng(0)
    is_match = random.random(600_000) < share
    # Two normals of variance 4 and means ±2: their log-likelihood ratio is the value itself.
    evidence = np.where(is_match, 2.0, -2.0) + 2.0 * random.standard_normal(len(is_match))
    fitted = np.log(0.2 / 0.8)
    logit = evidence + fitted
    # Of the plausible pairs of a corpus with a fifth of matches: weighed, the draws at hand are that.
    weight = np.where(is_match, 0.2 / share, 0.8 / (1 - share)) * (logit > -4)
    plausible_share = float(weight @ is_match / weight.sum())
    found = corpus_shift(np.split(logit, 4), plausible_share)
    assert abs(found - (np.log(share / (1 - share)) - fitted)) < 0.1


def test_hopeless_pairs_move_nothing() -> None:
    """A larger corpus has fewer of them among the neighbours of a mention: no word on the others."""
    logit = 3 * np.random.default_rng(0).standard_normal(20_000)
    with_more = [logit, np.full(100_000, -9.0)]
    assert corpus_shift(with_more, 0.6) == corpus_shift([logit], 0.6) != 0


def test_odds_fall_to_a_tenth_at_the_most() -> None:
    assert corpus_shift([np.full(100_000, -3.0)], 0.7) == pytest.approx(-np.log(10))


def test_fit_keeps_the_share_of_matches_among_plausible_pairs() -> None:
    random = np.random.default_rng(0)
    is_match = random.random(20_000) < 0.1
    logit = np.where(is_match, 2.0, -6.0) + 2 * random.standard_normal(len(is_match))
    found = PlattScaling.fit(logit, is_match.astype(float))
    plausible = is_match[found.apply(logit) > -4]
    assert found.plausible_share == plausible.mean() > 0.3


def test_a_greater_share_of_matches_moves_nothing() -> None:
    assert corpus_shift([np.full(100_000, 4.0)], 0.2) == 0


def test_few_pairs_hardly_move_and_none_do_not() -> None:
    assert corpus_shift([], 0.2) == 0
    assert abs(corpus_shift([np.full(20, 3.0)], 0.2)) < 0.2


def test_a_given_shift_is_added_and_settings_turn_the_estimate_off() -> None:
    pairs = scored([0.0] * 5, [np.nan] * 5)
    off = calibrate(pairs, CalibrationSettings(adapt_to_corpus=False))
    moved = calibrate(pairs, shift=1.0)
    assert off.shift == 0
    difference = np.log(moved.probability / (1 - moved.probability)) - np.log(
        off.probability / (1 - off.probability)
    )
    assert np.allclose(difference, 1.0)


def test_pairs_in_several_lots_are_calibrated_as_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    logit = (3 * random.standard_normal(5000) - 9).tolist()
    pairs = scored(logit, np.where(random.random(5000) < 0.1, 1.0, np.nan).tolist())
    whole = calibrate(pairs)
    monkeypatch.setattr(vectors, "AT_ONCE", 77)
    parts = calibrate(pairs)
    assert parts.shift == whole.shift != 0
    assert np.array_equal(parts.probability, whole.probability)
