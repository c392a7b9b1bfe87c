"""Would another combination of the pair scorer with the built-in reranker make better clusters?

    python benchmarks/combination.py --data ../shared/data [--save FILE]

A fifth of the institutions of the fold `train` was held out when the reranker was trained. Here a pair scorer
is fitted without them, too, and calibrated on the fold `tune`. With it are resolved the strings of `tune`,
those held out, and terse copies of both, everything else by default. What is judged on `tune` and its copies
was fitted on what was held out and its copies, and the other way round; only the shipped combination was
fitted on `tune`. Gains are in B³ F1 over the same run without the reranker, with 95 % intervals over gold
clusters: the same draws for all ways, and for strings and their copies. Which ways are tried, and that the
sum over the four parts decides, was settled before any was measured. The test fold, and `leipzig`, are not
read. Takes some ten minutes of one core.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from rescoring import N_SAMPLES, cluster_figures, sums
from sources import Row, fitted, read

import pipeline
from blocking import RULES
from pipeline.calibration import PlattScaling, corpus_shift, sigmoid
from pipeline.evaluation import Gold
from pipeline.evaluation.bootstrap import interval, resample
from pipeline.evaluation.metrics import measures
from pipeline.records import Float64s, Matches
from pipeline.resolution import Resolution
from pipeline.scoring import PairFeatures, WordPairReranker, fit_vocabulary
from pipeline.training.terse import terse_copies

Floats = np.ndarray
Labelled = list[tuple[str, str]]
Lesson = tuple[Floats, np.ndarray, Float64s]
Sums = dict[str, Float64s]
#: Feature probabilities of the pairs that are rescored here; a way takes those of its own band.
ASKED = (0.001, 0.999)
#: What pairs bear that the second pass alone proposed.
SECOND_PASS = 1 << RULES.index("between_groups")
THRESHOLDS = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6)
#: Changes of a sum that are none.
LEAST = 1e-9


def both(own: Float64s, rescored: Float64s) -> Floats:
    """Log-odds of both models as columns."""
    return np.stack([own, rescored], axis=1)


def bent(own: Float64s, rescored: Float64s) -> Floats:
    """The same, the reranker's with another slope above 0."""
    return np.stack([own, rescored, np.maximum(rescored, 0)], axis=1)


def mean_probability(plain: Float64s, found: Float64s) -> Float64s:
    """Log-odds of the mean of two probabilities."""
    mean = (sigmoid(plain) + sigmoid(found)) / 2
    return np.asarray(np.log(mean / (1 - mean)), np.float64)


@dataclass(frozen=True)
class Way:
    """How the log-odds of both models become one.

    Attributes:
        band: feature probabilities, before calibration, of the pairs that it is for.
        fitted_on: those of the pairs that it is fitted on; None takes the shipped combination.
        columns: what a logistic regression reads.
        by_string: pairs of a large cluster count less, so that strings count alike.
        second_pass: whether it is for pairs of the second pass, too.
        mixed: what is made of the calibrated log-odds of the features and of what was fitted.
    """

    band: tuple[float, float] = (0.01, 0.99)
    fitted_on: tuple[float, float] | None = ASKED
    columns: Callable[[Float64s, Float64s], Floats] = both
    by_string: bool = False
    second_pass: bool = True
    mixed: Callable[[Float64s, Float64s], Float64s] = lambda plain, found: found


#: The narrow bands are calibrated probabilities of .1 to .9, and of .2 to .5, around the threshold.
WAYS = {
    "shipped combination": Way(fitted_on=None),
    "fitted again": Way(),
    "fitted again, band .02 – .6": Way((0.02, 0.6), (0.02, 0.6)),
    "fitted again, band .04 – .15": Way((0.04, 0.15), (0.04, 0.15)),
    "fitted again, strings count alike": Way(by_string=True),
    "another slope above 0": Way(columns=bent),
    "no pairs of the second pass": Way(second_pass=False),
    "only to lower": Way(mixed=np.minimum),
    "only to raise": Way(mixed=np.maximum),
    "half way": Way(mixed=lambda plain, found: (plain + found) / 2),
    "mean of probabilities": Way(columns=lambda _, rescored: rescored[:, None], mixed=mean_probability),
}


