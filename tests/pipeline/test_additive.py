import numpy as np
import pytest

from pipeline.errors import UsageError
from pipeline.scoring.additive import AdditiveModel, Term
from pipeline.training.adjusting import adjusted
from pipeline.training.boosting import (
    ScorerRecipe,
    as_tables,
    bin_edges,
    boosted_models,
    interactions,
)

NAMES = ["a", "b", "c"]


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    values = np.round(rng.random((3000, 3)), 2).astype(np.float32)
    logit = 4 * (values[:, 0] - 0.5) + 6 * (values[:, 1] - 0.5) * (values[:, 2] - 0.5) * 4
    return values, rng.random(3000) < 1 / (1 + np.exp(-logit))


def fitted(data, **recipe) -> AdditiveModel:
    """The last model of a fit."""
    values, truth = data
    chosen = interactions(values, truth, NAMES, ScorerRecipe(**recipe))
    *_, (_, model) = boosted_models(values, truth, NAMES, chosen, ScorerRecipe(**recipe))
    return model


def sklearn_fit(values, truth, **options):
    from sklearn.ensemble import HistGradientBoostingClassifier

    common = {"max_bins": 24, "max_leaf_nodes": 6, "max_iter": 60, "early_stopping": False}
    return HistGradientBoostingClassifier(**common | options).fit(values, truth)


def test_tables_are_the_mean_of_the_models_trees(data) -> None:
    """What is read off as tables gives the very log-odds of boosted trees, of one model and of several."""
    values, truth = data
    edges = bin_edges(values, 24)
    bins = np.stack([np.searchsorted(e, v) for e, v in zip(edges, values.T, strict=True)], axis=1)
    halves = (
        sklearn_fit(bins[i::2], truth[i::2], interaction_cst="pairwise", random_state=i) for i in range(2)
    )
    boosters = list(halves)
    for some in (boosters[:1], boosters):
        expected = np.mean([b.decision_function(bins) for b in some], axis=0)
        assert np.abs(as_tables(some, NAMES, edges).logits(values) - expected).max() < 1e-6


@pytest.mark.parametrize("n_bins", [24, 200])
def test_bins_are_those_of_scikit_learn_where_it_looks_at_all_rows(data, n_bins) -> None:
    """Values of 24 quantiles, and where they have fewer than the bins that may be, all of them."""
    values, truth = data
    recipe = ScorerRecipe(
        n_interactions=0, max_bins=n_bins, max_iter=30, rounds_per_look=30, n_models=1, feature_share=1.0
    )
    ((_, model),) = boosted_models(values, truth, NAMES, [], recipe)
    expected = sklearn_fit(
        values,
        truth,
        interaction_cst=[{i} for i in range(3)],
        max_bins=n_bins,
        max_iter=30,
        max_leaf_nodes=recipe.max_leaf_nodes,
        min_samples_leaf=recipe.min_samples_leaf,
        learning_rate=recipe.learning_rate,
        l2_regularization=recipe.l2,
    )
    assert np.abs(model.logits(values) - expected.decision_function(values)).max() < 1e-6


def test_edges_do_not_depend_on_the_order_of_the_rows(data) -> None:
    values, _ = data
    many = np.repeat(values, 100, axis=0)  # More rows than scikit-learn looks at.
    many += np.random.default_rng(0).random(many.shape, np.float32) / 100
    first, again = bin_edges(many, 16), bin_edges(np.random.default_rng(1).permutation(many), 16)
    assert [len(e) for e in first] == [15, 15, 15]
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


def test_a_row_of_weight_two_is_the_row_twice(data) -> None:
    values, truth = data
    # With a bin a value edges are the same.
    recipe = ScorerRecipe(max_bins=200, max_iter=10, rounds_per_look=10, min_samples_leaf=1, n_models=2)
    twice = np.concatenate([np.arange(1500), np.arange(3000)])
    weight = np.repeat([2.0, 1.0], 1500)
    ((_, weighted),) = boosted_models(values, truth, NAMES, [("b", "c")], recipe, weight)
    ((_, repeated),) = boosted_models(values[twice], truth[twice], NAMES, [("b", "c")], recipe)
    ((_, alike),) = boosted_models(values, truth, NAMES, [("b", "c")], recipe)
    assert np.abs(weighted.logits(values) - repeated.logits(values)).max() < 1e-3
    assert np.abs(weighted.logits(values) - alike.logits(values)).max() > 0.1


def test_contributions_add_up(data) -> None:
    values, _ = data
    model = fitted(data, n_interactions=2, max_iter=40)
    parts = model.contributions(values[:50])
    assert np.allclose(sum(parts.values()), model.logits(values[:50]))
    assert sum(len(t.features) == 2 for t in model.terms) <= 2


