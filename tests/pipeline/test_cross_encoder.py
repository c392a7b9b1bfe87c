import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("sentence_transformers")

from conftest import write_cross_encoder  # noqa: E402

from pipeline import Settings, resolve  # noqa: E402
from pipeline.errors import AffilError, UsageError  # noqa: E402
from pipeline.scoring import CrossEncoderScorer  # noqa: E402

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "affiliations.csv"
LEFT = ["university of oxford", "ETH Zurich", "department of physics, university of cambridge, uk", "a"]
RIGHT = ["university of cambridge", "uk", "hospital " * 100, "a"]


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Other work on the machine makes threads wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def reference(folder: Path, left: list[str], right: list[str]) -> np.ndarray:
    """Mean of both orders by a plain forward pass, one pair at a time."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    found = []
    for a, b in zip(left, right, strict=True):
        both = []
        for pair in ((a, b), (b, a)):
            with torch.inference_mode():
                both.append(
                    float(model(**tokenizer(*pair, truncation=True, return_tensors="pt")).logits[0, 0])
                )
        found.append(sum(both) / 2)
    return np.array(found)


def test_logits_are_the_mean_of_both_orders(reranker: Path) -> None:
    scorer = CrossEncoderScorer(str(reranker), device="cpu", batch_size=2)
    found = scorer.logits(LEFT, RIGHT)
    assert found.shape == (4,) and found.dtype == np.float64
    np.testing.assert_allclose(found, reference(reranker, LEFT, RIGHT), atol=1e-4)
    np.testing.assert_allclose(scorer.logits(RIGHT, LEFT), found, atol=1e-6)
    assert np.ptp(found) > 0.1


def test_logits_are_raw_and_not_squashed(reranker: Path) -> None:
    """The library applies a sigmoid to one output unless told otherwise."""
    found = CrossEncoderScorer(str(reranker), device="cpu").logits(LEFT, RIGHT)
    assert found.min() < 0 or found.max() > 1


def test_batches_and_their_padding_make_no_difference(reranker: Path) -> None:
    whole = CrossEncoderScorer(str(reranker), device="cpu", batch_size=64).logits(LEFT, RIGHT)
    single = CrossEncoderScorer(str(reranker), device="cpu", batch_size=1).logits(LEFT, RIGHT)
    np.testing.assert_allclose(whole, single, atol=1e-5)


def test_no_pairs_need_no_model_run(reranker: Path) -> None:
    assert CrossEncoderScorer(str(reranker), device="cpu").logits([], []).shape == (0,)


def test_progress_is_told_and_ends_at_the_end(reranker: Path) -> None:
    seen = []
    n = 150
    scorer = CrossEncoderScorer(str(reranker), device="cpu", batch_size=1)
    scorer.logits(["oxford"] * n, ["uk"] * n, on_progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (n, n) and len(seen) > 1 and seen == sorted(seen)


def test_max_length_cuts_long_pairs(reranker: Path) -> None:
    short = CrossEncoderScorer(str(reranker), device="cpu", max_length=16)
    long_text = "university of oxford " * 30
    a = short.logits([long_text], ["department of physics " * 30])
    b = short.logits([long_text + "hospital"], ["department of physics " * 30 + "hospital"])
    np.testing.assert_allclose(a, b, atol=1e-6)


def test_what_is_no_reranker_is_refused(reranker: Path, encoder: Path, tmp_path: Path) -> None:
    def refused(name: object, match: str, kind: type[AffilError] = UsageError) -> None:
        with pytest.raises(kind, match=match) as caught:
            CrossEncoderScorer(str(name), device="cpu")
        assert "\n" not in str(caught.value)

    refused(tmp_path / "none", "no such reranker folder")
    refused(tmp_path, "cannot load reranker .* neither config.json nor modules.json")
    refused(encoder, "is no reranker: its architecture is BertModel")
    refused(write_cross_encoder(tmp_path / "three", n_outputs=3), "has 3 outputs; a reranker has one")
    refused("no-such-model-anywhere", "cannot load reranker", AffilError)
    (tmp_path / "config.json").write_text("{broken")
    refused(tmp_path, "is no valid JSON")
    (tmp_path / "config.json").write_text(
        json.dumps({"architectures": ["XForSequenceClassification"], "auto_map": {"AutoModel": "x.X"}})
    )
    refused(tmp_path, "needs code of its own .*, which is never run")
    (tmp_path / "config.json").write_text((reranker / "config.json").read_text())
    refused(tmp_path, r"holds no weights \(model.safetensors\)")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_refused(reranker: Path) -> None:
    with pytest.raises(UsageError, match="no GPU"):
        CrossEncoderScorer(str(reranker), device="cuda")


@pytest.fixture(scope="module")
def strings() -> list[str]:
    import pandas as pd

    return pd.read_csv(EXAMPLE, keep_default_na=False)["affiliation"].tolist()[:200]


def with_reranker(name: str) -> Settings:
    # No second pass of blocking: its pairs depend on what was scored before.
    values = {"scoring": {"reranker": name, "device": "cpu"}, "blocking": {"n_group_neighbours": 0}}
    return Settings().with_values(**values)


@pytest.fixture(scope="module")
def plain(strings):
    return resolve(strings, with_reranker("none"))


@pytest.fixture(scope="module")
def rescored(strings, reranker):
    return resolve(strings, with_reranker(str(reranker)))


def test_only_pairs_in_the_band_are_rescored(plain, rescored) -> None:
    pairs = rescored.matches.pairs
    np.testing.assert_array_equal(pairs.logit, plain.matches.pairs.logit)
    probability = 1 / (1 + np.exp(-pairs.logit))
    low, high = CrossEncoderScorer.band
    in_band = (probability >= low) & (probability <= high)
    assert 0 < in_band.sum() < len(pairs)
    np.testing.assert_array_equal(~np.isnan(pairs.rescored), in_band)
    np.testing.assert_array_equal(rescored.pairs["rescored_logit"].notna(), in_band)
    assert rescored.counts["pairs_rescored"] == in_band.sum()


def test_rescored_logits_are_those_of_the_model(rescored, reranker: Path) -> None:
    pairs, context = rescored.matches.pairs, rescored.forms.context
    chosen = np.flatnonzero(~np.isnan(pairs.rescored))[:20]
    left, right = ([context[i] for i in side[chosen].tolist()] for side in (pairs.left, pairs.right))
    np.testing.assert_allclose(pairs.rescored[chosen], reference(reranker, left, right), atol=1e-4)


@pytest.mark.parametrize(
    ("weight", "slope", "intercept"), [(0.5, 1.0, 0.0), (1.0, 2.0, -0.5), (0.0, 1.0, 0.0)]
)
def test_probability_mixes_both_models_as_settings_say(plain, rescored, weight, slope, intercept) -> None:
    from pipeline.calibration import CalibrationSettings, calibrate

    chosen = CalibrationSettings(reranker_weight=weight, reranker_slope=slope, reranker_intercept=intercept)
    found = calibrate(rescored.matches.pairs, chosen, 0.0).probability
    asked = ~np.isnan(rescored.matches.pairs.rescored)
    before = calibrate(plain.matches.pairs, shift=0.0).probability
    first = np.log(before / (1 - before))
    second = slope * rescored.matches.pairs.rescored + intercept
    mixed = np.where(asked, (1 - weight) * first + weight * second, first)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-mixed)), atol=1e-9)
    if weight == 0.5:
        told = calibrate(rescored.matches.pairs, chosen).probability
        np.testing.assert_array_equal(told, rescored.matches.probability)
        assert np.abs(found - before)[asked].max() > 0.01


def test_the_most_doubtful_are_chosen_where_a_bound_is_set(strings, reranker: Path) -> None:
    few = Settings().with_values(
        scoring={"reranker": str(reranker), "device": "cpu", "rescoring_budget": "10 pairs"},
        # Each pass has the budget; this is about one of them.
        blocking={"n_group_neighbours": 0},
    )
    pairs = resolve(strings, few).matches.pairs
    distance = np.abs(1 / (1 + np.exp(-pairs.logit)) - 0.5)
    asked = ~np.isnan(pairs.rescored)
    assert asked.sum() == 10
    assert distance[asked].max() <= np.sort(distance)[9] + 1e-12


def test_all_pairs_can_be_rescored(strings, reranker: Path) -> None:
    every = Settings().with_values(scoring={"reranker": str(reranker), "device": "cpu", "rescoring": "all"})
    found = resolve(strings[:25], every)
    assert found.counts["pairs_rescored"] == found.counts["pairs_proposed"] > 0


def test_an_encoder_from_a_folder_measures_similarity(strings, plain, encoder: Path) -> None:
    from sentence_transformers import SentenceTransformer

    named = Settings().with_values(blocking={"encoder": str(encoder), "device": "cpu"})
    found = resolve(strings, named)
    pairs, context = found.matches.pairs, found.forms.context
    assert len(found.mentions) == len(plain.mentions)
    chosen = np.linspace(0, len(pairs) - 1, 30).astype(int)
    model = SentenceTransformer(str(encoder), device="cpu")
    left, right = (
        model.encode([context[i] for i in side[chosen].tolist()], normalize_embeddings=True)
        for side in (pairs.left, pairs.right)
    )
    np.testing.assert_allclose(pairs.similarity[chosen], (left * right).sum(axis=1), atol=1e-4)
