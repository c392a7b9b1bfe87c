import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("faiss")

from blocking import RULES, BlockingSettings, block, block_in_detail, blocks
from blocking.analysis import analyse, recall_at
from blocking.errors import BlockingError
from blocking.hashing import HashingEncoder

TEXTS = [
    "Univ. of Vienna, Austria",
    "University of Vienna, Vienna, Austria",
    "University of Oslo, Norway",
    "Univ Oslo, Norway",
    "",
    "University of Oslo, Norway",
]


def rules_of(pairs):
    """{(left, right): the names of the rules that proposed the pair}"""
    names = [{rule for n, rule in enumerate(RULES) if bits >> n & 1} for bits in pairs.rule.tolist()]
    return dict(zip(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True), names, strict=True))


def test_neighbours_and_same_form():
    found = rules_of(block(TEXTS, settings=BlockingSettings(n_neighbours=1)))
    assert found[0, 1] == {"neighbours"}
    assert found[2, 5] == {"same_form"}
    assert found[2, 3] == found[3, 5] == {"neighbours"}
    assert not any(4 in pair for pair in found)


def test_keys_propose_what_texts_do_not_and_still_get_a_cosine():
    keys = {
        "acronym_place": ["x", None, None, None, "x", "x"],
        "shared_key": [None, "r", "r", None, None, ""],
    }
    pairs = block(TEXTS, keys, BlockingSettings(n_neighbours=1, min_similarity=0.99))
    found = rules_of(pairs)
    assert found == {
        (0, 4): {"acronym_place"},
        (0, 5): {"acronym_place"},
        (4, 5): {"acronym_place"},
        (1, 2): {"shared_key"},
        (2, 5): {"same_form"},
    }
    encoder = HashingEncoder()
    encoder.fit([text for text in TEXTS if text])
    vectors = encoder.encode(TEXTS)
    assert np.allclose(pairs.similarity, [vectors[a] @ vectors[b] for a, b in found], atol=1e-6)
    by_pair = dict(zip(found, pairs.similarity.tolist(), strict=True))
    assert by_pair[0, 4] == 0
    assert by_pair[2, 5] == pytest.approx(1, abs=1e-6)


def test_a_pair_carries_every_rule_that_proposed_it():
    keys = {"acronym_place": [None, None, "o", None, None, "o"], "shared_key": ["s", "s", *[None] * 4]}
    found = rules_of(block(TEXTS, keys))
    assert found[2, 5] == {"same_form", "acronym_place"}
    assert found[0, 1] == {"neighbours", "shared_key"}


def test_second_view_adds_its_own_pairs_with_the_cosine_of_the_first():
    views = {
        "neighbours": ["Surgery, Hospital A, Lyon", "Physics, College B, Oslo", "Chemistry, Company C, Rome"],
        "organization_neighbours": ["Institute of Things", "Inst. of Things", ""],
    }
    settings = BlockingSettings(min_similarity=0.3)
    result = block_in_detail(views, settings=settings)
    assert rules_of(result.pairs) == {(0, 1): {"organization_neighbours"}}
    assert result.pairs.similarity[0] == pytest.approx(
        float(result.vectors[result.text_number[0]] @ result.vectors[result.text_number[1]])
    )
    assert result.pairs.similarity[0] < 0.3
    assert result.n_pairs_by_rule == {"neighbours": 0, "organization_neighbours": 1, "same_form": 0}


@pytest.mark.parametrize("texts", [[], ["one"], ["", " ", ""], {"neighbours": []}])
def test_no_pairs(texts):
    assert len(block(texts)) == 0


def test_all_texts_equal():
    pairs = block(["same"] * 4)
    assert list(rules_of(pairs).values()) == [{"same_form"}] * 6
    assert pairs.similarity == pytest.approx(1, abs=1e-6)


def test_two_large_groups_of_equal_texts_do_not_explode():
    texts = ["University of Vienna"] * 3000 + ["Univ. of Vienna"] * 2000
    result = block_in_detail(texts, settings=BlockingSettings(n_neighbours=10, max_block=20))
    pairs = result.pairs
    n_partners = np.bincount(np.concatenate([pairs.left, pairs.right]), minlength=5000)
    assert n_partners.min() >= 20
    # A text of 2000 items serves 3000 others with 10 each: 15 on average, beside its own 10.
    assert n_partners.max() <= 20 + 10 + 15 + 5
    assert result.n_oversized_blocks == {"same_form": 2}
    is_across = (pairs.left < 3000) & (pairs.right >= 3000)
    assert len(np.unique(pairs.left[is_across])) == 3000
    assert len(np.unique(pairs.right[is_across])) == 2000


def test_result_holds_the_encoder_and_the_vectors():
    result = block_in_detail(TEXTS)
    assert result.vectors.shape == (4, 512)
    assert result.text_number.tolist() == [1, 3, 2, 0, -1, 2]
    assert result.encoder.is_fitted
    assert np.array_equal(result.encoder.encode([TEXTS[1]])[0], result.vectors[3])


def test_a_fitted_encoder_is_taken_as_it_is():
    encoder = HashingEncoder(64)
    encoder.fit(["other", "texts", "other texts"])
    before = encoder.state()["weights"]
    assert block_in_detail(TEXTS, encoder=encoder).encoder is encoder
    assert np.array_equal(before, encoder.state()["weights"])


class FirstLetter:
    """The least that an encoder must be: no base class, no `fit`."""

    name = "first letter"
    dimensions = 26

    def encode(self, texts, *, on_progress=None):
        vectors = np.zeros((len(texts), 26), np.float32)
        for row, text in enumerate(texts):
            vectors[row, ord(text[0].lower()) - ord("a")] = 1
        return vectors


