"""Calibrate: raw log-odds become match probabilities, the only place where they do.

Platt scaling (Platt 1999): `logit p = slope · logit + intercept`, fitted on held-out organisations.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import numpy as np

from pipeline.errors import UsageError
from pipeline.records import Float64s, Matches, ScoredPairs


@dataclass(frozen=True)
class CalibrationSettings:
    """How log-odds become probabilities.

    Attributes:
        file: a calibration file (`slope`, `intercept`, as JSON); None takes the shipped one.
        reranker_slope: what the logit of a reranker that brings no combination is multiplied by.
        reranker_intercept: what is then added.
        reranker_weight: share of the reranker in the log-odds of a rescored pair; the rest is the features'.
    """

    file: str | None = None
    reranker_slope: float = 1.0
    reranker_intercept: float = 0.0
    reranker_weight: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.reranker_weight <= 1:
            raise UsageError(
                f"calibration.reranker_weight must lie between 0 and 1, got {self.reranker_weight}"
            )


@dataclass(frozen=True)
class PlattScaling:
    """A line from log-odds to calibrated log-odds."""

    slope: float
    intercept: float

    @classmethod
    def fit(cls, logit: Float64s, is_match: Float64s) -> PlattScaling:
        """Log-odds and truth (0 or 1), shape (n,), to the line of least log loss."""
        from sklearn.linear_model import LogisticRegression

        found = LogisticRegression(C=np.inf, max_iter=1000).fit(logit[:, None], is_match)
        return cls(float(found.coef_[0, 0]), float(found.intercept_[0]))

    def apply(self, logit: Float64s) -> Float64s:
        """Log-odds to calibrated log-odds."""
        return self.slope * logit + self.intercept

    @classmethod
    def load(cls, path: str | None) -> PlattScaling:
        """The scaling of a file, or the shipped one for None."""
        return _shipped() if path is None else _read(Path(path))


@lru_cache(maxsize=1)
def _shipped() -> PlattScaling:
    text = (files("pipeline") / "models" / "pair_scorer" / "calibration.json").read_text(encoding="utf-8")
    data = json.loads(text)
    return PlattScaling(float(data["slope"]), float(data["intercept"]))


def _read(path: Path) -> PlattScaling:
    if not path.is_file():
        raise UsageError(f"no such calibration file: {path}")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return PlattScaling(float(data["slope"]), float(data["intercept"]))
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path} is no calibration: it needs numbers `slope` and `intercept` ({error})"
        ) from error


def calibrate(scored: ScoredPairs, settings: CalibrationSettings | None = None) -> Matches:
    """Scored pairs become matches; a rescored pair mixes both models' log-odds.

    How, a reranker's own combination says; for one without, the settings do.
    """
    settings = settings or CalibrationSettings()
    logit = PlattScaling.load(settings.file).apply(scored.logit)
    asked = ~np.isnan(scored.rescored)
    second = scored.rescored[asked]
    if scored.combination is not None:
        logit[asked] = scored.combination.apply(scored.logit[asked], second)
    else:
        second = settings.reranker_slope * second + settings.reranker_intercept
        logit[asked] = (1 - settings.reranker_weight) * logit[asked] + settings.reranker_weight * second
    return Matches(scored, sigmoid(logit))


def sigmoid(logit: Float64s) -> Float64s:
    """Log-odds to probabilities."""
    return np.asarray(1 / (1 + np.exp(-np.clip(logit, -500, 500))), np.float64)
