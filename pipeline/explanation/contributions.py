"""What each feature, and `two_records` beside them, adds to the log-odds of a pair, read off the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.records import Int64s
from pipeline.scoring import NAMES, TWO_RECORDS, AdditiveModel, PairFeatures, two_records


@dataclass(frozen=True)
class Contribution:
    """A summand of the log-odds: its features, their values, and what they add (above 0: speaks for one)."""

    feature: str
    value: tuple[float, ...]
    log_odds: float


def contributions(
    features: PairFeatures, left: Int64s, right: Int64s, model_path: str | None = None
) -> list[tuple[Contribution, ...]]:
    """Pairs of mention numbers to the summands of their `logit`, the weightiest first; they add up to it."""
    model = AdditiveModel.load(model_path, NAMES)
    every = features.of(left, right)
    values = every[:, [NAMES.index(f) for f in model.features]]
    parts = model.contributions(values) | {TWO_RECORDS: two_records(every, NAMES)}
    column = {name: i for i, name in enumerate(model.features)}
    found = []
    for row in range(len(left)):
        items = [
            Contribution(
                name,
                tuple(round(float(values[row, column[f]]), 6) for f in name.split(" × ") if f in column),
                float(part[row]),
            )
            for name, part in parts.items()
            if name != TWO_RECORDS or part[row]
        ]
        found.append(tuple(sorted(items, key=lambda c: (-abs(c.log_odds), c.feature))))
    return found


def agree(found: tuple[Contribution, ...], logit: float) -> bool:
    """Whether summands are those of this very logit: a run of another version, or model, has others."""
    return bool(np.isclose(sum(c.log_odds for c in found), logit, atol=1e-3))


@dataclass(frozen=True)
class PairReasons:
    """Pairs of mention ids to what each feature adds to their log-odds, for those who have no numbers."""

    features: PairFeatures
    mention_id: list[str]
    model_path: str | None = None

    def __call__(self, left: Sequence[str], right: Sequence[str]) -> list[list[tuple[str, float]]]:
        """(features, log-odds) of each pair, the weightiest first, without the intercept."""
        number = {key: i for i, key in enumerate(self.mention_id)}
        ends = [np.array([number[key] for key in side], np.int64) for side in (left, right)]
        found = contributions(self.features, ends[0], ends[1], self.model_path)
        return [[(c.feature, c.log_odds) for c in pair if c.feature != "intercept"] for pair in found]
