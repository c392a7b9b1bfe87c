import json
import socket

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("sentence_transformers")

from blocking import block, load_encoder  # noqa: E402
from blocking.errors import BlockingError  # noqa: E402
from blocking.hub import split_revision  # noqa: E402
from blocking.sentence import SentenceSettings, SentenceTransformerEncoder  # noqa: E402
from blocking.settings import BlockingSettings  # noqa: E402

WORDS = "university of vienna oslo physics department hospital lyon austria norway query : the".split()  # noqa: SIM905
TEXTS = [
    "university of vienna",
    "",
    "department of physics university of oslo norway",
    "hospital lyon",
    "the",
    "  ",
    "university of vienna austria physics department of the university of vienna austria",
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A random BERT of two layers with mean pooling and a named prompt, in the published file layout."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    plain = tmp_path_factory.mktemp("plain")
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {token: number for number, token in enumerate([*special, *WORDS, "##s"])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=32, mask_token="[MASK]", **names
    ).save_pretrained(plain)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=40,
        initializer_range=0.5,
    )
    transformers.BertModel(config).save_pretrained(plain)
    folder = tmp_path_factory.mktemp("encoder")
    transformer = Transformer(str(plain))
    model = SentenceTransformer(modules=[transformer, Pooling(32, "mean")], prompts={"query": "query : "})
    model.save(str(folder))
    return folder


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise OSError("a test must not reach the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def reference(folder, texts):
    """Mean of the last hidden states over the real tokens, one text at a time, in plain PyTorch."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    rows = []
    for text in texts:
        with torch.inference_mode():
            hidden = model(**tokenizer(text, return_tensors="pt", truncation=True)).last_hidden_state[0]
        rows.append(hidden.mean(0).numpy())
    return np.array(rows)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_vectors_equal_the_reference_and_blank_rows_are_zero(checkpoint):
    vectors = load_encoder(str(checkpoint), device="cpu", batch_size=3).encode(TEXTS)
    written = [0, 2, 3, 4, 6]
    assert vectors.dtype == np.float32
    assert vectors.shape == (7, 32)
    assert np.abs(vectors[written] - unit(reference(checkpoint, [TEXTS[n] for n in written]))).max() <= 1e-5
    assert not vectors[[1, 5]].any()
    # Random weights must tell texts apart, or the comparison above would prove nothing.
    assert np.linalg.matrix_rank(vectors[written], tol=0.05) == len(written)


def test_no_text_and_one_text(checkpoint):
    encoder = load_encoder(str(checkpoint), device="cpu")
    assert encoder.encode([]).shape == (0, 32)
    assert np.allclose(np.linalg.norm(encoder.encode(["lyon"]), axis=1), 1, atol=1e-6)


def test_batches_do_not_show(checkpoint):
    encoder = load_encoder(str(checkpoint), device="cpu", batch_size=2)
    order = [4, 2, 6, 0, 5, 3, 1]
    vectors = encoder.encode(TEXTS)
    shuffled = encoder.encode([TEXTS[n] for n in order])
    assert np.abs(vectors[order] - shuffled).max() <= 1e-6


def test_truncated_rows_are_normalised_again(checkpoint):
    whole = unit(reference(checkpoint, ["hospital lyon", "oslo"]))
    encoder = load_encoder(str(checkpoint), device="cpu", truncate_dim=8)
    assert encoder.dimensions == 8
    assert np.abs(encoder.encode(["hospital lyon", "oslo"]) - unit(whole[:, :8])).max() <= 1e-5
    with pytest.raises(BlockingError, match=r"truncate_dim is 33, but .* has 32 dimensions"):
        load_encoder(str(checkpoint), device="cpu", truncate_dim=33)


@pytest.mark.parametrize("prompt", ["query", "query : "])
def test_prompt_by_name_or_in_words(checkpoint, prompt):
    vectors = load_encoder(str(checkpoint), device="cpu", prompt=prompt).encode(["oslo"])
    assert np.abs(vectors - unit(reference(checkpoint, ["query : oslo"]))).max() <= 1e-5
    assert np.abs(vectors - unit(reference(checkpoint, ["oslo"]))).max() > 1e-3


def test_bfloat16_is_near_and_float32_is_the_default_on_a_cpu(checkpoint):
    exact = SentenceTransformerEncoder(str(checkpoint), SentenceSettings(device="cpu"))
    coarse = SentenceTransformerEncoder(str(checkpoint), SentenceSettings(device="cpu", precision="bfloat16"))
    written = [text for text in TEXTS if text.strip()]
    cosines = np.sum(exact.encode(written) * coarse.encode(written), axis=1)
    assert cosines.min() > 0.99
    assert not np.array_equal(exact.encode(written), coarse.encode(written))


def test_progress_reaches_the_total(checkpoint):
    calls = []
    encoder = load_encoder(str(checkpoint), device="cpu", batch_size=1)
    encoder.encode(["oslo"] * 20 + [""], on_progress=lambda *call: calls.append(call))
    assert calls == [(17, 21), (21, 21)]


def test_blocking_by_a_model(checkpoint):
    pairs = block(TEXTS, settings=BlockingSettings(encoder=str(checkpoint), n_neighbours=4, device="cpu"))
    cosines = unit(reference(checkpoint, [TEXTS[0], TEXTS[6]]))
    at = np.flatnonzero((pairs.left == 0) & (pairs.right == 6))
    assert pairs.similarity[at] == pytest.approx(cosines[0] @ cosines[1], abs=1e-5)


def test_a_model_that_looks_vectors_up_is_an_encoder_too(checkpoint, tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=8)]).save(str(tmp_path))
    encoder = load_encoder(str(tmp_path), device="cpu")
    assert encoder.encode(TEXTS).shape == (7, 8)
    assert encoder.describe()["n_layers"] == 0


def altered(checkpoint, folder, **changes):
    """A copy of the checkpoint with a changed config.json."""
    for path in checkpoint.rglob("*"):
        if path.is_file():
            target = folder / path.relative_to(checkpoint)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    return str(folder)


def refusal(source, **settings):
    with pytest.raises(BlockingError) as caught:
        load_encoder(source, device="cpu", **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_remote_code_is_refused_unless_the_type_is_native(checkpoint, tmp_path):
    needs_code = {"model_type": "strange", "auto_map": {"AutoModel": "modeling.NewModel"}}
    message = refusal(altered(checkpoint, tmp_path / "new", **needs_code))
    assert "needs code of its own (model type 'strange' with auto_map)" in message
    native = altered(checkpoint, tmp_path / "bert", auto_map={"AutoModel": "modeling.Evil"})
    assert load_encoder(native, device="cpu").encode(["oslo"]).shape == (1, 32)


def test_cross_encoder_is_refused(checkpoint, tmp_path):
    source = altered(checkpoint, tmp_path, architectures=["BertForSequenceClassification"])
    assert "is a cross-encoder" in refusal(source)


def test_missing_and_broken_sources_name_the_built_in_encoders(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "there is no such folder; built-in encoders: hashing" in refusal(str(tmp_path / "nowhere"))
    assert "built-in encoders: hashing" in refusal("hashng")
    assert "built-in encoders: hashing" in refusal("owner/absent-model@abc")
    (tmp_path / "file.bin").write_text("no model")
    assert "it is a file, and a model is a folder" in refusal(str(tmp_path / "file.bin"))
    (tmp_path / "empty").mkdir()
    assert "neither config.json nor modules.json" in refusal(str(tmp_path / "empty"))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{")
    assert "is no valid JSON" in refusal(str(tmp_path / "broken"))
    cut = altered(checkpoint, tmp_path / "cut")
    next((tmp_path / "cut").rglob("*.safetensors")).write_bytes(b"cut off")
    assert "model.safetensors is corrupt or cut off" in refusal(cut)


def test_revision_follows_an_at_sign(tmp_path):
    assert split_revision("owner/model@v1.0") == ("owner/model", "v1.0")
    assert split_revision("owner/model") == ("owner/model", None)
    (tmp_path / "a@b").mkdir()
    assert split_revision(str(tmp_path / "a@b")) == (str(tmp_path / "a@b"), None)


def test_missing_libraries_are_said_with_the_remedy(checkpoint, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    message = refusal(str(checkpoint))
    assert "pip install 'affiliation-resolver[models]'" in message


def test_settings_are_checked():
    with pytest.raises(BlockingError, match="precision must be one of auto, float32, bfloat16, float16"):
        SentenceSettings(precision="int8")
    with pytest.raises(BlockingError, match="batch_size must be 1 or more"):
        SentenceSettings(batch_size=0)
