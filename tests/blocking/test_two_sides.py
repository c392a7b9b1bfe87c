"""Pairs between two collections against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blocking import RULES, BlockingError, BlockingSettings, block_two
from blocking.neighbours import nearest_rows

TEXTS = ("university of oslo", "oslo university", "university of bergen", "bergen", "institut pasteur", "")
KEYS = ("a", "b", ("a", "c"), None)


class Letters:
    """Counts of letters as vectors of length 1."""

    name, dimensions = "letters", 27

    def encode(self, texts, *, on_progress=None):
        counts = np.zeros((len(texts), 27), np.float32)
        for i, text in enumerate(texts):
            for c in text:
                counts[i, (ord(c) - 96) % 27] += 1
        length = np.linalg.norm(counts, axis=1, keepdims=True)
        return np.divide(counts, length, out=np.zeros_like(counts), where=length > 0)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from(TEXTS), st.sampled_from(KEYS)), max_size=7),
    st.lists(st.tuples(st.sampled_from(TEXTS), st.sampled_from(KEYS)), max_size=7),
)
def test_pairs_are_those_of_brute_force(left, right):
    here, there = [t for t, _ in left], [t for t, _ in right]
    # As many neighbours as there are texts: every two texts with letters in common meet.
    chosen = BlockingSettings(n_neighbours=10, min_similarity=0.3)
    pairs = block_two(
        {"neighbours": here},
        {"neighbours": there},
        {"shared_key": [k for _, k in left]},
        {"shared_key": [k for _, k in right]},
        chosen,
        encoder=Letters(),
    )
    wanted = {}
    cosine = Letters().encode(here) @ Letters().encode(there).T if left and right else np.zeros((0, 0))
    for i, (text, key) in enumerate(left):
        for j, (other, theirs) in enumerate(right):
            near = bool(text and other and cosine[i, j] >= 0.3)
            shared = bool(set(key or ()) & set(theirs or ()))
            if near or shared:
                bits = near << RULES.index("neighbours") | shared << RULES.index("shared_key")
                wanted[i, len(left) + j] = (bits, float(cosine[i, j]) if text and other else 0.0)
    assert list(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)) == sorted(wanted)
    for pair, bits, similarity in zip(sorted(wanted), pairs.rule.tolist(), pairs.similarity, strict=True):
        assert bits == wanted[pair][0]
        assert similarity == pytest.approx(wanted[pair][1], abs=1e-5)


def test_the_nearest_rows_are_those_of_an_exact_search():
    random = np.random.default_rng(0)
    queries, corpus = (random.normal(size=(n, 8)).astype(np.float32) for n in (40, 90))
    queries, corpus = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (queries, corpus))
    queries[3] = corpus[5] = 0
    ids, similarity = nearest_rows(queries, corpus, 7)
    cosine = queries @ corpus.T
    cosine[:, 5] = -2
    wanted = np.argsort(-cosine, axis=1, kind="stable")[:, :7]
    wanted[3] = -1
    assert np.array_equal(ids, wanted)
    known = ids >= 0
    assert np.allclose(similarity[known], np.take_along_axis(cosine, np.maximum(ids, 0), 1)[known], atol=1e-6)
    assert np.array_equal(nearest_rows(queries, corpus[:2], 4)[0][:, 2:], np.full((40, 2), -1))


def test_both_sides_need_the_same_rules():
    with pytest.raises(BlockingError, match="the same views"):
        block_two({"neighbours": ["a"]}, {"organization_neighbours": ["a"]})
    with pytest.raises(BlockingError, match="the same views"):
        block_two({"neighbours": ["a"]}, {"neighbours": ["a"]}, {"shared_key": ["a"]})