@dataclass(frozen=True)
class Part:
    """Strings resolved without the reranker, and what it says of their pairs, NaN where not asked.

    `clusters` are the labels of the fold: a few have no string among the copies.
    """

    fold: str
    clusters: np.ndarray
    gold: Gold
    run: Resolution
    rescored: Float64s

    @classmethod
    def of(cls, fold: str, strings: Labelled, settings: pipeline.Settings, *, is_terse: bool) -> Part:
        """The strings of a fold, or their copies, resolved by settings, and their pairs rescored."""
        rows = terse_copies(strings) if is_terse else strings
        gold = Gold([string for string, _ in rows], [(label,) for _, label in rows])
        run = pipeline.resolve(gold.affiliation, settings)
        pairs = run.matches.pairs
        features = PairFeatures(run.forms, fit_vocabulary(run.forms, settings.scoring.model))
        asked, rescored = within(pairs.logit, ASKED), np.full(len(pairs), np.nan)
        rescored[asked] = WordPairReranker.load().rescore(features, pairs.left[asked], pairs.right[asked])
        return cls(fold, np.unique([label for _, label in strings]), gold, run, rescored)

    @cached_property
    def label(self) -> np.ndarray:
        """The label of each mention's string."""
        of_string = {s: labels[0] for s, labels in zip(self.gold.affiliation, self.gold.labels, strict=True)}
        raw = self.run.parsed.affiliations.affiliation
        return np.array([of_string[raw[i]] for i in self.run.parsed.affiliation.tolist()])

    @cached_property
    def scaling(self) -> PlattScaling:
        """The calibration of the pair scorer."""
        return PlattScaling.load(self.run.settings.calibration.file)

    @cached_property
    def plain(self) -> Float64s:
        """Calibrated log-odds of the features."""
        return self.scaling.apply(self.run.matches.pairs.logit)

    def lesson(self, way: Way, band: tuple[float, float]) -> Lesson:
        """What a way is fitted on: columns, truth and weights of the pairs of main mentions in a band."""
        pairs, is_main = self.run.matches.pairs, self.run.forms.is_main
        own = within(pairs.logit, band) & is_main[pairs.left] & is_main[pairs.right]
        left, right = pairs.left[own], pairs.right[own]
        _, number, size = np.unique(self.label, return_inverse=True, return_counts=True)
        n = size[number] if way.by_string else np.ones(len(number))
        is_match = self.label[left] == self.label[right]
        columns = way.columns(pairs.logit[own], self.rescored[own])
        return columns, is_match, np.asarray((n[left] * n[right]) ** -0.5, np.float64)

    def is_for(self, way: Way) -> np.ndarray:
        """The pairs that a way is for."""
        pairs = self.run.matches.pairs
        asked: np.ndarray = within(pairs.logit, way.band) & (way.second_pass | (pairs.rule != SECOND_PASS))
        return asked

    def combined(self, way: Way, teachers: Sequence[Part]) -> Float64s:
        """Calibrated log-odds of all pairs, those that a way is for combined as others taught it."""
        own = self.is_for(way)
        logit, rescored, plain = self.run.matches.pairs.logit[own], self.rescored[own], self.plain.copy()
        if way.fitted_on:
            lessons = [part.lesson(way, way.fitted_on) for part in teachers]
            slopes, intercept = regression(*map(np.concatenate, zip(*lessons, strict=True)))
            found = way.columns(logit, rescored) @ slopes + intercept
        else:
            combination = WordPairReranker.load().combination
            assert combination is not None
            found = combination.apply(logit, rescored)
        plain[own] = way.mixed(plain[own], found)
        return plain

    def clustered(self, logit: Float64s, threshold: float | None = None) -> Sums:
        """Calibrated log-odds of all pairs to what each cluster of the fold adds to the measures."""
        assert self.scaling.plausible_share is not None
        shift = corpus_shift([logit], self.scaling.plausible_share)
        run = replace(self.run, matches=Matches(self.run.matches.pairs, sigmoid(logit + shift), shift))
        least = threshold or self.run.settings.clustering.min_match_probability
        own = np.unique([labels[0] for labels in self.gold.labels])
        at, n = np.searchsorted(self.clusters, own), len(self.clusters)
        found = sums(run.rethreshold(least), self.gold)
        return {name: np.bincount(at, column, n).astype(np.float64) for name, column in found.items()}


def within(logit: Float64s, band: tuple[float, float]) -> np.ndarray:
    """Which pairs have a feature probability in a band."""
    probability = sigmoid(logit)
    return (probability >= band[0]) & (probability <= band[1])


def regression(columns: Floats, is_match: np.ndarray, weight: Float64s) -> tuple[Float64s, float]:
    """Columns, truth and weights to the slopes and the intercept of least log loss."""
    from sklearn.linear_model import LogisticRegression

    found = LogisticRegression(C=np.inf, max_iter=1000).fit(columns, is_match, sample_weight=weight)
    return found.coef_[0], float(found.intercept_[0])


