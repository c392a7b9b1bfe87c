"""The published rerankers' layout against an independent forward pass, and the order they give."""

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("sentence_transformers")

import published  # noqa: E402
import references  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

import pipeline  # noqa: E402
from pipeline import ScoringSettings  # noqa: E402
from pipeline.errors import UsageError  # noqa: E402
from pipeline.scoring import CrossEncoderScorer, load_rescorer  # noqa: E402

LEFT = [
    "university of oxford",
    "stanford university",
    "",
    "department of physics university of cambridge",
    "a",
]
RIGHT = ["university of cambridge", "uk", "college", "hospital " * 80, ""]


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def jina(tmp_path_factory) -> Path:
    return published.write_jina(tmp_path_factory.mktemp("jina") / "jina")


def expected(folder: Path, left: list[str], right: list[str]) -> np.ndarray:
    model = references.Published(folder)
    with torch.inference_mode():
        return np.array([float(references.jina(model, a, b)) for a, b in zip(left, right, strict=True)])


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_logits_in_both_orders_are_those_of_the_reference(jina: Path, batch_size: int) -> None:
    scorer = CrossEncoderScorer(str(jina), device="cpu", batch_size=batch_size)
    one, other = expected(jina, LEFT, RIGHT), expected(jina, RIGHT, LEFT)
    np.testing.assert_allclose(scorer.directed_logits(LEFT, RIGHT), one, atol=1e-5)
    np.testing.assert_allclose(scorer.logits(LEFT, RIGHT), (one + other) / 2, atol=1e-5)
    assert np.ptp(one) > 0.1 and np.abs(one - other).max() > 0.01


def test_weights_in_bfloat16_are_computed_in_float32(jina: Path, tmp_path: Path) -> None:
    folder = published.write_jina(tmp_path / "half", torch_dtype="bfloat16")
    tensors = {name: value.bfloat16() for name, value in load_file(folder / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors")
    found = CrossEncoderScorer(str(folder), device="cpu").directed_logits(LEFT, RIGHT)
    np.testing.assert_allclose(found, expected(folder, LEFT, RIGHT), atol=1e-5)


def test_weights_in_half_numbers_give_near_logits_in_full_ones(jina: Path, monkeypatch) -> None:
    full = CrossEncoderScorer(str(jina), device="cpu").logits(LEFT, RIGHT)
    monkeypatch.setattr("blocking.precision.chosen_precision", lambda *_: "bfloat16")
    half = CrossEncoderScorer(str(jina), device="cpu")
    assert {p.dtype for p in half._model.parameters()} == {torch.bfloat16}
    found = half.logits(LEFT, RIGHT)
    assert found.dtype == np.float64
    assert 0 < np.abs(found - full).max() < 0.05 * np.ptp(full)


def test_no_length_leads_past_the_models_positions(jina: Path) -> None:
    """Positions begin behind the padding token's: of 66 only 64 can be used."""
    own = CrossEncoderScorer(str(jina), device="cpu").logits(LEFT, RIGHT)
    long = CrossEncoderScorer(str(jina), device="cpu", max_length=500).logits(LEFT, RIGHT)
    np.testing.assert_array_equal(long, own)


def test_rank_orders_as_the_card_does(jina: Path) -> None:
    candidates = ["uk", "university of cambridge", "hospital", "university of oxford college", "uk"]
    settings = ScoringSettings(reranker=f"jina-affiliations={jina}", device="cpu")
    ranked = pipeline.rank("university of oxford", candidates, settings)
    logits = expected(jina, ["university of oxford"] * 5, candidates)
    np.testing.assert_allclose([r.logit for r in ranked], sorted(logits, reverse=True), atol=1e-5)
    assert [r.candidate for r in ranked] == [candidates[r.index] for r in ranked]
    assert sorted(r.index for r in ranked) == list(range(5))
    # Equal candidates keep their order.
    assert [r.index for r in ranked if r.candidate == "uk"] == [0, 4]
    scorer = load_rescorer(settings)
    assert pipeline.rank("university of oxford", candidates, rescorer=scorer) == ranked
    assert pipeline.rank("university of oxford", [], rescorer=scorer) == []


def test_rank_takes_any_rescorer_and_wants_one() -> None:
    class Length:
        name = "length"

        def logits(self, left, right, on_progress=None):
            return np.array([float(len(b)) for b in right])

    assert [r.index for r in pipeline.rank("x", ["a", "ccc", "bb"], rescorer=Length())] == [1, 2, 0]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"rotary_emb_base": 10000.0}, "unknown key 'rotary_emb_base'"),
        ({"position_embedding_type": "rotary"}, "'position_embedding_type' is \"rotary\""),
        ({"hidden_act": "gelu_new"}, '\'hidden_act\' is "gelu_new", and only "gelu" is understood'),
        ({"lora_adaptations": ["retrieval"]}, "'lora_adaptations' is"),
        ({"layer_norm_eps": 0}, "'layer_norm_eps' must be a positive number"),
        ({"num_hidden_layers": 3}, "missing: roberta.encoder.layer.2"),
        ({"num_hidden_layers": 1}, "unexpected: roberta.encoder.layer.1"),
    ],
    ids=str,
)
def test_configurations_that_are_not_understood_are_refused(tmp_path, config, message) -> None:
    folder = published.write_jina(tmp_path / "jina")
    given = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(given | config))
    with pytest.raises(UsageError, match=message) as caught:
        CrossEncoderScorer(str(folder), device="cpu")
    assert "\n" not in str(caught.value)


def test_an_encoder_is_no_reranker_nor_the_reverse(tmp_path: Path, jina: Path) -> None:
    gte = published.write_gte(tmp_path / "gte")
    with pytest.raises(UsageError, match="is no reranker: its architecture is NewModel"):
        load_rescorer(ScoringSettings(reranker=str(gte)))
    with pytest.raises(UsageError, match="gte-affiliations is an encoder, no reranker; give --encoder gte"):
        load_rescorer(ScoringSettings(reranker="gte-affiliations"))
    with pytest.raises(UsageError, match="mention-mask is an encoder"):
        load_rescorer(ScoringSettings(reranker="maxwlnd/cl_mention_embedding@main"))
    mask = published.write_mask(tmp_path / "mask")
    with pytest.raises(UsageError, match="is no reranker: it states no architecture"):
        load_rescorer(ScoringSettings(reranker=str(mask)))
