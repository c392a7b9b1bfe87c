"""Every conversion against an independent forward pass, on tiny checkpoints of random weights."""

import json
import multiprocessing
import os
import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("sentence_transformers")

import published  # noqa: E402
import references  # noqa: E402

from blocking import load_encoder  # noqa: E402
from blocking.conversion import cache_folder, convert, native_folder  # noqa: E402
from blocking.errors import BlockingError  # noqa: E402
from blocking.sentence import SentenceSettings, SentenceTransformerEncoder  # noqa: E402

TEXTS = [
    "university of oxford",
    "department of computer science stanford university california",
    "",
    "a",
    "hospital",
    "massachusetts institute of technology " * 12,
    "  ",
]
WRITTEN = [0, 1, 3, 4, 5]


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("AFFIL_CACHE", str(tmp_path / "cache"))


def wanted(forward, model, texts=TEXTS):
    with torch.inference_mode():
        return np.array([forward(model, text).numpy() for text in texts])


def close(found, expected):
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-5
    # Random weights must tell the texts apart, or the comparison would prove nothing.
    assert np.linalg.matrix_rank(expected, tol=0.01) == len(expected)


# GTE


@pytest.mark.parametrize(
    "layout",
    [
        {},
        {"prefix": ""},
        {"head": True},
        {"packed": False},
        {"rope_scaling": None},
        {"type_vocab_size": 0},
        {"num_attention_heads": 4, "rope_theta": 10000},
    ],
    ids=str,
)
def test_gte_in_every_layout(tmp_path, layout):
    folder = published.write_gte(tmp_path / "gte", **layout)
    model = references.Published(folder, "new.")
    expected = wanted(references.gte, model)[WRITTEN]
    for batch_size in (1, 2, 64):
        found = load_encoder(str(folder), device="cpu", batch_size=batch_size).encode(TEXTS)
        close(found[WRITTEN], expected)
        assert not found[[2, 6]].any()


def test_gte_rows_past_768_and_the_empty_ones_are_there(tmp_path):
    """The card's code cuts the batch at 768 rows."""
    folder = published.write_gte(tmp_path / "gte", num_hidden_layers=1)
    encoder = load_encoder(str(folder), device="cpu", batch_size=1000)
    texts = [TEXTS[WRITTEN[n % 4]] for n in range(900)]
    found = encoder.encode(texts)
    expected = wanted(references.gte, references.Published(folder, "new."), texts[:4])
    assert np.abs(found - np.tile(expected, (225, 1))).max() <= 1e-5
    assert encoder.encode([]).shape == (0, 32)
    assert np.abs(encoder.encode(texts[:1]) - expected[:1]).max() <= 1e-5


def test_gte_reads_8192_tokens(tmp_path):
    folder = published.write_gte(tmp_path / "gte", num_attention_heads=1, num_hidden_layers=1)
    encoder = load_encoder(str(folder), device="cpu")
    assert isinstance(encoder, SentenceTransformerEncoder) and encoder.max_length == 8192
    text = "university of oxford cambridge physics " * 2000
    model = references.Published(folder, "new.")
    assert len(model.ids(text)) == 8192
    found, whole = encoder.encode([text]), wanted(references.gte, model, [text])
    assert np.abs(found - whole).max() <= 1e-5
    # The end of the text counts: the half of it has another vector.
    assert np.abs(found - encoder.encode([text[: len(text) // 4]])).max() > 1e-4


def test_gte_with_wrong_rope_has_other_vectors(tmp_path):
    """Nothing else would tell: shapes and names are the same."""
    right = published.write_gte(tmp_path / "right")
    wrong = published.write_gte(tmp_path / "wrong", rope_scaling=None)
    a, b = (load_encoder(str(f), device="cpu").encode(TEXTS)[WRITTEN[1]] for f in (right, wrong))
    assert np.abs(a - b).max() > 1e-3


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"qk_norm": True}, r"unknown key 'qk_norm' \(true\)"),
        ({"logn_attention_scale": True}, "'logn_attention_scale' is true, and only false is understood"),
        ({"layer_norm_type": "rms_norm"}, "'layer_norm_type' is \"rms_norm\""),
        ({"position_embedding_type": "absolute"}, "'position_embedding_type' is \"absolute\""),
        ({"hidden_act": "relu"}, "'hidden_act' is \"relu\""),
        ({"rope_scaling": {"type": "ntk", "factor": 8, "mixed_b": 0.6}}, "unknown key 'mixed_b' in"),
        ({"rope_scaling": {"type": "dynamic", "factor": 8}}, 'only the type "ntk" is understood'),
        ({"rope_scaling": {"type": "ntk", "factor": 0.5}}, "must be 1 or more, got 0.5"),
        ({"rope_theta": "10000"}, "'rope_theta' must be a positive number"),
        ({"num_attention_heads": 3}, "'hidden_size' is no multiple of 'num_attention_heads'"),
    ],
    ids=str,
)
def test_gte_configurations_that_are_not_understood_are_refused(tmp_path, config, message):
    folder = published.write_gte(tmp_path / "gte")
    given = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(given | config))
    refused(folder, message)


