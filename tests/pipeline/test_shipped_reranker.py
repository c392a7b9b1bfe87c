"""The reranker in the package."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.preparation import prepare
from pipeline.resolution import Models, resolve
from pipeline.scoring import (
    NAMES,
    PairFeatures,
    WordPairReranker,
    fit_vocabulary,
    two_records,
    word_pair_model,
)
from pipeline.settings import Settings

STRINGS = [
    "University of Oxford, Oxford, UK",
    "Dept. of Physics, Univ Oxford, Oxford OX1 3PU, England",
    "Oxford Brookes University, Oxford, UK",
    "Technische Universität München, Germany",
    "Technical University of Munich, Munich",
    "Ludwig-Maximilians-Universität München, Germany",
]


def test_it_is_off_unless_asked_for() -> None:
    assert Models.load(Settings()).rescorer is None
    found = Models.load(Settings().with_values(scoring={"reranker": "built-in"})).rescorer
    assert isinstance(found, WordPairReranker) and found.combination is not None
    assert found.name == "built-in"


def test_it_tells_variants_from_siblings() -> None:
    values = {"reranker": "built-in", "rescoring": "all"}
    found = resolve(STRINGS, Settings().with_values(scoring=values))
    string_of = dict(zip(found.mentions["mention_id"], found.mentions["affiliation"], strict=True))
    logit = {
        frozenset((string_of[a], string_of[b])): x
        for a, b, x in found.pairs[["left_mention_id", "right_mention_id", "rescored_logit"]].itertuples(
            index=False
        )
    }
    same = [logit[frozenset(STRINGS[:2])], logit[frozenset(STRINGS[3:5])]]
    other = [logit[frozenset((STRINGS[0], STRINGS[2]))], logit[frozenset((STRINGS[3], STRINGS[5]))]]
    assert min(same) > max(other)


@pytest.mark.parametrize("command", ["show", "check"])
def test_affil_models_says_what_it_is(command: str) -> None:
    done = CliRunner().invoke(main, ["models", command, "reranker", "--json"])
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)["facts"]
    assert facts["kind"] == "reranker" and facts["licence"] == "Apache-2.0"
    if command == "check":
        assert 200_000 < facts["n_parameters"] < 300_000
        assert "in either order" in facts["a pair"]


def test_what_is_known_of_two_records_counts_in_the_reranker_too(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["University of Miami, Coral Gables, FL, USA", "Miami University, Oxford, OH, USA", *STRINGS[:2]]
    _, forms = prepare(texts)
    features = PairFeatures(forms, fit_vocabulary(forms))
    left, right = np.array([0, 2]), np.array([1, 3])
    known = two_records(features.of(left, right), NAMES)
    assert known[0] < 0 == known[1]
    found = WordPairReranker.load().rescore(features, left, right)
    monkeypatch.setattr(word_pair_model, "two_records", lambda values, names: np.zeros(len(values)))
    assert found - WordPairReranker.load().rescore(features, left, right) == pytest.approx(known)
