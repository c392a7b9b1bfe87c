"""Calibrate: raw log-odds become match probabilities, the only place where they do.

Platt scaling (Platt 1999): `logit p = slope · logit + intercept`, fitted on held-out organisations. How many
of the candidate pairs are matches differs between corpora, and so does how probable a match is a priori:
that share is estimated from the corpus itself by expectation maximisation (Saerens, Latinne and Decaestecker
2002), and moves all log-odds of a run by one number. Only plausible pairs are counted: blocking gives every
mention some tens of neighbours, so how many hopeless ones are among them tells the size of the corpus, not
how often two like names are one institution.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from importlib.resources import files
from pathlib import Path

import numpy as np

from blocking import vectors
from blocking.engine import slices
from pipeline.errors import UsageError
from pipeline.records import Float64s, Matches, ScoredPairs

#: Pairs with the share of matches of the calibration that are counted with those of a corpus, so that few
#: pairs move nothing: a choice, not a measurement.
_PRIOR_PAIRS = 2_000
#: Calibrated log-odds above which a pair is plausible. With other bounds put here, and sources left out of
#: training in turn (`benchmarks/sources.py`), -4 and -3 did alike; lower and without one clusters were worse.
_PLAUSIBLE = -4.0
#: The farthest that log-odds are moved: down to a tenth of the odds of the calibration, and never up. Where
#: institutions have many strings each, more pairs are matches because more of them are plain; the doubtful
#: ones are hardly likelier for it: of a million strings of `benchmarks/scale.py`, looked at once, by .2
#: where .9 was estimated, and B³ was best below 0.
_LEAST_SHIFT, _MOST_SHIFT = -float(np.log(10)), 0.0
#: Log-odds are counted in bins of this width, so that tens of millions of pairs take no time.
_BIN = 0.01
#: Log-odds beyond which nothing is told apart.
_MOST_LOGIT = 20


@dataclass(frozen=True)
class CalibrationSettings:
    """How log-odds become probabilities.

    Attributes:
        file: a calibration file (`slope`, `intercept`, as JSON); None takes the shipped one.
        reranker_slope: what the logit of a reranker that brings no combination is multiplied by.
        reranker_intercept: what is then added.
        reranker_weight: share of the reranker in the log-odds of a rescored pair; the rest is the features'.
        adapt_to_corpus: move the log-odds of a run by its own share of matches.
    """

    file: str | None = None
    reranker_slope: float = 1.0
    reranker_intercept: float = 0.0
    reranker_weight: float = 0.5
    adapt_to_corpus: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.reranker_weight <= 1:
            raise UsageError(
                f"calibration.reranker_weight must lie between 0 and 1, got {self.reranker_weight}"
            )


@dataclass(frozen=True)
class PlattScaling:
    """A line from log-odds to calibrated log-odds.

    Attributes:
        slope, intercept: of the line.
        plausible_share: share of matches among the plausible pairs that it was fitted on, None where that is
            not known.
    """

    slope: float
    intercept: float
    plausible_share: float | None = None

    @classmethod
    def fit(cls, logit: Float64s, is_match: Float64s) -> PlattScaling:
        """Log-odds and truth (0 or 1), shape (n,), to the line of least log loss."""
        from sklearn.linear_model import LogisticRegression

        found = LogisticRegression(C=np.inf, max_iter=1000).fit(logit[:, None], is_match)
        line = cls(float(found.coef_[0, 0]), float(found.intercept_[0]))
        plausible = is_match[line.apply(logit) > _PLAUSIBLE]
        # A share of none or all moves nothing: it has no log-odds.
        is_share = 0 < plausible.sum() < len(plausible)
        return replace(line, plausible_share=float(plausible.mean())) if is_share else line

    def apply(self, logit: Float64s) -> Float64s:
        """Log-odds to calibrated log-odds."""
        return self.slope * logit + self.intercept

    @classmethod
    def load(cls, path: str | None) -> PlattScaling:
        """The scaling of a file, or the shipped one for None."""
        return _shipped() if path is None else _read(Path(path))


@lru_cache(maxsize=1)
def _shipped() -> PlattScaling:
    return _read(Path(str(files("pipeline") / "models" / "pair_scorer" / "calibration.json")))


def _read(path: Path) -> PlattScaling:
    if not path.is_file():
        raise UsageError(f"no such calibration file: {path}")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        share = data.get("plausible_share")
        if share is not None and not 0 < share < 1:
            raise ValueError(f"plausible_share must lie between 0 and 1, got {share}")
        return PlattScaling(float(data["slope"]), float(data["intercept"]), share)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{path} is no calibration: it needs numbers `slope` and `intercept` ({error})"
        ) from error


def calibrate(
    scored: ScoredPairs, settings: CalibrationSettings | None = None, shift: float | None = None
) -> Matches:
    """Scored pairs become matches; a rescored pair mixes both models' log-odds.

    How, a reranker's own combination says; for one without, the settings do.

    Args:
        scored: the pairs of a run.
        settings: which scaling.
        shift: what is added to all log-odds, such as the shift of another run; None estimates it from these
            pairs, where settings want it.
    """
    settings = settings or CalibrationSettings()
    scaling = PlattScaling.load(settings.file)
    logits = partial(_logits, scored, scaling, settings)
    if shift is None:
        share = scaling.plausible_share if settings.adapt_to_corpus else None
        parts = slices(len(scored), vectors.AT_ONCE)
        shift = 0.0 if share is None else corpus_shift(map(logits, parts), share)
    probability = vectors.filled(len(scored), np.float64, lambda part: sigmoid(logits(part) + shift))
    return Matches(scored, probability, shift)


def _logits(
    scored: ScoredPairs, scaling: PlattScaling, settings: CalibrationSettings, part: slice
) -> Float64s:
    """Calibrated log-odds of some pairs, before the shift."""
    own, rescored = scored.logit[part], scored.rescored[part]
    logit = scaling.apply(own)
    asked = ~np.isnan(rescored)
    second = rescored[asked]
    if scored.combination is not None:
        logit[asked] = scored.combination.apply(own[asked], second)
    else:
        second = settings.reranker_slope * second + settings.reranker_intercept
        logit[asked] = (1 - settings.reranker_weight) * logit[asked] + settings.reranker_weight * second
    return logit


def corpus_shift(logits: Iterable[Float64s], plausible_share: float) -> float:
    """What to add to calibrated log-odds of a corpus whose share of matches is its own.

    Args:
        logits: calibrated log-odds of pairs, some pairs at a time.
        plausible_share: of matches among the plausible pairs that the calibration was fitted on.

    Returns:
        The shift of log-odds at which the mean probability of the plausible pairs is the share that it
        stands for.
    """
    n_bins = round(_MOST_LOGIT / _BIN)
    counts = np.zeros(2 * n_bins + 1, np.int64)
    for logit in logits:
        plausible = logit[logit > _PLAUSIBLE]
        bins = np.round(np.clip(plausible, -_MOST_LOGIT, _MOST_LOGIT) / _BIN).astype(np.int64)
        counts += np.bincount(bins + n_bins, minlength=len(counts))
    filled = np.flatnonzero(counts)
    values, counts = filled - n_bins, counts[filled]
    prior, shift, total = np.log(plausible_share / (1 - plausible_share)), 0.0, counts.sum() + _PRIOR_PAIRS
    for _ in range(1000):
        found = sigmoid(np.asarray(values * _BIN + shift, np.float64))
        expected = counts @ found + _PRIOR_PAIRS * plausible_share
        before, shift = shift, float(np.log(expected / (total - expected)) - prior)
        if abs(shift - before) < 1e-6:
            break
    return float(np.clip(shift, _LEAST_SHIFT, _MOST_SHIFT))


def sigmoid(logit: Float64s) -> Float64s:
    """Log-odds to probabilities."""
    return np.asarray(1 / (1 + np.exp(-np.clip(logit, -500, 500))), np.float64)