def refused(folder, message):
    with pytest.raises(BlockingError, match=message) as caught:
        load_encoder(str(folder), device="cpu")
    assert "\n" not in str(caught.value)
    partial = [p for p in cache_folder().rglob("*") if "partial" in p.name]
    assert partial == []


def altered(folder, **tensors):
    """The same folder with tensors put in, or (None) taken out."""
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    found = load_file(path) | tensors
    save_file({n: t for n, t in found.items() if t is not None}, path)
    return folder


def test_tensors_missing_left_over_or_of_another_shape_are_named(tmp_path):
    name = "new.encoder.layer.1.attn_ln.bias"
    refused(
        altered(published.write_gte(tmp_path / "a"), **{name: None}), r"missing: layers\.1\.post_att.*bias\)"
    )
    extra = {"new.encoder.layer.0.attention.q_norm.weight": torch.ones(4)}
    refused(altered(published.write_gte(tmp_path / "b"), **extra), r"unexpected: encoder\.layer\.0\..*q_norm")
    refused(altered(published.write_gte(tmp_path / "c"), **{name: torch.ones(4)}), r"another shape: .*\(4,\)")
    packed = {"new.encoder.layer.0.attention.qkv_proj.bias": torch.ones(95)}
    refused(altered(published.write_gte(tmp_path / "d"), **packed), "is not 3 equal parts")
    twice = {"encoder.layer.0.attn_ln.bias": torch.ones(32)}
    refused(altered(published.write_gte(tmp_path / "e"), **twice), "two tensors for layers.0")


# The others


def test_aspire_pools_its_first_token_as_pickle_and_as_safetensors(tmp_path):
    for form in ("bin", "safetensors"):
        folder = published.write_aspire(tmp_path / form, form=form)
        encoder = SentenceTransformerEncoder(str(folder), SentenceSettings(device="cpu", pooling="cls"))
        close(
            encoder.encode(TEXTS)[WRITTEN], wanted(references.aspire, references.Published(folder))[WRITTEN]
        )
        assert encoder.max_length == 64
    mean = load_encoder(str(folder), device="cpu").encode(TEXTS[:1])
    assert np.abs(mean - encoder.encode(TEXTS[:1])).max() > 1e-3


def test_a_bert_that_lacks_tensors_or_layers_is_refused(tmp_path):
    folder = published.write_aspire(tmp_path / "a", form="safetensors")
    refused(altered(folder, **{"encoder.layer.1.output.dense.bias": None}), "missing: encoder.layer.1.output")
    folder = published.write_aspire(tmp_path / "b", form="safetensors")
    config = json.loads((folder / "config.json").read_text()) | {"num_hidden_layers": 1}
    (folder / "config.json").write_text(json.dumps(config))
    refused(folder, r"unexpected: encoder\.layer\.1\.attention")
    folder = published.write_aspire(tmp_path / "c", form="safetensors")
    head = {"cls.predictions.bias": torch.ones(4), "pooler.dense.weight": None}
    assert load_encoder(str(altered(folder, **head)), device="cpu").dimensions == 32


@pytest.mark.parametrize("with_config", [True, False])
def test_mask_model_reads_its_mask(tmp_path, with_config):
    folder = published.write_mask(tmp_path / "mask", with_config=with_config)
    model = references.Published(folder, "encoder.")
    encoder = load_encoder(str(folder), device="cpu", batch_size=2)
    assert encoder.dimensions == 16
    texts = [TEXTS[n] for n in (0, 1, 3, 4)]
    expected = wanted(references.mask, model, [f"Social group of {t} is: [MASK]." for t in texts])
    close(encoder.encode(texts), expected)
    own = load_encoder(str(folder), device="cpu", prompt="the [MASK] of {mention}").encode(texts)
    close(own, wanted(references.mask, model, [f"the [MASK] of {t}" for t in texts]))
    assert np.abs(own - expected).max() > 1e-3


