"""What would part two items of one cluster: the threshold at which they fall apart, and into what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.clustering import KMEANS, ClusteringSettings, Constraints, cluster, set_siblings_apart
from pipeline.records import Float64s, Int64s

#: Thresholds are told to three decimals.
_STEPS = 1000


#: Pairs between two sides that are told one by one.
N_TOLD = 20


@dataclass(frozen=True)
class PairBetween:
    """One compared pair of two sides: mention ids and strings, those of the left side first."""

    left_mention_id: str
    right_mention_id: str
    left: str
    right: str
    probability: float


@dataclass(frozen=True)
class Sides:
    """Two groups of mentions and the pairs between them: what holds them together, or might.

    `mean_probability` is that of all their pairs as average linkage takes it: pairs that were never compared
    count as the settings say. None where none was compared. `pairs` are the most probable of the `n_pairs`
    that were compared, up to `N_TOLD`: to be told of all of them that they are wrong would part the sides.
    """

    n_left: int
    n_right: int
    n_pairs: int
    mean_probability: float | None
    pairs: tuple[PairBetween, ...] = ()


@dataclass(frozen=True)
class Members:
    """The members of some clusters and all evidence among them, numbered 0, 1, … in the order of the run."""

    left: Int64s
    right: Int64s
    probability: Float64s
    #: The string of each, as a number.
    string: Int64s
    constraints: Constraints
    #: Id and text of each, for people.
    mention_id: Sequence[str]
    text: Sequence[str]

    def labels(self, settings: ClusteringSettings) -> Int64s:
        """Clusters of these members alone."""
        evidence = set_siblings_apart(self.left, self.right, self.probability, self.string)
        return cluster(len(self.string), *evidence, settings, constraints=self.constraints).label

    def sides(self, is_left: Int64s, is_right: Int64s, settings: ClusteringSettings) -> Sides:
        """Two groups, each bool of shape (n,), and what lies between them."""
        between = is_left[self.left] & is_right[self.right] | is_right[self.left] & is_left[self.right]
        found = np.flatnonzero(between)
        told = found[np.lexsort([self.right[found], self.left[found], -self.probability[found]])][:N_TOLD]
        n, sizes = int(between.sum()), (int(is_left.sum()), int(is_right.sum()))
        n_missing = float(settings.missing.weight_of(*sizes, n))
        total = self.probability[between].sum() + settings.missing_pair_probability * n_missing
        mean = round(float(total / (n + n_missing)), 6) if n else None
        return Sides(*sizes, n, mean, tuple(self._told(int(i), is_left) for i in told))

    def _told(self, pair: int, is_left: Int64s) -> PairBetween:
        a, b = int(self.left[pair]), int(self.right[pair])
        a, b = (a, b) if is_left[a] else (b, a)
        ids, texts = self.mention_id, self.text
        return PairBetween(ids[a], ids[b], texts[a], texts[b], round(float(self.probability[pair]), 6))


def separation(members: Members, a: int, b: int, settings: ClusteringSettings) -> tuple[float, Sides] | None:
    """The least `min_match_probability` (to .001) at which two members part, and the sides then.

    Clusters that average linkage makes at a higher threshold lie inside those of a lower one (but for very
    large ones, see `Missing`), so that the other institutions of the run are not needed. Where means tie the
    sides can be others than those of the run, which numbers the members otherwise. None where no threshold
    parts them (a must-link does not yield), or where the clusterer has none.
    """
    if settings.clusterer == KMEANS or a == b:
        return None

    def labels(step: int) -> Int64s:
        return members.labels(replace(settings, min_match_probability=step / _STEPS))

    def is_apart(step: int) -> bool:
        found = labels(step)
        return bool(found[a] != found[b])

    low = max(1, int(np.floor(settings.min_match_probability * _STEPS)))
    if is_apart(low) or not is_apart(_STEPS):
        return None
    step = _least(is_apart, low, _STEPS)
    found = labels(step)
    return step / _STEPS, members.sides(found == found[a], found == found[b], settings)


def _least(holds: Callable[[int], bool], low: int, high: int) -> int:
    """A number above `low`, which does not hold, that holds while the one below it does not; `high` holds."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
