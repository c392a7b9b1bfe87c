import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blocking.encoders import CorpusEncoder, load_encoder
from blocking.errors import BlockingError
from blocking.hashing import HashingEncoder
from blocking.text_features import hashed_features

CORPUS = [
    "Department of Physics, University of Vienna, Austria",
    "Univ. of Vienna, Faculty of Physics, Wien",
    "Department of Physics, University of Oslo, Norway",
    "Department of Chemistry, University of Oslo, Norway",
    "Hospital of Lyon, France",
    "北京大学",
]


def test_rows_have_length_one_and_blank_rows_are_zero():
    encoder = HashingEncoder(64)
    encoder.fit(CORPUS)
    vectors = encoder.encode([*CORPUS, "", " ,"])
    assert vectors.dtype == np.float32
    assert vectors.shape == (8, 64)
    assert np.allclose(np.linalg.norm(vectors[:6], axis=1), 1, atol=1e-6)
    assert not vectors[6:].any()
    assert encoder.encode([]).shape == (0, 64)


def test_projection_keeps_the_cosines_of_all_features():
    encoder = HashingEncoder(4096)
    vectors = encoder.encode(CORPUS)
    features = hashed_features(CORPUS).toarray()
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    assert np.abs(vectors @ vectors.T - features @ features.T).max() < 0.08


def test_fit_makes_rare_words_count():
    encoder = HashingEncoder(2048)
    one, other, elsewhere = "Department of Physics Oslo", "Oslo Hospital", "Department of Physics Lyon"
    corpus = [f"Department of Physics {n}" for n in range(50)] + [one, other, elsewhere]
    before = encoder.encode([one, other, elsewhere])
    encoder.fit(corpus)
    after = encoder.encode([one, other, elsewhere])
    assert before[0] @ before[1] < before[0] @ before[2]
    assert after[0] @ after[1] > after[0] @ after[2]


def test_a_text_of_unique_features_still_has_a_row():
    encoder = HashingEncoder()
    encoder.fit(["alpha", "beta"])
    assert np.allclose(np.linalg.norm(encoder.encode(["alpha", "unseen words"]), axis=1), 1, atol=1e-6)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.text(max_size=12), max_size=12), st.randoms())
def test_fit_and_encode_do_not_depend_on_order_or_repetition(texts, random):
    shuffled = [*texts, *texts[:3]]
    random.shuffle(shuffled)
    one, other = HashingEncoder(32), HashingEncoder(32)
    one.fit(texts)
    other.fit(shuffled)
    assert np.array_equal(one.encode(texts), other.encode(texts))
    # Batching must not show: one by one gives the same bits.
    singly = np.vstack([np.zeros((0, 32), np.float32), *(one.encode([text]) for text in texts)])
    assert np.array_equal(one.encode(texts), singly)


def test_state_through_a_file_encodes_alike(tmp_path):
    encoder = HashingEncoder(48, seed=7)
    encoder.fit(CORPUS)
    np.savez(tmp_path / "state.npz", **encoder.state())
    with np.load(tmp_path / "state.npz", allow_pickle=False) as state:
        again = HashingEncoder.from_state(dict(state))
    assert again.is_fitted
    assert np.array_equal(encoder.encode([*CORPUS, "new one"]), again.encode([*CORPUS, "new one"]))


def test_foreign_state_is_refused():
    with pytest.raises(BlockingError, match="not the state of a hashing encoder"):
        HashingEncoder.from_state({"weights": np.ones(3, np.float32)})
    state = HashingEncoder().state()
    state["numbers"] = np.array([99, 8, 0, 1])
    with pytest.raises(BlockingError, match="version 99"):
        HashingEncoder.from_state(state)


def test_seed_and_process_set_the_vectors():
    code = (
        "import json; from blocking.hashing import HashingEncoder;"
        "print(json.dumps(HashingEncoder(16).encode(['Universität Wien']).tolist()))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = HashingEncoder(16).encode(["Universität Wien"])
    assert np.array_equal(np.array(json.loads(run.stdout), np.float32), here)
    assert not np.allclose(HashingEncoder(16, seed=1).encode(["Universität Wien"]), here)


def test_progress_reaches_the_total():
    calls = []
    HashingEncoder(8).encode(["a"] * 5000, on_progress=lambda done, total: calls.append((done, total)))
    assert calls == [(4096, 5000), (5000, 5000)]


def test_loading_by_name():
    encoder = load_encoder("hashing", truncate_dim=24)
    assert encoder.name == "hashing"
    assert encoder.dimensions == 24
    assert isinstance(encoder, CorpusEncoder)
    with pytest.raises(BlockingError, match="takes no prompt"):
        load_encoder("hashing", prompt="query: ")
    with pytest.raises(BlockingError, match="dimensions must be 2 or more"):
        load_encoder("hashing", truncate_dim=1)
