"""Batches by tokens: the library's own features, whatever the tokenizer, with less padding."""

import pickle

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("sentence_transformers")

import published  # noqa: E402

from blocking import load_encoder  # noqa: E402
from blocking.conversion import native_folder  # noqa: E402
from blocking.sentence import SentenceSettings, SentenceTransformerEncoder  # noqa: E402
from blocking.tokens import USUAL_TOKENS, ByTokens, batch_size_on  # noqa: E402

TEXTS = [
    "university of oxford",
    "the",
    "department of computer science, stanford university, california",
    "",
    "Universität OXFORD  東京 |",
    "massachusetts institute of technology " * 30,
    "uk [MASK] <mask>",
    " hospital",
    "physics",
]
WRITERS = {
    "gte": published.write_gte,
    "mask": published.write_mask,
    "aspire": published.write_aspire,
    "gemma": lambda folder: published.write_gemma(folder, with_dense=True),
}


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {name: write(tmp_path_factory.mktemp(name) / name) for name, write in WRITERS.items()}


def pairs(texts):
    return list(zip(texts, reversed(texts), strict=True))


def check_features(by_tokens, items, prompt="", batch_size=2):
    """Every batch holds what the library makes of the same items, and all items stand in some batch."""
    seen = []
    for numbers, features in by_tokens.batches(items, batch_size):
        expected = by_tokens._model.preprocess([items[i] for i in numbers.tolist()], prompt=prompt)
        assert dict(features).keys() == dict(expected).keys()
        for name, value in expected.items():
            if isinstance(value, torch.Tensor):
                assert torch.equal(features[name], value), name
                assert features[name].dtype == value.dtype
            else:
                assert features[name] == value
        seen += numbers.tolist()
    assert sorted(seen) == list(range(len(items)))


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("prompt", [None, "task : search result | query : "])
def test_features_of_every_published_format_are_the_library_s(folders, name, prompt):
    if name == "mask" and prompt:
        prompt = "group {} is [MASK] ."
    encoder = load_encoder(str(folders[name]), device="cpu", prompt=prompt)
    by_tokens = encoder._by_tokens
    assert by_tokens._reader is not None
    # Filling a sentence asks the tokenizer to cut at other lengths in between.
    texts = encoder._template.fill(TEXTS) if encoder._template else TEXTS
    check_features(by_tokens, texts, "" if encoder._template else encoder.prompt)
    ids = [f["input_ids"].shape[1] for _, f in by_tokens.batches(texts, 2)]
    assert ids == sorted(ids, reverse=True) and ids[0] > 4 * ids[-1]
    assert ids[0] <= encoder.max_length


def test_features_of_pairs_are_the_library_s(tmp_path, reranker):
    from sentence_transformers import CrossEncoder

    jina = native_folder(published.write_jina(tmp_path / "jina"))
    for folder in (jina, reranker):
        model = CrossEncoder(str(folder), device="cpu", local_files_only=True)
        for prompt in ("", "query : "):
            by_tokens = ByTokens(model, prompt, is_pairwise=True)
            assert by_tokens._reader is not None
            check_features(by_tokens, pairs(TEXTS), prompt)
    # BERT tells the second text from the first.
    features = [features for _, features in by_tokens.batches(pairs(TEXTS), 64)]
    assert any(bool(f["token_type_ids"].any()) for f in features)