def resolved_parts(rows: list[Row], folder: Path) -> dict[str, Part]:
    """The four parts, resolved with a scorer that has seen none of their institutions."""
    settings = fitted((r for r in rows if r.fold == "tune" or not r.is_new), folder / "scorer-of-others")
    strings: dict[str, Labelled] = {"tune": [], "held out": []}
    for row in rows:
        if row.is_new:
            strings["tune" if row.fold == "tune" else "held out"].append((row.affiliation, row.cluster))
    return {
        fold + (", terse" if is_terse else ""): Part.of(fold, own, settings, is_terse=is_terse)
        for is_terse in (False, True)
        for fold, own in strings.items()
    }


def b3_f1(found: Sums) -> float:
    """Of a run."""
    return cluster_figures(found)["b3_f1"]


def drawn(part: Part, without: Sums, having: Sums) -> Float64s:
    """The gain in B³ F1 in all draws; copies draw the clusters that their fold does."""
    seed = len(part.clusters)
    before, after = (measures(resample(run, N_SAMPLES, seed))["b3_f1"] for run in (without, having))
    return after - before


def figures(gain: float, draws: Float64s) -> dict[str, Any]:
    """A gain with its interval."""
    return {"gain": round(gain, 4), "interval": [round(x, 4) for x in interval(draws) if x is not None]}


def measured(way: Way, parts: dict[str, Part], without: dict[str, Sums]) -> dict[str, Any]:
    """The gain of a way on each part, and over all."""
    found: dict[str, Any] = {}
    total, total_drawn = 0.0, np.zeros(N_SAMPLES)
    for name, part in parts.items():
        before = without[name]
        after = part.clustered(part.combined(way, [p for p in parts.values() if p.fold != part.fold]))
        gain, draws = b3_f1(after) - b3_f1(before), drawn(part, before, after)
        total, total_drawn = total + gain, total_drawn + draws
        change = sum(after[measure] - before[measure] for measure in ("precision", "recall"))
        found[name] = figures(gain, draws) | {
            "share_rescored": round(float(part.is_for(way).mean()), 4),
            "n_better": int(np.count_nonzero(change > LEAST)),
            "n_worse": int(np.count_nonzero(change < -LEAST)),
        }
    return found | {"sum": figures(total, total_drawn)}


def best(part: Part) -> dict[str, float]:
    """The highest B³ F1 of any threshold: without, and combined as fitted on the very same strings."""
    runs = {"without": part.plain, "with": part.combined(Way(), [part])}
    return {
        title: round(max(b3_f1(part.clustered(logit, t)) for t in THRESHOLDS), 4)
        for title, logit in runs.items()
    }


def compared(parts: dict[str, Part]) -> dict[str, Any]:
    """All figures."""
    without = {name: part.clustered(part.plain) for name, part in parts.items()}
    told = {
        name: {
            "n_strings": len(part.gold),
            "n_institutions": len(part.clusters),
            "without": round(b3_f1(without[name]), 4),
            "best": best(part),
        }
        for name, part in parts.items()
    }
    return {"parts": told, "ways": {title: measured(way, parts, without) for title, way in WAYS.items()}}


def print_table(found: dict[str, Any]) -> None:
    """Two lines a way: gains, and what changed."""
    print("B³ F1 without the reranker; at the best of all thresholds; the same, combined as fitted on itself")
    for name, part in found["parts"].items():
        told = f"{name}: {part['n_strings']:,} strings of {part['n_institutions']:,} institutions"
        print(f"{told:62}" + "".join(f"{x:8.4f}" for x in (part["without"], *part["best"].values())))
    print(f"{'gain in B³ F1':36}" + "".join(f"{name:>34}" for name in (*found["parts"], "sum")))
    for title, way in found["ways"].items():
        gains = (
            f"{c['gain']:+.4f} ({c['interval'][0]:+.4f} … {c['interval'][1]:+.4f})" for c in way.values()
        )
        print(f"{title:36}" + "".join(f"{cell:>34}" for cell in gains))
        counts = (
            f"{cell['share_rescored']:.1%} of pairs, {cell['n_better']} up, {cell['n_worse']} down"
            for name, cell in way.items()
            if name != "sum"
        )
        print(f"{'':36}" + "".join(f"{cell:>34}" for cell in counts))


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--save", type=Path)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = compared(resolved_parts(read(given.data), Path(folder)))
    print_table(found)
    if given.save:
        given.save.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
