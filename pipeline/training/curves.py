"""A training as one picture: losses by step, and similarities before and after; SVG without a library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

#: Edges of the histograms of similarities.
EDGES = np.linspace(-1, 1, 41)
_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP = 360, 200, 52, 44, 76
_COLOURS = {"train": "#4477aa", "test": "#ee6677", "positive": "#228833", "negative": "#bb5566"}


@dataclass(frozen=True)
class Similarities:
    """How near anchors lie to their positives and their negatives: counts by bin of `EDGES`, and means.

    Attributes:
        positive, negative: counts, one a bin.
        mean_positive, mean_negative: means.
        nearer: share of the rows whose positive is nearer than their negative.
    """

    positive: list[int]
    negative: list[int]
    mean_positive: float
    mean_negative: float
    nearer: float

    @classmethod
    def of(cls, positive: npt.NDArray[Any], negative: npt.NDArray[Any]) -> Similarities:
        """Cosines (or probabilities) of the same rows, in [-1, 1]."""
        near, far = (np.histogram(np.clip(v, -1, 1), EDGES)[0].tolist() for v in (positive, negative))
        mean_near, mean_far = (round(float(v.mean()), 4) for v in (positive, negative))
        return cls(near, far, mean_near, mean_far, round(float((positive > negative).mean()), 4))


@dataclass(frozen=True)
class Look:
    """A look at the test rows: the step, the mean training loss since the last look, and what was found."""

    step: int
    train_loss: float | None
    test: dict[str, float]


def draw(looks: Sequence[Look], before: Similarities | None, after: Similarities | None) -> str:
    """Looks, and similarities where they were measured, to a picture."""
    panels = [_losses(looks)]
    panels += [
        _histogram(found, f"similarities {when} training")
        for found, when in ((before, "before"), (after, "after"))
        if found is not None
    ]
    width = len(panels) * (_WIDTH + _GAP) + 20
    body = "".join(
        f'<g transform="translate({n * (_WIDTH + _GAP) + _LEFT},{_TOP})">{panel}</g>'
        for n, panel in enumerate(panels)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_HEIGHT + 100}" width="{width}"'
        ' font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/>'
        f"{body}</svg>\n"
    )


def _losses(looks: Sequence[Look]) -> str:
    lines = {
        "train": [(look.step, look.train_loss) for look in looks if look.train_loss is not None],
        "test": [(look.step, look.test["loss"]) for look in looks],
    }
    highest = max((y for line in lines.values() for _, y in line), default=1.0) or 1.0
    last = max((look.step for look in looks), default=1) or 1
    drawn = _frame("loss by step", (0, last), (0.0, highest), list(lines))
    for name, points in lines.items():
        places = [(x / last * _WIDTH, _HEIGHT * (1 - y / highest)) for x, y in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        colour = _COLOURS[name]
        drawn += f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8"/>'
        drawn += "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.2" fill="{colour}"/>' for x, y in places)
    return drawn


def _histogram(found: Similarities, title: str) -> str:
    highest = max(*found.positive, *found.negative, 1)
    drawn = _frame(title, (-1, 1), (0.0, float(highest)), ["positive", "negative"])
    width = _WIDTH / (len(EDGES) - 1)
    for name in ("positive", "negative"):
        for number, count in enumerate(getattr(found, name)):
            if count:
                height = count / highest * _HEIGHT
                drawn += (
                    f'<rect x="{number * width:.1f}" y="{_HEIGHT - height:.1f}" width="{width:.1f}"'
                    f' height="{height:.1f}" fill="{_COLOURS[name]}" fill-opacity="0.55"/>'
                )
    return drawn


def _frame(title: str, x: tuple[float, float], y: tuple[float, float], names: Sequence[str]) -> str:
    """Axes with the ends named, a title and a legend."""
    drawn = f'<text x="0" y="-24" font-size="13">{escape(title)}</text>'
    for number, name in enumerate(names):
        at = number * 80
        drawn += f'<rect x="{at}" y="-16" width="10" height="10" fill="{_COLOURS[name]}"/>'
        drawn += f'<text x="{at + 14}" y="-7">{name}</text>'
    drawn += f'<path d="M0,0 V{_HEIGHT} H{_WIDTH}" fill="none" stroke="#888"/>'
    drawn += f'<text x="0" y="{_HEIGHT + 16}">{x[0]:g}</text>'
    drawn += f'<text x="{_WIDTH}" y="{_HEIGHT + 16}" text-anchor="end">{x[1]:g}</text>'
    drawn += f'<text x="-6" y="{_HEIGHT}" text-anchor="end">{y[0]:g}</text>'
    return drawn + f'<text x="-6" y="10" text-anchor="end">{y[1]:.3g}</text>'
