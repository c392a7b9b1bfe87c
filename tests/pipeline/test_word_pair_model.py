"""The built-in reranker: NumPy against PyTorch, the order of a pair, batches, files."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blocking.ngram_bag import BagFeatures, NgramBagEncoder
from pipeline.cleaning import clean
from pipeline.errors import UsageError
from pipeline.folding import fold_values
from pipeline.normalization import normalize
from pipeline.parsing import parse
from pipeline.records import Combination
from pipeline.resolution import Models, resolve
from pipeline.scoring import (
    NAMES,
    PairFeatures,
    ScoringSettings,
    fit_vocabulary,
    load_rescorer,
    two_records,
)
from pipeline.scoring.word_pair_model import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    Shape,
    Standard,
    WordPairModel,
    WordPairReranker,
    WordVectors,
    longer_first,
)
from pipeline.scoring.word_pairs import NONE, MentionWords, PairBatch
from pipeline.settings import Settings

STRINGS = [
    "University of Oxford, Oxford, UK",
    "Dept. of Physics, Univ Oxford, Oxford OX1 3PU, England",
    "Technische Universität München",
    "Max Planck Institute for Astronomy, Königstuhl 17, 69117 Heidelberg, Germany",
    "Heidelberg University",
    "東京大学",
    "CERN",
    "12 34",
    "Institut National de la Santé et de la Recherche Médicale, Unité 1018, Centre de recherche en"
    " Épidémiologie et Santé des Populations, Université Paris-Sud, Hôpital Paul Brousse, Villejuif, France",
]
SHAPE = Shape(n_channels=8, n_layers=2, n_heads=2, n_hidden=6, n_places=4, max_words=9)
DIMENSIONS = 5


def made_up(seed: int = 0) -> WordPairReranker:
    """A reranker of random weights."""
    random = np.random.default_rng(seed)
    arrays = {
        name: random.normal(0, 0.5, shape).astype(np.float32)
        for name, shape in SHAPE.arrays(DIMENSIONS, len(NAMES)).items()
    }
    bag = NgramBagEncoder(random.normal(size=(64, DIMENSIONS)).astype(np.float32), BagFeatures(6))
    standard = Standard(np.full(len(NAMES), 0.5, np.float32), np.full(len(NAMES), 2, np.float32))
    return WordPairReranker(WordPairModel(SHAPE, arrays), WordVectors(bag), standard)


@pytest.fixture(scope="module")
def features() -> PairFeatures:
    forms = normalize(parse(clean(fold_values(STRINGS).affiliations)))
    return PairFeatures(forms, fit_vocabulary(forms))


@pytest.fixture(scope="module")
def pairs(features: PairFeatures) -> tuple[np.ndarray, np.ndarray]:
    left, right = np.triu_indices(len(features.forms), 1)
    return left.astype(np.int64), right.astype(np.int64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reranker")
    replace(made_up(), combination=Combination(0.5, 0.25, -1.0)).save(path)
    return path


def test_numpy_gives_what_pytorch_gives(features: PairFeatures, pairs) -> None:
    torch = pytest.importorskip("torch")
    from pipeline.training.reranker import RerankerRecipe
    from pipeline.training.word_pair_module import WordPairModule

    reranker = made_up()
    words = MentionWords.of(features, np.arange(len(features.forms)), SHAPE.max_words)
    vectors = reranker.words.of(words.vocabulary)
    rows = longer_first(words, *pairs)
    values = reranker.standard.apply(features.of(*pairs))
    batch = PairBatch.of(words, vectors[:, :-1], rows, values, SHAPE.n_places)
    module = WordPairModule(RerankerRecipe(), reranker.model)
    with torch.no_grad():
        expected = module.logits(batch, torch.from_numpy(vectors)).numpy()
    np.testing.assert_allclose(
        reranker.model.logits(batch, reranker.model.project(vectors)), expected, atol=1e-5
    )
    assert expected.std() > 0.1
    known = two_records(features.of(*pairs), NAMES)
    np.testing.assert_allclose(reranker.rescore(features, *pairs), expected + known, atol=1e-5)


@given(st.integers(0, 5))
@settings(max_examples=6, deadline=None)
def test_left_and_right_can_be_swapped(seed: int) -> None:
    forms = normalize(parse(clean(fold_values(STRINGS).affiliations)))
    own = PairFeatures(forms, fit_vocabulary(forms))
    left, right = (x.astype(np.int64) for x in np.triu_indices(len(forms), 1))
    reranker = made_up(seed)
    one, other = reranker.rescore(own, left, right), reranker.rescore(own, right, left)
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_the_company_a_pair_keeps_makes_no_difference(features: PairFeatures, pairs) -> None:
    reranker, (left, right) = made_up(), pairs
    whole = reranker.rescore(features, left, right)
    single = [reranker.rescore(features, left[i : i + 1], right[i : i + 1])[0] for i in range(len(left))]
    np.testing.assert_allclose(single, whole, atol=1e-5)
    order = np.random.default_rng(0).permutation(len(left))
    np.testing.assert_allclose(reranker.rescore(features, left[order], right[order]), whole[order], atol=1e-5)


def test_chunks_and_batches_make_no_difference_and_tell_how_far_they_are(
    features: PairFeatures, pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = made_up().rescore(features, *pairs)
    monkeypatch.setattr("pipeline.scoring.word_pair_model._BATCH", 3)
    monkeypatch.setattr("pipeline.scoring.word_pair_model._CHUNK", 7)
    seen: list[tuple[int, int]] = []
    parts = made_up().rescore(features, *pairs, lambda done, n: seen.append((done, n)))
    np.testing.assert_allclose(parts, whole, atol=1e-5)
    n = len(whole)
    assert seen == [(min(done, n), n) for done in range(7, n + 7, 7)]
    none = np.empty(0, np.int64)
    assert made_up().rescore(features, none, none).shape == (0,)


def test_words_are_the_organisations_then_the_contexts(features: PairFeatures) -> None:
    words = MentionWords.of(features, np.arange(len(features.forms)), 9)
    forms = features.forms
    for i in range(len(forms)):
        row = [words.vocabulary[n] for n in words.number[i] if n != NONE]
        assert len(row) == words.n_words[i] and 1 <= len(row) <= 9 and len(set(row)) == len(row)
        n = int(words.n_organization[i])
        assert row[:n] == list(dict.fromkeys(forms.concept[i].split()))[:9]
        assert set(row[n:]) <= {*features.context[i].split(), ""}


def test_marks_say_what_the_other_side_has() -> None:
    vocabulary = ["", "university", "oxford", "physics", "england"]
    number = np.array([[1, 2, 3], [2, 4, NONE]])
    words = MentionWords(vocabulary, number, np.array([2, 1]), np.array([3, 2]))
    vectors = np.eye(5, dtype=np.float32)
    one = np.array([0]), np.array([1])
    batch = PairBatch.of(words, vectors, one, np.zeros((1, 0), np.float32), 2)
    # 3: of the organisation; + 2: in the other's organisation.
    assert batch.mark.tolist() == [[3, 5, 0, 5, 0]]
    assert batch.place.tolist() == [[0, 1, 0, 0, 0]]
    assert batch.nearest.tolist() == [[0, 1, 0, 1, 0]]
    assert batch.n_left == 3 and batch.is_across[0].tolist() == [False, False, False, True, True]


def test_features_that_never_vary_count_for_nothing() -> None:
    values = np.stack([np.arange(8), np.full(8, 2)], axis=1).astype(np.float32)
    standard = Standard.fit(values)
    found = standard.apply(values)
    assert found.mean(axis=0) == pytest.approx([0, 0], abs=1e-6)
    assert found.std(axis=0) == pytest.approx([1, 0], abs=1e-6)
    assert standard.apply(np.array([[900.0, 900.0]], np.float32)).tolist() == [[4, 0]]


def test_what_is_saved_is_what_is_loaded(folder: Path, features: PairFeatures, pairs) -> None:
    found = load_rescorer(ScoringSettings(reranker=str(folder)))
    assert isinstance(found, WordPairReranker)
    assert found.combination == Combination(0.5, 0.25, -1.0)
    # One byte a number of the word vectors.
    np.testing.assert_allclose(found.rescore(features, *pairs), made_up().rescore(features, *pairs), atol=0.3)
    again = folder.parent / "again"
    found.save(again)
    second = WordPairReranker.load(again).rescore(features, *pairs)
    np.testing.assert_allclose(second, found.rescore(features, *pairs), atol=1e-6)


def test_a_run_uses_the_reranker_and_its_combination(folder: Path) -> None:
    values = {"reranker": str(folder), "rescoring": "all"}
    run = resolve(STRINGS, Settings().with_values(scoring=values))
    pairs = run.matches.pairs
    assert run.counts["pairs_rescored"] == len(pairs) > 0
    expected = 0.5 * pairs.logit + 0.25 * pairs.rescored - 1 + run.matches.shift
    np.testing.assert_allclose(run.matches.probability, 1 / (1 + np.exp(-expected)))
    plain = resolve(STRINGS, Settings().with_values(scoring={"reranker": "none"}))
    assert plain.counts["pairs_rescored"] == 0 and Models.load(plain.settings).rescorer is None


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda d: (d / WEIGHTS_FILE).unlink(), "no such file"),
        (lambda d: (d / WEIGHTS_FILE).write_bytes(b"nonsense"), "is damaged"),
        (lambda d: (d / "words" / WEIGHTS_FILE).unlink(), "no such file"),
        (lambda d: (d / CONFIG_FILE).unlink(), "no reranker of the built-in kind"),
        (lambda d: change(d, version=99), "version 99"),
        (lambda d: change(d, shape={"n_sides": 2}), "is damaged"),
        (lambda d: change(d, shape={"n_channels": 16}), "its arrays are not those"),
        (lambda d: change(d, features=["organization_ratio"]), "other features; train it again"),
        (lambda d: change(d, combination={"features": 1}), "is damaged"),
    ],
)
def test_what_is_broken_is_refused(folder: Path, tmp_path: Path, harm, message: str) -> None:
    own = tmp_path / "own"
    shutil.copytree(folder, own)
    harm(own)
    with pytest.raises(UsageError, match=message):
        WordPairReranker.load(own)


def change(folder: Path, **values: object) -> None:
    config = json.loads((folder / CONFIG_FILE).read_text())
    (folder / CONFIG_FILE).write_text(json.dumps(config | values))


def test_it_runs_without_pytorch(folder: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from pipeline import resolve, Settings\n"
        f"values = {{'reranker': {str(folder)!r}, 'rescoring': 'all'}}\n"
        "strings = ['University of Oxford', 'Univ. Oxford, UK']\n"
        "found = resolve(strings, Settings().with_values(scoring=values))\n"
        "assert found.counts['pairs_rescored'] == 1, found.counts\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
