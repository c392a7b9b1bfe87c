"""Fit an additive model with pairwise interactions by gradient boosting, and read it off the trees."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.scoring.additive import AdditiveModel, Term

Float64s = npt.NDArray[np.float64]


@dataclass(frozen=True)
class BoostingRecipe:
    """How the feature model is fitted.

    Attributes:
        n_interactions: how many pairs of features may act together.
        max_bins: at most so many bins a feature.
        learning_rate, max_iter, max_leaf_nodes, min_samples_leaf, l2: of scikit-learn's boosting.
        seed: of everything random.
    """

    n_interactions: int = 24
    max_bins: int = 32
    learning_rate: float = 0.06
    max_iter: int = 400
    max_leaf_nodes: int = 8
    min_samples_leaf: int = 60
    l2: float = 1.0
    seed: int = 0


def fit_additive(
    values: npt.NDArray[np.float32],
    is_match: npt.NDArray[np.bool_],
    names: Sequence[str],
    recipe: BoostingRecipe,
) -> AdditiveModel:
    """Features, shape (n, len(names)), and truth, shape (n,), to the model.

    A first fit lets every two features act together; the pairs that moved its log-odds most stay, and the
    second fit, with those alone, is the model.
    """
    every = [{i, j} for i, j in combinations(range(len(names)), 2)]
    first = as_tables(_boost(values, is_match, every, recipe, recipe.max_iter // 2), names)
    spread = {
        t.features: float(np.std(_values_of(t, first, values))) for t in first.terms if len(t.features) == 2
    }
    chosen = sorted(spread, key=lambda f: -spread[f])[: recipe.n_interactions]
    allowed = [{names.index(a), names.index(b)} for a, b in chosen] + [{i} for i in range(len(names))]
    return as_tables(_boost(values, is_match, allowed, recipe, recipe.max_iter), names)


def _boost(values: Any, is_match: Any, allowed: list[set[int]], recipe: BoostingRecipe, n_rounds: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(
        interaction_cst=allowed,
        max_bins=recipe.max_bins,
        learning_rate=recipe.learning_rate,
        max_iter=n_rounds,
        max_leaf_nodes=recipe.max_leaf_nodes,
        min_samples_leaf=recipe.min_samples_leaf,
        l2_regularization=recipe.l2,
        early_stopping=False,
        random_state=recipe.seed,
    )
    return model.fit(values, is_match)


def _values_of(term: Term, model: AdditiveModel, values: npt.NDArray[np.float32]) -> Float64s:
    return model.contributions(values)[" × ".join(term.features)]


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