def test_a_long_mention_is_cut_and_the_sentence_is_not(tmp_path):
    folder = published.write_mask(tmp_path / "mask")
    encoder = load_encoder(str(folder), device="cpu")
    # 64 positions: seven tokens of the sentence, the first and the last one, one to spare.
    long, n_words = "oxford " * 100, 64 - 9 - 1
    model = references.Published(folder, "encoder.")
    expected = wanted(references.mask, model, [f"Social group of {'oxford ' * n_words}is: [MASK]."])
    ids = model.ids(f"Social group of {'oxford ' * n_words}is: [MASK].")
    assert len(ids) == 63
    assert np.abs(encoder.encode([long]) - expected).max() <= 1e-5
    masked = encoder.encode(["oxford [MASK] uk", "oxford   uk"])
    assert np.abs(masked[0] - masked[1]).max() <= 1e-6


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("Social group of {}", r"needs \[MASK\] once"),
        ("[MASK] {} [MASK]", r"needs \[MASK\] once"),
        ("is [MASK]", "once, where the string goes"),
        ("{} is {} [MASK]", "once, where the string goes"),
        ("the " * 80 + "{} [MASK]", "takes all 64 tokens"),
    ],
)
def test_sentences_that_give_no_vector_are_refused(tmp_path, prompt, message):
    folder = published.write_mask(tmp_path / "mask")
    with pytest.raises(BlockingError, match=message):
        load_encoder(str(folder), device="cpu", prompt=prompt)


def test_a_projector_of_another_make_is_refused(tmp_path):
    bare = published.write_mask(tmp_path / "a")
    refused(
        altered(bare, **{"projector.2.weight": torch.ones(4, 4)}), "the projector must be projector.0.weight"
    )
    less = published.write_mask(tmp_path / "b")
    refused(altered(less, **{"encoder.embeddings.word_embeddings.weight": None}), "a projector, but no BERT")
    other = published.write_mask(tmp_path / "c", with_config=True)
    config = json.loads((other / "config.json").read_text()) | {"hidden_act": "relu"}
    (other / "config.json").write_text(json.dumps(config))
    refused(other, "'hidden_act' is \"relu\"")


@pytest.mark.parametrize("with_dense", [True, False])
@pytest.mark.parametrize("prefix", ["", "model."])
def test_gemma_with_and_without_its_dense_layers(tmp_path, with_dense, prefix):
    folder = published.write_gemma(tmp_path / "gemma", with_dense=with_dense, prefix=prefix)
    model = references.Published(folder, prefix)
    dense = []
    if with_dense:
        from safetensors.torch import load_file

        dense = [
            load_file(folder / path / "model.safetensors")["linear.weight"] for path in ("2_Dense", "3_Dense")
        ]

    def forward(model, text):
        return references.gemma(model, text, dense)

    encoder = load_encoder(str(folder), device="cpu", batch_size=3)
    close(encoder.encode(TEXTS)[WRITTEN], wanted(forward, model)[WRITTEN])
    query = "task: search result | query: "
    prompt = "query" if with_dense else query
    asked = load_encoder(str(folder), device="cpu", prompt=prompt).encode(TEXTS)[WRITTEN]
    close(asked, wanted(forward, model, [query + TEXTS[n] for n in WRITTEN]))
    short = load_encoder(str(folder), device="cpu", truncate_dim=32).encode(TEXTS)[WRITTEN]
    cut = wanted(forward, model)[WRITTEN][:, :32]
    assert np.abs(short - cut / np.linalg.norm(cut, axis=1, keepdims=True)).max() <= 1e-5


# Pickles


def test_a_pickle_that_holds_more_than_tensors_is_refused(tmp_path):
    folder = published.write_aspire(tmp_path / "a")
    mark = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(mark),)

    torch.save({"embeddings.word_embeddings.weight": Evil()}, folder / "pytorch_model.bin")
    refused(folder, r"pytorch_model\.bin is refused: as a pickle it may run code")
    assert not mark.exists()
    torch.save([torch.ones(2)], folder / "pytorch_model.bin")
    refused(folder, "is no plain table of tensors")
    (folder / "pytorch_model.bin").write_bytes(b"cut off")
    refused(folder, "is refused")