def altered_tokenizer(folder, target, change):
    """A copy of an encoder whose tokenizer is another one."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu")
    change(model)
    model.save(str(target))
    return str(target)


def test_padding_on_the_left_and_pieces_of_a_unigram_model(encoder, tmp_path):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(f"▁{word}", -3.0) for word in ("university", "of", "oxford", "uk")]
    pieces += [(letter, -5.0) for letter in published.LETTERS]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    names = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    unigram = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=40, padding_side="left", **names
    )
    source = altered_tokenizer(encoder, tmp_path / "new", lambda m: setattr(m[0], "processor", unigram))
    by_tokens = load_encoder(source, device="cpu")._by_tokens
    assert by_tokens._reader is not None
    assert by_tokens._model.tokenizer.padding_side == "left"
    check_features(by_tokens, TEXTS, batch_size=1)
    (*_, (_, features)) = by_tokens.batches(["uk", "university of oxford"], 8)
    assert features["attention_mask"][1].tolist() == [0, 0, 1, 1, 1]


def test_what_the_library_reads_in_another_way_is_left_to_it(folders, monkeypatch):
    plain = load_encoder(str(folders["aspire"]), device="cpu")
    vectors = plain.encode(TEXTS)
    # Settings of a folder may ask for features of another shape; slow tokenizers have no Rust behind them.
    plain._model[0].processing_kwargs = {"text": {"pad_to_multiple_of": 8}}
    odd = ByTokens(plain._model)
    assert odd._reader is None
    check_features(odd, TEXTS)
    assert all(f["input_ids"].shape[1] % 8 == 0 for _, f in odd.batches(TEXTS, 2))
    monkeypatch.setattr(type(plain._model.tokenizer), "is_fast", False)
    slow = load_encoder(str(folders["aspire"]), device="cpu", batch_size=2)
    assert slow._by_tokens._reader is None
    assert np.abs(slow.encode(TEXTS) - vectors).max() <= 1e-6


def test_a_batch_holds_so_many_tokens_and_a_long_text_is_alone(folders):
    rng = np.random.default_rng(0)
    texts = [" ".join(["the"] * n) for n in rng.integers(1, 60, 300)] + ["a " * 500]
    by_tokens = load_encoder(str(folders["gte"]), device="cpu")._by_tokens
    batches = [features["attention_mask"].numpy() for _, features in by_tokens.batches(texts, 16)]
    first, *others = batches
    assert first.shape == (1, 502)
    assert all(mask.size <= 16 * USUAL_TOKENS for mask in others)
    # No batch could take the longest text of the next one.
    assert all((len(a) + 1) * a.shape[1] > 16 * USUAL_TOKENS for a in others[:-1])
    padding = 1 - sum(mask.sum() for mask in batches) / sum(mask.size for mask in batches)
    assert padding < 0.05
    assert [len(m) for _, f in by_tokens.batches(texts[:3], 1) for m in [f["input_ids"]]] == [1, 1, 1]


def test_batches_go_by_the_device_unless_told_otherwise():
    assert (batch_size_on("cpu", None), batch_size_on("cuda", None)) == (64, 2048)
    assert (batch_size_on("cpu", 7), batch_size_on("cuda", 7)) == (7, 7)


@pytest.mark.parametrize("name", WRITERS)
def test_weights_in_half_numbers_give_near_vectors_in_full_ones(folders, name):
    written = [text for text in TEXTS if text.strip()]
    full = load_encoder(str(folders[name]), device="cpu")
    settings = SentenceSettings(device="cpu", precision="bfloat16")
    half = SentenceTransformerEncoder(str(folders[name]), settings)
    assert {p.dtype for p in half._model.parameters()} == {torch.bfloat16}
    # Half frequencies of rotary positions would turn far tokens by another angle.
    assert {b.dtype for b in half._model.buffers() if b.is_floating_point()} <= {torch.float32}
    one, other = full.encode(written), half.encode(written)
    assert other.dtype == np.float32
    assert np.sum(one * other, axis=1).min() > 0.99
    assert not np.array_equal(one, other)
    assert np.allclose(np.linalg.norm(other, axis=1), 1, atol=1e-6)


def test_an_encoder_is_ready_again_where_it_is_unpacked(folders):
    encoder = load_encoder(str(folders["gemma"]), device="cpu", prompt="query")
    again = pickle.loads(pickle.dumps(encoder))
    assert again._by_tokens._model is again._model
    assert np.array_equal(again.encode(TEXTS), encoder.encode(TEXTS))
