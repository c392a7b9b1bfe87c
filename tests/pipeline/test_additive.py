import numpy as np
import pytest

from pipeline.errors import UsageError
from pipeline.scoring.additive import AdditiveModel, Term
from pipeline.training.adjusting import adjusted
from pipeline.training.boosting import ScorerRecipe, as_tables, boosted_models, interactions

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


def test_tables_are_the_trees(data) -> None:
    """The model read off as tables gives the very log-odds of the boosted trees."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    values, truth = data
    boosted = HistGradientBoostingClassifier(
        interaction_cst="pairwise",
        max_iter=60,
        max_bins=24,
        max_leaf_nodes=6,
        early_stopping=False,
        random_state=0,
    ).fit(values, truth)
    ours = as_tables(boosted, NAMES).logits(values)
    assert np.abs(ours - boosted.decision_function(values)).max() < 1e-6


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
