"""Triplets and pairs from labels: what is a positive, what a negative, and that folds stay apart."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from blocking.hashing import HashingEncoder
from pipeline.cli import main
from pipeline.errors import AffilError, UsageError
from pipeline.training.examples import (
    Pairs,
    Triplets,
    linked_groups,
    read_examples,
    split,
    write_examples,
)
from pipeline.training.mining import (
    Labelled,
    MiningSettings,
    hard_negatives,
    mine_pairs,
    mine_triplets,
    read_labelled,
)

ROOT = Path(__file__).resolve().parents[2]
WORDS = st.text("abcd ", min_size=1, max_size=8)
ROWS = st.lists(st.tuples(WORDS, st.sampled_from("xyz")), max_size=25)


def hashing() -> HashingEncoder:
    return HashingEncoder(dimensions=64)


@settings(max_examples=60, deadline=None)
@given(ROWS, st.integers(1, 5))
def test_positives_share_the_label_and_negatives_do_not(rows: list[tuple[str, str]], per_string: int) -> None:
    own = Labelled.of(rows)
    label = dict(zip(own.text, own.label.tolist(), strict=True))
    chosen = MiningSettings(per_string=per_string)
    found = mine_triplets(own, chosen, hashing())
    assert found.negative is not None
    for anchor, positive, negative in zip(found.anchor, found.positive, found.negative, strict=True):
        assert anchor != positive and label[anchor] == label[positive] != label[negative]
    both = list(zip(found.anchor, found.positive, found.negative, strict=True))
    assert len(set(both)) == len(both)
    assert max(pd.Series(found.anchor).value_counts(), default=0) <= per_string
    pairs = mine_pairs(own, chosen, hashing())
    for left, right, is_same in zip(pairs.left, pairs.right, pairs.label, strict=True):
        assert left != right and (label[left] == label[right]) == bool(is_same)
    assert mine_pairs(own, chosen, hashing()) == pairs


@settings(max_examples=40, deadline=None)
@given(ROWS, st.integers(1, 4))
def test_negatives_are_the_nearest_of_other_labels(rows: list[tuple[str, str]], n: int) -> None:
    """Against a plain search through all pairs."""
    own, encoder = Labelled.of(rows), hashing()
    found = hard_negatives(own, encoder, n)
    if len(own) < 2:
        assert not any(found)
        return
    cosines = encoder.encode(own.text) @ encoder.encode(own.text).T
    for row, numbers in enumerate(found):
        others = np.flatnonzero((own.label != own.label[row]) & cosines.any(0))
        nearest = np.sort(cosines[row, others])[::-1][:n] if cosines[row].any() else []
        np.testing.assert_allclose(cosines[row, numbers], nearest, atol=1e-5)


def test_a_negative_that_is_too_near_is_left_out() -> None:
    own = Labelled.of([("university of graz", "a"), ("university of gratz", "b"), ("lyon", "c")])
    near = hard_negatives(own, hashing(), 1, max_similarity=1.0)
    far = hard_negatives(own, hashing(), 1, max_similarity=0.3)
    names = [[own.text[n] for n in row] for row in near]
    assert names[own.text.index("university of graz")] == ["university of gratz"]
    assert [own.text[n] for n in far[own.text.index("university of graz")]] == ["lyon"]


def test_a_text_with_two_labels_teaches_nothing() -> None:
    assert Labelled.of([("a", "x"), ("a", "y"), ("b", "x"), (" ", "x")]).text == ["b"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("abcdefgh")), min_size=1, max_size=12))
def test_groups_are_the_components_of_the_links(links: list[tuple[str, str]]) -> None:
    import networkx as nx

    group = linked_groups([a for a, _ in links], [b for _, b in links]).tolist()
    graph = nx.Graph(links)
    for (a, _), one in zip(links, group, strict=True):
        for (b, _), other in zip(links, group, strict=True):
            assert nx.has_path(graph, a, b) == (one == other)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=2, max_size=200), st.integers(0, 9))
def test_no_group_is_on_both_sides(numbers: list[int], seed: int) -> None:
    group = np.array(numbers)
    sizes = np.unique(group, return_counts=True)[1]
    try:
        train, test = split(group, 0.1, seed)
    except UsageError:
        assert 2 * sizes.min() > len(group) or len(group) < 4
        return
    assert test and sorted(train + test) == list(range(len(group)))
    assert not set(group[train].tolist()) & set(group[test].tolist())
    assert len(test) <= max(1.5 * max(1, 0.1 * len(group)), sizes.min())


def test_triplets_and_pairs_are_two_forms_of_one_thing() -> None:
    triplets = Triplets(["a", "a", "d"], ["b", "c", "e"], ["x", "y", "x"])
    pairs = triplets.to_pairs()
    assert sorted(zip(pairs.left, pairs.right, pairs.label, strict=True)) == [
        *(("a", "b", 1), ("a", "c", 1), ("a", "x", 0), ("a", "y", 0), ("d", "e", 1), ("d", "x", 0))
    ]
    assert pairs.to_triplets() == triplets
    assert Pairs(["a", "b"], ["c", "d"], [1, 1]).to_triplets() == Triplets(["a", "b"], ["c", "d"], None)
    # A left text of negatives alone hangs together with nothing, one of positives with its partner.
    assert len(set(Pairs(["a", "b", "c"], ["b", "x", "x"], [1, 0, 0]).groups().tolist())) == 2


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_files_come_back_as_they_were_written(tmp_path: Path, suffix: str) -> None:
    odd = ['say "yes", no', "=1+1", "tab\there", "zürich 大学"]
    triplets = Triplets(odd, odd[::-1], odd)
    write_examples(triplets.columns(), tmp_path / f"t{suffix}")
    assert read_examples(tmp_path / f"t{suffix}") == {"": triplets}
    pairs = Pairs(odd, odd, [1, 0, 0, 1])
    write_examples(pairs.columns() | {"fold": ["tune", "train", "test", "tune"]}, tmp_path / f"p{suffix}")
    assert read_examples(tmp_path / f"p{suffix}") == {"train": pairs.take([1]), "tune": pairs.take([0, 3])}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n", "anchor, positive, negative; or left, right, label; or affiliation, cluster"),
        ("left,right,label\na,b,2\n", "label '2'; a pair is of one thing"),
        ("anchor,positive\na,b\nc,\n", "row 2 .*positive is empty"),
        ("anchor,positive,fold\na,b,test\n", "no row of fold train"),
        ("anchor,positive\n", "no rows"),
    ],
)
def test_files_that_teach_nothing_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(content)
    with pytest.raises(AffilError, match=message):
        read_examples(path)


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """The rows of the example that name one institution, with folds by institution."""
    frame = pd.read_csv(ROOT / "examples" / "affiliations.csv", keep_default_na=False)
    frame = frame[~frame["institution"].str.contains(r"\|") & (frame["institution"] != "")]
    number = frame["institution"].rank(method="dense").astype(int)
    frame["fold"] = number.mod(5).map({0: "tune", 1: "test"}).fillna("train")
    path = tmp_path / "labels.tsv"
    frame.rename(columns={"institution": "cluster"}).to_csv(path, sep="\t", index=False)
    return path


def run(*arguments: object) -> object:
    return CliRunner().invoke(main, list(map(str, arguments)))


def test_the_command_mines_each_fold_by_itself(labels: Path, tmp_path: Path) -> None:
    done = run("train", "triplets", labels, "--output", tmp_path / "t.csv", "--raw", "--encoder", "hashing")
    assert done.exit_code == 0, done.output
    frame = pd.read_csv(labels, sep="\t")
    fold = dict(zip(frame["affiliation"], frame["fold"], strict=True))
    mined = pd.read_csv(tmp_path / "t.csv")
    assert set(mined["fold"]) == {"train", "tune"}
    for name in ("anchor", "positive", "negative"):
        assert (mined[name].map(fold) == mined["fold"]).all()
    lines = done.output.splitlines()
    assert lines[0].startswith("fold train: ") and lines[-1] == f"written: {tmp_path / 't.csv'}"


def test_the_command_mines_what_a_run_compares(labels: Path, tmp_path: Path) -> None:
    done = run("train", "pairs", labels, "--output", tmp_path / "p.jsonl", "--per-string", 2)
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert {row["label"] for row in rows} == {0, 1}
    known = {text for own in read_labelled(labels, _columns()).values() for text in own.text}
    assert {row["left"] for row in rows} <= known
    assert all(row["left"] == row["left"].casefold() for row in rows)


def _columns():
    from pipeline.training.labels import Columns

    return Columns()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--output", "x.xlsx"), "name a file that ends in .csv, .tsv, .jsonl, .parquet"),
        (("--output", "x.csv", "--cluster-column", "ror"), "no column 'ror'"),
        (("--output", "x.csv", "--per-string", "0"), "per_string must be 1 or more"),
        (("--output", "x.csv", "--max-similarity", "0"), "max_similarity must lie in"),
        (("--output", "x.csv", "--encoder", "jina-affiliations"), "is a reranker, no encoder"),
    ],
)
def test_what_cannot_be_mined_is_refused(
    labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("train", "triplets", labels, *arguments)
    assert done.exit_code == 2 and message in done.output
    assert len(done.output.splitlines()) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"labels.tsv"}
