import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocking import BlockingError, block, load_encoder
from blocking.ngram_bag import BagFeatures, NgramBagEncoder, quantised

FEATURES = BagFeatures(bucket_bits=8)
TABLE = np.random.default_rng(0).standard_normal((256, 12)).astype(np.float32)
TEXTS = [
    "university of oxford",
    "oxford university uk",
    "北京大学",
    "мгу имени ломоносова",
    "klinikum münchen",
]


@pytest.fixture
def encoder() -> NgramBagEncoder:
    return NgramBagEncoder(TABLE, FEATURES, name="tiny")


@pytest.fixture
def folder(encoder: NgramBagEncoder, tmp_path: Path) -> Path:
    encoder.save(tmp_path / "model")
    return tmp_path / "model"


def test_a_vector_is_the_normalised_sum_of_its_features_vectors(encoder: NgramBagEncoder) -> None:
    summed = FEATURES.of(TEXTS).toarray() @ TABLE
    expected = summed / np.linalg.norm(summed, axis=1, keepdims=True)
    found = encoder.encode(TEXTS)
    assert found.dtype == np.float32
    assert found.shape == (5, 12)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_texts_without_words_are_zeros_and_no_texts_are_no_rows(encoder: NgramBagEncoder) -> None:
    found = encoder.encode(["", "  ", "—!", "a"])
    assert not found[:3].any()
    assert np.linalg.norm(found[3]) == pytest.approx(1, abs=1e-6)
    assert encoder.encode([]).shape == (0, 12)


@given(st.lists(st.text(max_size=30), max_size=8), st.randoms())
def test_a_vector_does_not_depend_on_the_texts_beside_it(texts: list[str], random) -> None:
    encoder = NgramBagEncoder(TABLE, FEATURES)
    alone = {text: encoder.encode([text])[0] for text in texts}
    random.shuffle(texts)
    for text, vector in zip(texts, encoder.encode(texts), strict=True):
        np.testing.assert_allclose(vector, alone[text], atol=1e-6)


def test_many_texts_are_encoded_in_pieces_in_their_order(encoder: NgramBagEncoder) -> None:
    texts = [f"institute {n}" for n in range(9000)]
    seen: list[tuple[int, int]] = []
    found = encoder.encode(texts, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(4096, 9000), (8192, 9000), (9000, 9000)]
    for at in (0, 4095, 4096, 8999):
        np.testing.assert_allclose(found[at], encoder.encode([texts[at]])[0], atol=1e-6)


def test_leading_dimensions_are_normalised_again(folder: Path) -> None:
    whole, part = load_encoder(str(folder)), load_encoder(str(folder), truncate_dim=4)
    assert (whole.dimensions, part.dimensions) == (12, 4)
    leading = whole.encode(TEXTS)[:, :4]
    expected = leading / np.linalg.norm(leading, axis=1, keepdims=True)
    np.testing.assert_allclose(part.encode(TEXTS), expected, atol=1e-5)
    with pytest.raises(BlockingError, match="truncate_dim is 13, but tiny has 12 dimensions"):
        load_encoder(str(folder), truncate_dim=13)


def test_words_of_other_scripts_count_in_latin_letters_too() -> None:
    both = NgramBagEncoder(np.eye(256, dtype=np.float32), FEATURES)
    a, b = both.encode(["университет", "universitet"])
    plain = NgramBagEncoder(np.eye(256, dtype=np.float32), BagFeatures(8, is_transliterated=False))
    c, d = plain.encode(["университет", "universitet"])
    assert a @ b > 0.5 > c @ d


@given(st.integers(0, 2**32 - 1))
def test_quantisation_errs_by_half_a_step_at_most(seed: int) -> None:
    table = np.random.default_rng(seed).standard_normal((8, 5)).astype(np.float32)
    table[3] = 0
    values, scale = quantised(table)
    assert values.dtype == np.int8
    assert np.abs(values).max(axis=1)[[0, 1, 2, 4]].tolist() == [127] * 4
    assert np.all(np.abs(values * scale[:, None] - table) <= scale[:, None] * 0.501)


def test_what_is_saved_is_read_back(folder: Path, encoder: NgramBagEncoder) -> None:
    read = NgramBagEncoder.load(folder)
    assert (read.name, read.dimensions, read.features) == ("tiny", 12, FEATURES)
    cosine = np.einsum("ij,ij->i", read.encode(TEXTS), encoder.encode(TEXTS))
    assert cosine.min() > 0.999
    read.save(folder.parent / "again")
    for name in ("config.json", "model.safetensors"):
        assert (folder.parent / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_it_proposes_pairs(folder: Path) -> None:
    pairs = block(TEXTS, encoder=load_encoder(str(folder)))
    assert (0, 1) in set(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True))


def _config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: (d / "model.safetensors").unlink(), "no such file: .*model.safetensors"),
        (lambda d: (d / "model.safetensors").write_bytes(b"nonsense"), "damaged"),
        (lambda d: (d / "model.safetensors").write_bytes(b""), "damaged"),
        (lambda d: _config(d, version=9), "has version 9, this code reads 1"),
        (lambda d: _config(d, bucket_bits=None), "config.json: 'bucket_bits' is missing"),
        (lambda d: _config(d, bucket_bits=9), "must have 512 rows"),
        (lambda d: _config(d, gram_lengths=[2]), "gram_lengths must be 3 or more"),
        (lambda d: _config(d, gram_lengths="x"), "config.json: "),
    ],
)
def test_what_is_wrong_with_a_folder_is_one_line(folder: Path, spoil, message: str) -> None:
    spoil(folder)
    with pytest.raises(BlockingError, match=message) as raised:
        load_encoder(str(folder))
    assert "\n" not in str(raised.value)


def test_other_arrays_are_refused(folder: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"vectors": TABLE, "scale": np.ones(256, np.float32)}, str(folder / "model.safetensors"))
    with pytest.raises(BlockingError, match="is not an encoder's table: float32"):
        load_encoder(str(folder))


def test_another_folder_is_no_such_encoder(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(BlockingError, match="holds no ngram-bag encoder"):
        NgramBagEncoder.load(tmp_path)


def test_it_takes_no_prompt(folder: Path) -> None:
    with pytest.raises(BlockingError, match="takes no prompt"):
        load_encoder(str(folder), prompt="query: ")
