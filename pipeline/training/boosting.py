"""Fit an additive model with pairwise interactions by gradient boosting, and read it off the trees."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
        rounds_per_look: trees between two looks at the tune fold.
        patience: looks without a better figure after which boosting ends.
        hold: how strongly a model that is fine-tuned holds to what it was, see `adjusted`.
        seed: of everything random.
    """

    n_interactions: int = 24
    max_bins: int = 32
    learning_rate: float = 0.06
    max_iter: int = 400
    max_leaf_nodes: int = 8
    min_samples_leaf: int = 60
    l2: float = 1.0
    rounds_per_look: int = 400
    patience: int = 4
    hold: float = 20.0
    seed: int = 0

    def __post_init__(self) -> None:
        least_of = {"n_interactions": 0, "max_bins": 2, "max_iter": 1, "max_leaf_nodes": 2}
        for name, least in (least_of | {"min_samples_leaf": 1, "rounds_per_look": 1, "patience": 1}).items():
            if getattr(self, name) < least:
                raise UsageError(f"recipe: {name} must be {least} or more, got {getattr(self, name)}")
        for name in ("learning_rate", "hold"):
            if getattr(self, name) <= 0:
                raise UsageError(f"recipe: {name} must be above 0, got {getattr(self, name)}")
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
) -> list[tuple[str, ...]]:
    """Features, shape (n, len(names)), and truth, shape (n,), to the pairs of features that act together.

    A fit of half the rounds lets every two features do so; those that move its log-odds most are chosen.
    """
    if not recipe.n_interactions:
        return []
    every = [{i, j} for i, j in combinations(range(len(names)), 2)]
    boosted = _booster(every, recipe).set_params(max_iter=max(1, recipe.max_iter // 2)).fit(values, is_match)
    first = as_tables(boosted, names)
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
) -> Iterator[tuple[int, AdditiveModel]]:
    """The model as it grows, at each look: rounds and model; `chosen` features act together."""
    allowed = [{names.index(f) for f in pair} for pair in chosen] + [{i} for i in range(len(names))]
    booster, n_rounds = _booster(allowed, recipe), 0
    while n_rounds < recipe.max_iter:
        n_rounds = min(n_rounds + recipe.rounds_per_look, recipe.max_iter)
        yield n_rounds, as_tables(booster.set_params(max_iter=n_rounds).fit(values, is_match), names)


def _booster(allowed: list[set[int]], recipe: ScorerRecipe) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(
        interaction_cst=allowed,
        max_bins=recipe.max_bins,
        learning_rate=recipe.learning_rate,
        max_leaf_nodes=recipe.max_leaf_nodes,
        min_samples_leaf=recipe.min_samples_leaf,
        l2_regularization=recipe.l2,
        early_stopping=False,
        warm_start=True,
        random_state=recipe.seed,
    )


def as_tables(boosted: Any, names: Sequence[str]) -> AdditiveModel:
    """A boosted model in which no path asks more than two features, to the sum of tables that it is.

    Every leaf is a box over the features on its path, so it adds its value to a part of one table.
    """
    trees = [tree.nodes for stage in boosted._predictors for tree in stage]
    found: dict[int, set[float]] = defaultdict(set)
    for nodes in trees:
        for node in nodes[nodes["is_leaf"] == 0]:
            found[int(node["feature_idx"])].add(float(node["num_threshold"]))
    edges = {i: np.array(sorted(found[i])) for i in range(len(names))}
    tables: dict[tuple[int, ...], Float64s] = {}
    for nodes in trees:
        _add_leaves(nodes, 0, {}, edges, tables)
    terms = [Term(tuple(names[i] for i in key), table) for key, table in sorted(tables.items()) if key]
    constant = tables.get((), np.zeros(()))
    intercept = float(np.ravel(boosted._baseline_prediction)[0] + constant)
    return AdditiveModel(tuple(names), {names[i]: e for i, e in edges.items()}, tuple(terms), intercept)


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
