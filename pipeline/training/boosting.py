"""Fit an additive model with pairwise interactions by gradient boosting, and read it off the trees."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import UsageError
from pipeline.scoring.additive import AdditiveModel, Term
from pipeline.training.recipe_files import read_recipe

Float64s = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ScorerRecipe:
    """How the feature model is fitted.

    Attributes:
        n_interactions: how many pairs of features may act together.
        max_bins: at most so many bins a feature.
        learning_rate, max_iter, max_leaf_nodes, min_samples_leaf, l2: of scikit-learn's boosting.
        n_models: boosted models whose mean is the model.
        feature_share: share of the features, drawn anew, that each split of theirs chooses from.
        terse_weight: how much a pair of terse copies counts beside one of the strings as they are, see
            `terse_copies`; 0: none are made.
        rounds_per_look: trees between two looks at the tune fold.
        patience: looks without a better figure after which boosting ends.
        hold: how strongly a model that is fine-tuned holds to what it was, see `adjusted`.
        seed: of everything random.
    """

    n_interactions: int = 24
    max_bins: int = 16
    learning_rate: float = 0.15
    max_iter: int = 200
    max_leaf_nodes: int = 8
    min_samples_leaf: int = 300
    l2: float = 1.0
    n_models: int = 4
    feature_share: float = 0.5
    terse_weight: float = 0.5
    rounds_per_look: int = 200
    patience: int = 4
    hold: float = 20.0
    seed: int = 0

    def __post_init__(self) -> None:
        least_of = {"n_interactions": 0, "max_bins": 2, "max_iter": 1, "max_leaf_nodes": 2}
        least_of |= {"min_samples_leaf": 1, "n_models": 1, "rounds_per_look": 1, "patience": 1}
        for name, least in least_of.items():
            if getattr(self, name) < least:
                raise UsageError(f"recipe: {name} must be {least} or more, got {getattr(self, name)}")
        for name in ("learning_rate", "hold"):
            if getattr(self, name) <= 0:
                raise UsageError(f"recipe: {name} must be above 0, got {getattr(self, name)}")
        if not 0 < self.feature_share <= 1:
            raise UsageError(f"recipe: feature_share must lie in (0, 1], got {self.feature_share}")
        if self.terse_weight < 0:
            raise UsageError(f"recipe: terse_weight must be 0 or more, got {self.terse_weight}")
        if self.max_bins > 255:
            raise UsageError(f"recipe: max_bins must be 255 or less, got {self.max_bins}")

    @classmethod
    def read(cls, path: Path | None = None) -> ScorerRecipe:
        """A TOML file, by default the one in the package, to a recipe."""
        found: ScorerRecipe = read_recipe(cls, "scorer", path)
        return found


def interactions(
    values: npt.NDArray[np.float32],
    is_match: npt.NDArray[np.bool_],
    names: Sequence[str],
    recipe: ScorerRecipe,
    weight: Float64s | None = None,
) -> list[tuple[str, ...]]:
    """Features, shape (n, len(names)), and truth, shape (n,), to the pairs of features that act together.

    A fit of half the rounds lets every two features do so; those that move its log-odds most are chosen.
    `weight` says how much each row counts, shape (n,); None: all alike.
    """
    if not recipe.n_interactions:
        return []
    every = [{i, j} for i, j in combinations(range(len(names)), 2)]
    edges = bin_edges(values, recipe.max_bins)
    booster = _booster(every, replace(recipe, feature_share=1.0), recipe.seed)
    booster.set_params(max_iter=max(1, recipe.max_iter // 2))
    first = as_tables([booster.fit(_bins(values, edges), is_match, sample_weight=weight)], names, edges)
    parts = first.contributions(values)
    spread: dict[tuple[str, ...], float] = {
        t.features: float(np.std(parts[" × ".join(t.features)])) for t in first.terms if len(t.features) == 2
    }
    return sorted(spread, key=lambda f: -spread[f])[: recipe.n_interactions]


def boosted_models(
    values: npt.NDArray[np.float32],
    is_match: npt.NDArray[np.bool_],
    names: Sequence[str],
    chosen: Sequence[tuple[str, ...]],
    recipe: ScorerRecipe,
    weight: Float64s | None = None,
) -> Iterator[tuple[int, AdditiveModel]]:
    """The model as it grows, at each look: rounds and model; `chosen` features act together.

    It is the mean of several that differ by the features that their splits chose from. As they have the same
    bins, the mean is one set of tables and costs no more than one of them.
    """
    allowed = [{names.index(f) for f in pair} for pair in chosen] + [{i} for i in range(len(names))]
    boosters = [_booster(allowed, recipe, recipe.seed + i) for i in range(recipe.n_models)]
    edges, n_rounds = bin_edges(values, recipe.max_bins), 0
    bins = _bins(values, edges)
    while n_rounds < recipe.max_iter:
        n_rounds = min(n_rounds + recipe.rounds_per_look, recipe.max_iter)
        for booster in boosters:
            booster.set_params(max_iter=n_rounds).fit(bins, is_match, sample_weight=weight)
        yield n_rounds, as_tables(boosters, names, edges)


def bin_edges(values: npt.NDArray[np.float32], max_bins: int) -> list[Float64s]:
    """Features, shape (n, n features), to the ascending edges between the bins of each.

    As scikit-learn finds them, from all rows: it takes a sample of 200,000, so that edges, and models, would
    depend on the seed.
    """
    return [_edges(column.astype(np.float64), max_bins) for column in values.T]


def _edges(column: Float64s, max_bins: int) -> Float64s:
    """Midpoints between the values of a column, between quantiles where it has many."""
    distinct = np.unique(column)
    if len(distinct) <= max_bins:
        return np.asarray((distinct[1:] + distinct[:-1]) / 2)
    percents = np.linspace(0, 100, max_bins + 1)[1:-1]
    return np.unique(np.percentile(column, percents, method="averaged_inverted_cdf"))


def _bins(values: npt.NDArray[np.float32], edges: Sequence[Float64s]) -> npt.NDArray[np.float32]:
    """Features to the number of the bin that each lies in."""
    columns = (np.searchsorted(e, v.astype(np.float64)) for e, v in zip(edges, values.T, strict=True))
    return np.stack([column.astype(np.float32) for column in columns], axis=1)


def _booster(allowed: list[set[int]], recipe: ScorerRecipe, seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(
        interaction_cst=allowed,
        max_bins=recipe.max_bins,
        learning_rate=recipe.learning_rate,
        max_leaf_nodes=recipe.max_leaf_nodes,
        min_samples_leaf=recipe.min_samples_leaf,
        l2_regularization=recipe.l2,
        max_features=recipe.feature_share,
        early_stopping=False,
        warm_start=True,
        random_state=seed,
    )


def as_tables(boosters: Sequence[Any], names: Sequence[str], edges: Sequence[Float64s]) -> AdditiveModel:
    """Boosted models in which no path asks more than two features, to the sum of tables that their mean is.

    Every leaf is a box over the features on its path, so it adds its value to a part of one table. The models
    were fitted on numbers of bins; the tables have those of the `edges` that some tree asks about.
    """
    trees = [tree.nodes for boosted in boosters for stage in boosted._predictors for tree in stage]
    found: dict[int, set[float]] = defaultdict(set)
    for nodes in trees:
        for node in nodes[nodes["is_leaf"] == 0]:
            found[int(node["feature_idx"])].add(float(node["num_threshold"]))
    cuts = {i: np.array(sorted(found[i])) for i in range(len(names))}
    tables: dict[tuple[int, ...], Float64s] = {}
    for nodes in trees:
        _add_leaves(nodes, 0, {}, cuts, tables)
    n = len(boosters)
    terms = [Term(tuple(names[i] for i in key), table / n) for key, table in sorted(tables.items()) if key]
    baselines = (float(np.ravel(boosted._baseline_prediction)[0]) for boosted in boosters)
    intercept = float((sum(baselines) + tables.get((), np.zeros(()))) / n)
    # A cut between the bins i and i + 1 is the edge of number i.
    own = {names[i]: edges[i][np.floor(cut).astype(np.int64)] for i, cut in cuts.items()}
    return AdditiveModel(tuple(names), own, tuple(terms), intercept)


def _add_leaves(
    nodes: Any,
    at: int,
    box: dict[int, tuple[int, int]],
    edges: dict[int, Float64s],
    tables: dict[tuple[int, ...], Float64s],
) -> None:
    """Add the leaves below node `at`, whose bins of each feature on the path are `box`, to the tables."""
    node = nodes[at]
    if node["is_leaf"]:
        key = tuple(sorted(box))
        table = tables.setdefault(key, np.zeros(tuple(len(edges[f]) + 1 for f in key)))
        table[tuple(slice(*box[f]) for f in key)] += node["value"]
        return
    feature = int(node["feature_idx"])
    low, high = box.get(feature, (0, len(edges[feature]) + 1))
    # A value up to the threshold goes left, and lies in the bin of the threshold's own number or below.
    cut = int(np.searchsorted(edges[feature], float(node["num_threshold"]))) + 1
    _add_leaves(nodes, int(node["left"]), box | {feature: (low, min(high, cut))}, edges, tables)
    _add_leaves(nodes, int(node["right"]), box | {feature: (max(low, cut), high)}, edges, tables)