def test_a_pickle_of_before_the_archives_and_in_shards_is_read(tmp_path):
    folder = published.write_aspire(tmp_path / "old")
    expected = load_encoder(str(folder), device="cpu").encode(TEXTS)
    tensors = torch.load(folder / "pytorch_model.bin", weights_only=True)
    torch.save(tensors, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    np.testing.assert_array_equal(load_encoder(str(folder), device="cpu").encode(TEXTS), expected)
    (folder / "pytorch_model.bin").unlink()
    parts = {"a.bin": sorted(tensors)[::2], "b.bin": sorted(tensors)[1::2]}
    for file, names in parts.items():
        torch.save({name: tensors[name] for name in names}, folder / file)
    index = {"weight_map": {name: file for file, names in parts.items() for name in names}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    np.testing.assert_array_equal(load_encoder(str(folder), device="cpu").encode(TEXTS), expected)


# Files and the cache


def test_shards_are_one_model_and_an_absent_one_is_named(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = published.write_gte(tmp_path / "gte")
    expected = load_encoder(str(folder), device="cpu").encode(TEXTS)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = {name: f"model-0000{n % 2 + 1}-of-00002.safetensors" for n, name in enumerate(sorted(tensors))}
    for file in set(names.values()):
        save_file({n: t for n, t in tensors.items() if names[n] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    np.testing.assert_array_equal(load_encoder(str(folder), device="cpu").encode(TEXTS), expected)
    (folder / "model-00001-of-00002.safetensors").unlink()
    refused(folder, "lacks model-00001-of-00002.safetensors")
    (folder / "model.safetensors.index.json").write_text("[]")
    refused(folder, "does not say which file holds which tensor")


def test_a_file_that_is_cut_off_is_one_line(tmp_path):
    folder = published.write_gte(tmp_path / "gte")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    refused(folder, r"model\.safetensors is corrupt or cut off")


def test_a_conversion_is_made_once_and_again_when_the_model_changed(tmp_path):
    folder = published.write_gte(tmp_path / "gte")
    first = native_folder(folder)
    stamp = (first / "model.safetensors").stat().st_mtime_ns
    assert native_folder(folder) == first
    assert (first / "model.safetensors").stat().st_mtime_ns == stamp
    copy = shutil.copytree(folder, tmp_path / "elsewhere" / "gte")
    assert native_folder(copy) == first
    altered(folder, **{"new.encoder.layer.0.attn_ln.bias": torch.ones(32)})
    assert native_folder(folder) != first
    assert first.parent == cache_folder() / "models"
    assert not list(first.rglob("*.py"))
    assert "auto_map" not in (first / "config.json").read_text()


def _convert(folder):
    return str(native_folder(folder))


def test_conversions_at_once_do_not_clash(tmp_path):
    folder = published.write_gte(tmp_path / "gte")
    with multiprocessing.get_context("fork").Pool(3) as pool:
        found = pool.map(_convert, [folder] * 6)
    assert len(set(found)) == 1
    assert [p.name for p in (cache_folder() / "models").iterdir()] == [found[0].rsplit("/", 1)[1]]
    assert load_encoder(str(folder), device="cpu").dimensions == 32


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AFFIL_CACHE", str(tmp_path / "file"))
    folder = published.write_gte(tmp_path / "gte")
    with pytest.raises(BlockingError, match=r"cannot write the converted model to .* set AFFIL_CACHE"):
        native_folder(folder)


def test_the_cache_has_a_place_of_its_own_on_every_system(monkeypatch, tmp_path):
    monkeypatch.delenv("AFFIL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    assert cache_folder() == tmp_path / "affiliation-resolver"
    monkeypatch.setattr("sys.platform", "darwin")
    assert cache_folder().parts[-3:] == ("Library", "Caches", "affiliation-resolver")
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert cache_folder() == tmp_path / "local" / "affiliation-resolver"


def test_a_model_can_be_converted_into_a_folder(tmp_path):
    folder, target = published.write_gte(tmp_path / "gte"), tmp_path / "out" / "native"
    convert(folder, target)
    assert [p.name for p in target.parent.iterdir()] == ["native"]
    expected = load_encoder(str(folder), device="cpu").encode(TEXTS)
    np.testing.assert_array_equal(load_encoder(str(target), device="cpu").encode(TEXTS), expected)
    with pytest.raises(BlockingError, match="is there already"):
        convert(folder, target)
    with pytest.raises(BlockingError, match="there is nothing to convert"):
        convert(target, tmp_path / "again")
    convert(published.write_aspire(tmp_path / "pickle"), tmp_path / "safe")
    assert (tmp_path / "safe" / "model.safetensors").is_file()
    assert not list((tmp_path / "safe").rglob("*.bin"))
