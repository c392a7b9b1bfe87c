import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blocking.text_features import N_BUCKETS, hashed_features


def columns(text):
    return set(hashed_features([text]).indices.tolist())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Universität München", "UNIVERSITAT  munchen"),
        ("Łódź", "lodz"),
        ("İstanbul", "istanbul"),
        ("Straße", "STRASSE"),
        ("Ｋｙｏｔｏ", "kyoto"),
        ("Universite\u0301 d'Orle\u0301ans", "université d'orléans"),
        ("Inst.,Physics;", "inst physics"),
    ],
)
def test_spellings_that_fold_together(one, other):
    assert columns(one) == columns(other) != set()


@pytest.mark.parametrize(("one", "other"), [("Київ", "Киів"), ("が", "か"), ("각", "가"), ("हिन्दी", "हनद")])
def test_marks_of_other_scripts_survive(one, other):
    assert columns(one) != columns(other)


def test_grams_stay_inside_words_and_words_come_whole():
    # " ab", "ab ", " ab ", the word — a gram across "b c" would be shared by no other order of the words.
    assert hashed_features(["ab"]).nnz == 4
    assert hashed_features(["ab cd"]).nnz == 2 * 4 + 1
    assert len(columns("ab cd") & columns("cd ab")) == 2 * 4


def test_two_characters_of_a_script_without_spaces_are_a_feature():
    shared = columns("北京大学") & columns("南京大学附属")
    assert shared
    assert not columns("Xy") & columns("北京")


def test_values_are_one_plus_log_of_the_count():
    values = hashed_features(["lab lab lab lab"]).data
    assert np.allclose(np.unique(values)[-1], 1 + np.log(4))


def test_nothing_written_gives_an_empty_row():
    features = hashed_features(["", "  \t", "—!?", "a", "\x1e\x1e"])
    assert features.shape == (5, N_BUCKETS)
    assert np.diff(features.indptr).tolist()[:3] == [0, 0, 0]
    assert features[3].nnz > 0
    assert features[4].nnz == 0
    assert hashed_features([]).shape == (0, N_BUCKETS)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text(max_size=20), max_size=8))
def test_a_row_does_not_depend_on_its_neighbours(texts):
    together = hashed_features(texts)
    assert together.shape == (len(texts), N_BUCKETS)
    for number, text in enumerate(texts):
        alone = hashed_features([text])
        assert np.array_equal(together[number].indices, alone.indices)
        assert np.array_equal(together[number].data, alone.data)


def test_buckets_never_change():
    # Weights saved by one run serve the next: another bucket needs another state version.
    assert hashed_features(["ab"]).indices.tolist() == [142890, 167943, 178916, 244929]