def test_the_file_reads_back_to_the_same_log_odds(data) -> None:
    values, _ = data
    model = fitted(data, n_interactions=1, max_iter=30)
    again = AdditiveModel.from_json(model.to_json(), "file")
    # Tables are written with four decimals, edges with five.
    assert np.abs(again.logits(values) - model.logits(values)).max() < 0.01
    assert AdditiveModel.from_json(again.to_json(), "file").to_json() == again.to_json()


def test_fitting_twice_gives_the_same_file(data) -> None:
    first, second = (fitted(data, n_interactions=1, max_iter=10).to_json() for _ in range(2))
    assert first == second


def test_features_that_act_together_are_found(data) -> None:
    values, _ = data
    truth = (values[:, 1] > 0.5) == (values[:, 2] > 0.5)
    assert interactions(values, truth, NAMES, ScorerRecipe(n_interactions=1, max_iter=60)) == [("b", "c")]
    assert interactions(values, truth, NAMES, ScorerRecipe(n_interactions=0)) == []


@pytest.mark.parametrize(("weight", "expected"), [([1.0, 0.1], ("b", "c")), ([0.1, 1.0], ("a", "b"))])
def test_rows_that_count_more_say_which_features_act_together(data, weight, expected) -> None:
    values, _ = data
    above = values > 0.5
    truth = np.where(np.arange(3000) < 1500, above[:, 1] == above[:, 2], above[:, 0] == above[:, 1])
    recipe = ScorerRecipe(n_interactions=1, max_iter=60, min_samples_leaf=60)
    assert interactions(values, truth, NAMES, recipe, np.repeat(weight, 1500)) == [expected]


def test_a_model_that_grows_by_looks_is_that_of_one_fit(data) -> None:
    values, truth = data
    many = dict(
        boosted_models(values, truth, NAMES, [("b", "c")], ScorerRecipe(max_iter=60, rounds_per_look=25))
    )
    (at_once,) = boosted_models(
        values, truth, NAMES, [("b", "c")], ScorerRecipe(max_iter=60, rounds_per_look=99)
    )
    assert list(many) == [25, 50, 60]
    assert many[60].to_json() == at_once[1].to_json()


def test_factors_are_those_of_a_logistic_regression(data) -> None:
    """Held loosely, the adjustment is scikit-learn's logistic regression on the contributions."""
    from sklearn.linear_model import LogisticRegression

    values, truth = data
    model = fitted(data, n_interactions=1, max_iter=30)
    flipped = ~truth
    columns = np.stack([p for name, p in model.contributions(values).items() if name != "intercept"], axis=1)
    loose = adjusted(model, values, flipped, 1e-6).logits(values)
    oracle = (
        LogisticRegression(C=1e6, max_iter=5000, tol=1e-8).fit(columns, flipped).decision_function(columns)
    )
    assert np.abs(loose - oracle).max() < 0.02
    held = adjusted(model, values, flipped, 1e9)
    for before, after in zip(model.terms, held.terms, strict=True):
        assert np.allclose(before.table, after.table, atol=1e-3)


def test_a_hand_made_model() -> None:
    edges = {"a": np.array([0.5]), "b": np.array([1.0, 2.0])}
    terms = (
        Term(("a",), np.array([-1.0, 1.0])),
        Term(("a", "b"), np.array([[0.0, 10.0, 20.0], [0.0, 30.0, 40.0]])),
    )
    model = AdditiveModel(("a", "b"), edges, terms, 0.25)
    values = np.array([[0.5, 1.0], [0.6, 1.5], [0.0, 9.0]], np.float32)
    assert model.logits(values).tolist() == [-0.75, 31.25, 19.25]
    assert len(model.logits(values[:0])) == 0


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "other"}'])
def test_what_is_no_model_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"some\.json"):
        AdditiveModel.from_json(text, "some.json")


def test_a_table_that_does_not_fit_is_refused() -> None:
    model = AdditiveModel(("a",), {"a": np.array([0.5])}, (Term(("a",), np.array([1.0, 2.0, 3.0])),), 0.0)
    with pytest.raises(UsageError, match="does not fit"):
        AdditiveModel.from_json(model.to_json(), "x")


def test_an_unknown_feature_is_refused(tmp_path) -> None:
    file = tmp_path / "m.json"
    file.write_text(AdditiveModel(("z",), {"z": np.array([0.5])}, (), 0.0).to_json())
    with pytest.raises(UsageError, match="unknown feature 'z'"):
        AdditiveModel.load(str(file), ["a"])


def test_the_shipped_model_loads() -> None:
    from pipeline.scoring import NAMES as FEATURES

    model = AdditiveModel.load(None, FEATURES)
    assert len(model.terms) > 10
    assert np.isfinite(model.logits(np.zeros((2, len(model.features)), np.float32))).all()