def test_any_object_that_encodes_will_do():
    pairs = block(
        ["apple", "bread", "avocado", "beer"],
        encoder=FirstLetter(),
        settings=BlockingSettings(min_similarity=0.5),
    )
    assert rules_of(pairs) == {(0, 2): {"neighbours"}, (1, 3): {"neighbours"}}
    assert pairs.similarity.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("texts", "keys", "message"),
    [
        ({}, {}, "at least one view"),
        ({"nearest": ["a"]}, {}, "no such rule: nearest; rules are neighbours, same_form"),
        (["a"], {"acronym": ["a"]}, "no such rule: acronym"),
        (["a"], {"shared_key": ["a", "b"]}, "one text and one key for each item"),
        ({"neighbours": ["a"], "organization_neighbours": []}, {}, "lengths"),
        ({"same_form": ["a"]}, {}, "cannot name a view"),
        ({"neighbours": ["a"]}, {"neighbours": ["k"]}, "cannot name a view"),
    ],
)
def test_faults_of_the_caller(texts, keys, message):
    with pytest.raises(BlockingError, match=message):
        block(texts, keys)


def test_progress_never_falls_and_reaches_the_total():
    calls = []
    views = {"neighbours": TEXTS, "organization_neighbours": TEXTS}
    block(views, on_progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (16, 16)
    assert calls == sorted(calls)


WORDS = st.lists(st.sampled_from(["univ", "Vienna", "Oslo", "physics", "北京", "lab", "é"]), max_size=4)
ITEMS = st.lists(
    st.tuples(
        st.one_of(WORDS.map(" ".join), st.text(max_size=6)),
        st.sampled_from(["", "org one", "org two", "clinic"]),
        st.sampled_from([None, "", "k1", "k2"]),
    ),
    max_size=25,
)


def blocked(items, **changes):
    texts, organizations, keys = ([item[n] for item in items] for n in range(3))
    views = {"neighbours": texts, "organization_neighbours": organizations}
    return block(
        views, {"shared_key": keys}, BlockingSettings(**{"n_neighbours": 3, "max_block": 4, **changes})
    )


@settings(deadline=None, max_examples=60)
@given(ITEMS)
def test_pairs_of_any_items_hold_their_invariants(items):
    pairs = blocked(items)  # CandidatePairs itself checks order, uniqueness and range
    assert pairs.left.dtype == pairs.right.dtype == np.int64
    assert pairs.similarity.dtype == np.float32
    assert pairs.rule.dtype == np.uint8
    assert np.all(pairs.right < max(len(items), 1))
    assert np.all(pairs.rule > 0)
    for (a, b), rules in rules_of(pairs).items():
        (text, organization, key), (other_text, other_organization, other_key) = items[a], items[b]
        if "shared_key" in rules:
            assert key == other_key and key
        if "same_form" in rules:
            assert text == other_text and text.strip()
        if "neighbours" in rules:
            assert text != other_text and text.strip() and other_text.strip()
        if "organization_neighbours" in rules:
            assert organization != other_organization and organization and other_organization


@settings(deadline=None, max_examples=60)
@given(ITEMS, st.randoms())
def test_the_order_of_the_items_does_not_matter(items, random):
    order = list(range(len(items)))
    random.shuffle(order)

    def contents(pairs, rows):
        """Pairs by what the items hold, since equal items may stand in for each other."""
        both = zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)
        # None and "" are no key alike, and a blank text is none.
        held = [repr((*(t if t.strip() else "" for t in texts), key or None)) for *texts, key in rows]
        ends = [sorted((held[a], held[b])) for a, b in both]
        values = zip(ends, pairs.similarity.tolist(), pairs.rule.tolist(), strict=True)
        return sorted((*end, similarity, rule) for end, similarity, rule in values)

    shuffled = [items[n] for n in order]
    assert contents(blocked(items), items) == contents(blocked(shuffled), shuffled)


@settings(deadline=None, max_examples=20)
@given(ITEMS)
def test_the_backend_does_not_matter(items):
    pytest.importorskip("torch")
    # All neighbours are asked for: which of equal cosines makes a short list is the backend's affair.
    one, other = (blocked(items, n_neighbours=30, backend=backend) for backend in ("faiss", "torch"))
    is_sure = [np.abs(pairs.similarity) > 1e-5 for pairs in (one, other)]
    assert np.array_equal(one.left[is_sure[0]], other.left[is_sure[1]])
    assert np.array_equal(one.right[is_sure[0]], other.right[is_sure[1]])


def test_labelled_affiliations_are_found():
    table = Path(os.environ.get("AFFIL_DATA", "../shared/data")) / "labelled" / "shared_clusters.tsv"
    if not table.is_file():
        pytest.skip(f"no labelled data at {table}; set AFFIL_DATA")
    pandas = pytest.importorskip("pandas")
    rows = pandas.read_csv(table, sep="\t", dtype=str, keep_default_na=False)
    rows = rows[rows.fold == "train"].iloc[:4000]
    labels = rows.cluster.astype("category").cat.codes.to_numpy()
    pairs = block(rows.affiliation.tolist())
    assert recall_at(labels, pairs, [30])[30] > 0.85
    figures = analyse(labels, pairs)
    assert figures.b_cubed_recall_ceiling > 0.95
    assert figures.reduction_ratio > 0.97


@settings(deadline=None, max_examples=60)
@given(ITEMS, st.integers(1, 9))
def test_pairs_are_united_the_same_in_small_pieces(items, piece):
    whole = blocked(items)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "_PAIRS_AT_ONCE", piece)
        parts = blocked(items)
    for name, column in vars(whole).items():
        assert np.array_equal(column, getattr(parts, name)), name
