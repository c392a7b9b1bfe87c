"""Match probabilities and what turned out true in, how far the probabilities can be believed out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import AffilError
from pipeline.records import Float64s

#: Bins of equal width, the usual ones of reliability diagrams. Probabilities crowd at 0 and 1, so the inner
#: bins may hold few pairs: read each bin beside its `n_pairs`.
N_BINS = 10


@dataclass(frozen=True)
class ReliabilityBin:
    """Pairs with probability in [low, high), the last bin closed: what was said, and what came true."""

    low: float
    high: float
    n_pairs: int
    mean_probability: float
    observed_share: float


@dataclass(frozen=True)
class Reliability:
    """Calibration of match probabilities; empty bins are left out.

    `expected_calibration_error` is the mean distance of said and observed share over the bins, weighted by
    their pairs. `average_precision` is None where no pair is true.
    """

    n_pairs: int
    n_true: int
    bins: tuple[ReliabilityBin, ...]
    expected_calibration_error: float
    brier: float
    log_loss: float
    average_precision: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)


def reliability(probability: Float64s, is_true: npt.NDArray[np.bool_]) -> Reliability | None:
    """Match probabilities in 0..1 and truths, shape (n,) each, in, calibration out; None without pairs.

    Raises:
        AffilError: the two differ in length, or a probability is not in 0..1.
    """
    if len(probability) != len(is_true):
        raise AffilError(f"{len(probability)} probabilities for {len(is_true)} truths")
    if not np.all((probability >= 0) & (probability <= 1)):
        raise AffilError("match probabilities must lie in 0..1")
    if not len(probability):
        return None
    truth = is_true.astype(np.float64)
    bins = _bins(probability, truth)
    gaps = sum(b.n_pairs * abs(b.mean_probability - b.observed_share) for b in bins)
    return Reliability(
        n_pairs=len(truth),
        n_true=int(truth.sum()),
        bins=bins,
        expected_calibration_error=gaps / len(truth),
        brier=float(np.mean((probability - truth) ** 2)),
        log_loss=_log_loss(probability, truth),
        average_precision=_average_precision(probability, truth),
    )


def _bins(probability: Float64s, truth: Float64s) -> tuple[ReliabilityBin, ...]:
    number = np.minimum((probability * N_BINS).astype(np.int64), N_BINS - 1)
    n_pairs = np.bincount(number, minlength=N_BINS)
    said = np.bincount(number, weights=probability, minlength=N_BINS)
    seen = np.bincount(number, weights=truth, minlength=N_BINS)
    return tuple(
        ReliabilityBin(
            i / N_BINS,
            (i + 1) / N_BINS,
            int(n_pairs[i]),
            float(said[i] / n_pairs[i]),
            float(seen[i] / n_pairs[i]),
        )
        for i in np.flatnonzero(n_pairs).tolist()
    )


def _log_loss(probability: Float64s, truth: Float64s) -> float:
    """Mean negative log likelihood; a certain error costs -ln(machine epsilon), about 36, not infinity."""
    tiny = np.finfo(np.float64).eps
    p = np.clip(probability, tiny, 1 - tiny)
    return float(-np.mean(truth * np.log(p) + (1 - truth) * np.log1p(-p)))


def _average_precision(probability: Float64s, truth: Float64s) -> float | None:
    """Sum over the distinct thresholds of (recall gained) times precision; ties fall together."""
    n_true = truth.sum()
    if not n_true:
        return None
    order = np.argsort(-probability, kind="stable")
    found = np.cumsum(truth[order])
    is_end = np.append(np.diff(probability[order]) != 0, True)
    found, n_taken = found[is_end], np.flatnonzero(is_end) + 1
    gained = np.diff(found, prepend=0.0) / n_true
    return float(np.sum(gained * found / n_taken))
