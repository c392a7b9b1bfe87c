import json
from dataclasses import replace

import numpy as np
import pytest

from pipeline.calibration import CalibrationSettings, PlattScaling, calibrate
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
    found = calibrate(scored([0.5, 10.0], [np.nan, np.nan]), CalibrationSettings(file=str(file)))
    assert found.probability == pytest.approx([0.5, 1 / (1 + np.exp(-19.0))])


def test_a_rescored_pair_mixes_both_models(tmp_path) -> None:
    file = tmp_path / "calibration.json"
    file.write_text(json.dumps({"slope": 1.0, "intercept": 0.0}))
    settings = CalibrationSettings(
        str(file), reranker_slope=2.0, reranker_intercept=1.0, reranker_weight=0.25
    )
    found = calibrate(scored([1.0, 1.0], [np.nan, 3.0]), settings)
    expected = 0.75 * 1.0 + 0.25 * (2.0 * 3.0 + 1.0)
    assert found.probability == pytest.approx([1 / (1 + np.exp(-1.0)), 1 / (1 + np.exp(-expected))])


def test_a_reranker_that_brings_a_combination_needs_no_settings() -> None:
    pairs = replace(scored([1.0, 1.0], [np.nan, 3.0]), combination=Combination(0.4, 0.7, -0.2))
    found = calibrate(pairs, CalibrationSettings(reranker_weight=0.0))
    plain = calibrate(scored([1.0], [np.nan]))
    # 0.4 * 1 + 0.7 * 3 - 0.2
    assert found.probability == pytest.approx([plain.probability[0], 1 / (1 + np.exp(-2.3))])


def test_raw_outputs_are_not_overwritten(tmp_path) -> None:
    pairs = scored([0.3], [0.7])
    found = calibrate(pairs)
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
    ],
)
def test_a_broken_file_is_named(tmp_path, text: str, message: str) -> None:
    file = tmp_path / "c.json"
    file.write_text(text)
    with pytest.raises(UsageError, match=message):
        calibrate(scored([0.0], [np.nan]), CalibrationSettings(file=str(file)))


def test_a_missing_file_is_named(tmp_path) -> None:
    with pytest.raises(UsageError, match="no such calibration file"):
        calibrate(scored([0.0], [np.nan]), CalibrationSettings(file=str(tmp_path / "none.json")))


def test_weight_is_checked() -> None:
    with pytest.raises(UsageError, match="reranker_weight"):
        CalibrationSettings(reranker_weight=1.5)
