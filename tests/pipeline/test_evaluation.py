"""Measures held against their definitions, hand-worked cases, scikit-learn, and a second scorer."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score
from sklearn.metrics.cluster import pair_confusion_matrix

from pipeline.errors import AffilError, UsageError
from pipeline.evaluation import Evaluation, Gold, Memberships, compare, evaluate, read_gold
from pipeline.evaluation.bootstrap import interval
from pipeline.evaluation.metrics import is_reproduced, n_assignments_shared, overlap

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("AFFIL_DATA", ROOT / "../shared/data"))
SECOND_SCORER = DATA / "../tools/score.py"

partitions = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=25)
entity_sets = st.frozensets(st.sampled_from("uvwxyz"), min_size=1, max_size=4)
set_pairs = st.lists(st.tuples(entity_sets, entity_sets), min_size=1, max_size=12)


def partition(labels: list[Any]) -> Memberships:
    return Memberships.of_sets([(str(label),) for label in labels])


def by_definition(predicted: list[set[str]], gold: list[set[str]]) -> dict[str, float]:
    """The definitions, pair by pair, for small cases."""
    n = len(gold)
    precision = recall = both = n_predicted = n_gold = 0.0
    for i in range(n):
        c = [len(predicted[i] & predicted[j]) for j in range(n)]
        d = [len(gold[i] & gold[j]) for j in range(n)]
        precision += np.mean([min(x, y) / x for x, y in zip(c, d, strict=True) if x])
        recall += np.mean([min(x, y) / y for x, y in zip(c, d, strict=True) if y])
        for j in range(i):
            both += c[j] > 0 and d[j] > 0
            n_predicted += c[j] > 0
            n_gold += d[j] > 0
    return {
        "b3_precision": precision / n,
        "b3_recall": recall / n,
        "pair_precision": both / n_predicted if n_predicted else 0.0,
        "pair_recall": both / n_gold if n_gold else 0.0,
    }


def assert_by_definition(predicted: list[set[str]], gold: list[set[str]]) -> None:
    found = compare(Memberships.of_sets(predicted), Memberships.of_sets(gold))
    for name, value in by_definition(predicted, gold).items():
        assert found[name] == pytest.approx(value, abs=1e-12), name


# Hand-worked cases


def test_partition_by_hand() -> None:
    # gold {a b c} {d e}; predicted {a b} {c d e}.
    # precision: a, b 2/2 each; c 1/3; d, e 2/3 each   → (1 + 1 + 1/3 + 2/3 + 2/3) / 5 = 11/15
    # recall:    a, b 2/3 each; c 1/3; d, e 2/2 each   → (2/3 + 2/3 + 1/3 + 1 + 1) / 5 = 11/15
    # pairs: gold ab ac bc de (4), predicted ab cd ce de (4), both ab de (2)
    # Rand: 10 pairs, by chance 4·4/10 = 1.6, so (2 − 1.6) / (4 − 1.6) = 1/6
    found = compare(partition([0, 0, 1, 1, 1]), partition([0, 0, 0, 1, 1]))
    assert found["b3_precision"] == pytest.approx(11 / 15)
    assert found["b3_recall"] == pytest.approx(11 / 15)
    assert found["b3_f1"] == pytest.approx(11 / 15)
    assert found["pair_precision"] == found["pair_recall"] == found["pair_f1"] == 0.5
    assert found["adjusted_rand_index"] == pytest.approx(1 / 6)
    assert found["cluster_exact_rate"] == 0.0
    assert found["b3_recall 2-10"] == pytest.approx(11 / 15)
    assert "b3_recall 1" not in found


def test_multiplicity_by_hand() -> None:
    # gold a {X Y}, b {X Y}, c {X}; predicted a {1 2}, b {1}, c {1}.
    # c_j (predicted): aa 2, ab 1, ac 1, bb 1, bc 1, cc 1;  d_j (gold): aa 2, ab 2, ac 1, bb 2, bc 1, cc 1.
    # precision: a (2/2 + 1/1 + 1/1)/3 = 1; b (1/1 + 1/1 + 1/1)/3 = 1; c likewise 1
    # recall: a (2/2 + 1/2 + 1/1)/3 = 5/6; b (1/2 + 1/2 + 1/1)/3 = 4/6; c (1/1 + 1/1 + 1/1)/3 = 1
    #         (5/6 + 4/6 + 6/6) / 3 = 5/6
    found = compare(
        Memberships.of_sets([{"1", "2"}, {"1"}, {"1"}]), Memberships.of_sets([{"X", "Y"}, {"X", "Y"}, {"X"}])
    )
    assert found["b3_precision"] == pytest.approx(1.0)
    assert found["b3_recall"] == pytest.approx(5 / 6)
    assert found["pair_f1"] == 1.0
    # X = {a b c} is entity 1 exactly; Y = {a b} is nobody's.
    assert found["cluster_exact_rate"] == 0.5
    # 1 stands for X and 2 for Y: shared (a,X) (a,Y) (b,X) (c,X); 4 predicted, 5 in gold.
    assert found["entity_precision"] == 1.0
    assert found["entity_recall"] == pytest.approx(4 / 5)
    assert "adjusted_rand_index" not in found


def test_too_many_shared_entities_cost_precision() -> None:
    # Both strings predicted {1 2}, gold {X} each: a–a min(2,1)/2 = 1/2, a–b 1/2 → precision 1/2, recall 1.
    found = compare(Memberships.of_sets([{"1", "2"}] * 2), Memberships.of_sets([{"X"}] * 2))
    assert found["b3_precision"] == pytest.approx(0.5)
    assert found["b3_recall"] == pytest.approx(1.0)


def test_one_string_and_no_string() -> None:
    alone = compare(partition(["p"]), partition(["g"]))
    assert alone["b3_f1"] == alone["cluster_exact_rate"] == alone["adjusted_rand_index"] == 1.0
    assert alone["pair_precision"] == alone["pair_recall"] == alone["pair_f1"] == 0.0
    nobody = compare(Memberships.of_sets([]), Memberships.of_sets([]))
    assert nobody["b3_f1"] == 0.0


def test_bands_follow_the_gold_size() -> None:
    sizes = [1, 2, 10, 11, 30, 31, 300, 301]
    gold = [label for label, size in enumerate(sizes) for _ in range(size)]
    whole = [label if size != 31 else f"{label} {i}" for label, size in enumerate(sizes) for i in range(size)]
    found = compare(partition(whole), partition(gold))
    assert found["b3_recall 1"] == found["b3_recall 2-10"] == found["b3_recall 11-30"] == 1.0
    assert found["b3_recall more than 300"] == 1.0
    # The cluster of 31 fell apart: 31 strings with recall 1/31, 300 with recall 1.
    assert found["b3_recall 31-300"] == pytest.approx((31 * (1 / 31) + 300) / 331)


# Against the definitions and scikit-learn


@given(partitions)
@settings(deadline=None)
def test_partitions_agree_with_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    predicted, gold = map(list, zip(*pairs, strict=True))
    found = compare(partition(predicted), partition(gold))
    (_, fp), (fn, tp) = pair_confusion_matrix(gold, predicted)
    assert found["pair_precision"] == pytest.approx(tp / (tp + fp) if tp + fp else 0.0)
    assert found["pair_recall"] == pytest.approx(tp / (tp + fn) if tp + fn else 0.0)
    assert found["adjusted_rand_index"] == pytest.approx(adjusted_rand_score(gold, predicted))
    assert_by_definition([{str(x)} for x in predicted], [{str(x)} for x in gold])


@given(set_pairs)
@settings(deadline=None)
def test_sets_agree_with_the_definition(pairs: list[tuple[set[str], set[str]]]) -> None:
    predicted, gold = map(list, zip(*pairs, strict=True))
    assert_by_definition(predicted, gold)


def test_blocks_do_not_change_the_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    predicted, gold = (Memberships.of(np.arange(900) % 300, rng.integers(0, 40, 900), 300) for _ in range(2))
    whole = overlap(predicted, gold)
    monkeypatch.setattr("pipeline.evaluation.metrics.BLOCK_ENTRIES", 700)
    in_blocks = overlap(predicted, gold)
    for name, column in vars(whole).items():
        np.testing.assert_allclose(getattr(in_blocks, name), column)


@given(set_pairs)
@settings(deadline=None, max_examples=50)
def test_assignments_are_the_best_one_to_one(pairs: list[tuple[set[str], set[str]]]) -> None:
    predicted, gold = map(list, zip(*pairs, strict=True))
    shared = Counter((x, y) for p, g in pairs for x in g for y in p)
    labels, entities = sorted(set().union(*gold)), sorted(set().union(*predicted))
    entities += [""] * max(0, len(labels) - len(entities))
    best = max(
        sum(shared[x, y] for x, y in zip(labels, chosen, strict=True))
        for chosen in itertools.permutations(entities, len(labels))
    )
    assert n_assignments_shared(*map(Memberships.of_sets, (predicted, gold))).sum() == best


# Properties


@given(st.lists(entity_sets, min_size=1, max_size=15))
@settings(deadline=None)
def test_a_perfect_run_is_perfect(sets: list[set[str]]) -> None:
    gold = Memberships.of_sets(sets)
    renamed = Memberships.of_sets([{{"u": "z", "z": "u"}.get(x, x) + "!" for x in names} for names in sets])
    found = compare(renamed, gold)
    has_pairs = bool((overlap(gold, gold).n_gold > 1).any())
    for name, value in found.items():
        assert value == pytest.approx(1.0 if has_pairs or not name.startswith("pair_") else 0.0), name


@given(set_pairs, st.randoms())
@settings(deadline=None)
def test_measures_stay_in_range_and_ignore_order(
    pairs: list[tuple[set[str], set[str]]], random: Random
) -> None:
    found = compare(*(Memberships.of_sets(list(side)) for side in zip(*pairs, strict=True)))
    assert all(0 <= value <= 1 + 1e-12 for name, value in found.items() if name != "adjusted_rand_index")
    random.shuffle(pairs)
    again = compare(*(Memberships.of_sets(list(side)) for side in zip(*pairs, strict=True)))
    assert again == pytest.approx(found)


@given(partitions)
@settings(deadline=None)
def test_singletons_and_one_cluster(pairs: list[tuple[int, int]]) -> None:
    gold = partition([g for _, g in pairs])
    apart = compare(partition(list(range(len(pairs)))), gold)
    assert apart["b3_precision"] == 1.0
    together = compare(partition(["all"] * len(pairs)), gold)
    assert together["b3_recall"] == pytest.approx(1.0)


@given(set_pairs)
@settings(deadline=None, max_examples=50)
def test_profiles_tell_sets_apart(pairs: list[tuple[set[str], set[str]]]) -> None:
    sets = [p for p, _ in pairs]
    profile = Memberships.of_sets(sets).profiles()
    for i, j in itertools.combinations(range(len(sets)), 2):
        assert (profile[i] == profile[j]) == (sets[i] == sets[j])


def test_reproduced_clusters_need_every_string_and_no_other() -> None:
    predicted, gold = partition([0, 0, 1, 1, 2]), partition(["a", "a", "b", "c", "d"])
    np.testing.assert_array_equal(is_reproduced(predicted, gold), [1.0, 0.0, 0.0, 1.0])


def test_memberships_refuse_a_string_without_entity() -> None:
    with pytest.raises(AffilError, match="at least one entity"):
        Memberships.of_sets([{"a"}, set()])
    with pytest.raises(AffilError, match="sorted"):
        Memberships(2, 1, np.array([1, 0]), np.array([0, 0]))
    with pytest.raises(AffilError, match="cannot compare 1 strings with 2"):
        overlap(partition([1]), partition([1, 2]))


def test_fast_enough() -> None:
    rng = np.random.default_rng(0)
    n = 200_000
    gold = (rng.pareto(1.0, n) * 500).astype(np.int64) % 60_000
    predicted = np.where(rng.random(n) < 0.1, rng.integers(0, 60_000, n), gold)
    start = time.perf_counter()
    found = compare(*(Memberships.of(np.arange(n), side, n) for side in (predicted, gold)))
    m = 10_000
    several = [Memberships.of(np.arange(3 * m) % m, rng.integers(0, m, 3 * m), m) for _ in range(2)]
    compare(*several)
    assert time.perf_counter() - start < 10
    assert found["adjusted_rand_index"] == pytest.approx(adjusted_rand_score(gold, predicted))


# Whole runs


def random_run(n: int, n_labels: int, is_multi: bool, seed: int) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Mentions and gold rows of a made-up run: some strings missing, repeated, unlabelled, with partners."""
    rng = np.random.default_rng(seed)
    mentions, gold = [], []
    for i in range(n):
        string = f'Dept. {i}, "Univ." № {i % 7}'
        labels = [f"g{x}" for x in rng.integers(0, n_labels, rng.integers(1, 4) if is_multi else 1)]
        fold = str(rng.choice(["train", "test"]))
        gold.append({"string": string, "labels": labels if rng.random() > 0.05 else [], "fold": fold})
        if rng.random() < 0.05:
            gold.append({**gold[-1], "labels": [f"g{rng.integers(n_labels)}"] if is_multi else labels})
        if rng.random() < 0.05:
            continue
        roles = ["main"] + ["partner"] * int(rng.integers(0, 3))
        for role in roles:
            entity = labels[0].upper() if rng.random() < 0.6 else f"e{rng.integers(n_labels)}"
            mentions.append((f"m{len(mentions)}", string, None if rng.random() < 0.02 else entity, role))
    frame = pd.DataFrame(mentions, columns=["mention_id", "affiliation", "entity_id", "role"])
    return frame, gold


def gold_of(rows: list[dict[str, Any]]) -> Gold:
    labels = {row["string"]: tuple(sorted(set(row["labels"]))) for row in rows if row["labels"]}
    return Gold(list(labels), list(labels.values()))


def bounds(found: Evaluation, name: str) -> tuple[float, float, float]:
    low, value, high = next((m.low, m.value, m.high) for m in found.measures if m.name == name)
    assert low is not None and high is not None
    return low, value, high


def write_tsv(path: Path, gold: list[dict[str, Any]]) -> Path:
    rows = [(r["string"], r["labels"][0], r["fold"]) for r in gold if r["labels"]]
    pd.DataFrame(rows, columns=["affiliation", "cluster", "fold"]).to_csv(path, sep="\t", index=False)
    return path


def write_jsonl(path: Path, gold: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in gold), encoding="utf-8")
    return path


def assert_second_scorer_agrees(mentions: pd.DataFrame, path: Path, folder: Path, fold: str | None) -> None:
    if not SECOND_SCORER.exists():
        pytest.skip(f"no second scorer at {SECOND_SCORER}")
    mentions.to_parquet(folder / "mentions.parquet")
    command = [sys.executable, str(SECOND_SCORER), str(folder), str(path), *([fold] if fold else [])]
    theirs = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    columns = ("string", "labels") if path.suffix == ".jsonl" else ("affiliation", "cluster")
    ours = evaluate(mentions, read_gold(path, *columns, fold), n_bootstrap=0)
    assert (ours.n_strings, ours.n_missing) == (theirs["n"], theirs["missing"])
    assert (ours.n_predicted_clusters, ours.n_gold_clusters) == (theirs["entities"], theirs["gold"])
    assert ours.n_with_several == theirs["several"]
    names = {"b3_p": "b3_precision", "b3_r": "b3_recall", "b3_f": "b3_f1"}
    names |= {"pair_p": "pair_precision", "pair_r": "pair_recall", "pair_f": "pair_f1"}
    for short, name in names.items():
        assert ours.value(name) == pytest.approx(theirs[short], abs=0.5001e-4), name
    assert ours.is_partition == (theirs["b3_recall_by_gold_size"] is not None)
    bounds = {"<=1": "1", "<=10": "2-10", "<=30": "11-30", "<=300": "31-300", "more": "more than 300"}
    for short, value in (theirs["b3_recall_by_gold_size"] or {}).items():
        assert ours.value(f"b3_recall {bounds[short]}") == pytest.approx(value, abs=0.5001e-4), short


@pytest.mark.parametrize(
    ("is_multi", "n_labels", "fold"),
    [(False, 3, None), (False, 400, "test"), (True, 4, None), (True, 300, "train"), (True, 60, None)],
)
def test_second_scorer_agrees(tmp_path: Path, is_multi: bool, n_labels: int, fold: str | None) -> None:
    mentions, gold = random_run(1200, n_labels, is_multi, seed=n_labels)
    path = write_jsonl(tmp_path / "g.jsonl", gold) if is_multi else write_tsv(tmp_path / "g.tsv", gold)
    assert_second_scorer_agrees(mentions, path, tmp_path, fold)


@pytest.mark.parametrize("name", ["shared_clusters.tsv", "s2aff_train.jsonl"])
def test_second_scorer_agrees_on_real_gold(tmp_path: Path, name: str) -> None:
    path = DATA / "labelled" / name
    if not path.exists():
        pytest.skip(f"no labelled data at {path}")
    columns = ("affiliation", "cluster") if path.suffix == ".tsv" else ("string", "labels")
    strings = read_gold(path, *columns, "train").affiliation
    # A poor but lifelike run: the organisation is the longest comma-separated piece, the partner the last.
    pieces = [sorted(s.lower().split(","), key=len) for s in strings]
    mentions = pd.DataFrame(
        [(s, p[-1], "main") for s, p in zip(strings, pieces, strict=True)]
        + [(s, p[0], "partner") for s, p in zip(strings, pieces, strict=True) if len(p) > 3],
        columns=["affiliation", "entity_id", "role"],
    )
    assert_second_scorer_agrees(mentions, path, tmp_path, "train")


def test_main_for_one_label_and_all_for_several() -> None:
    gold = Gold(["one", "two"], [("X",), ("X", "Y")])
    rows = [("one", "1", "main"), ("one", "2", "partner"), ("two", "1", "main"), ("two", "3", "partner")]
    mentions = pd.DataFrame(rows, columns=["affiliation", "entity_id", "role"])
    found = evaluate(mentions, gold, n_bootstrap=0)
    assert found.value("b3_f1") == found.value("entity_recall") == found.value("cluster_exact_rate") == 1.0
    assert (found.n_with_several, found.n_predicted_clusters, found.is_partition) == (2, 2, False)
    assert found.value("adjusted_rand_index") is None
    # Seen through all its entities, "one" shares entity 1 rightly but has entity 2 to spare: a–a min(2,1)/2.
    without_role = evaluate(mentions.drop(columns="role"), gold, n_bootstrap=0)
    assert without_role.value("b3_precision") == pytest.approx(((1 / 2 + 1) / 2 + 1) / 2)
    assert "no column 'role'" in without_role.warnings[0]


def test_missing_strings_are_singletons_and_said_so() -> None:
    gold = Gold(["a", "b", "c"], [("X",)] * 3)
    mentions = pd.DataFrame({"affiliation": ["a", "b", "z"], "entity_id": ["1", None, "1"], "role": "main"})
    found = evaluate(mentions, gold, n_bootstrap=0)
    assert (found.n_missing, found.n_predicted_clusters) == (2, 3)
    assert found.value("b3_recall") == pytest.approx(1 / 3)
    assert found.value("b3_precision") == 1.0
    assert found.warnings[0].startswith("2 of 3 gold strings are not in the run")


def test_evaluation_as_json_and_table() -> None:
    mentions, rows = random_run(300, 40, is_multi=False, seed=5)
    gold = replace(gold_of(rows), n_conflicts=2)
    found = evaluate(mentions, gold, n_bootstrap=50)
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain["measures"]["b3_f1"]["value"] == found.value("b3_f1")
    sizes = plain["b3_recall_by_gold_size"].values()
    assert sum(band["n_strings"] for band in sizes) == found.n_strings == len(gold)
    assert plain["calibration"] is plain["blocking"] is None
    assert plain["warnings"][1] == "2 gold strings occur with different labels; they were united"
    table = {row.name: row for row in found.table()}
    assert table["gold strings"].value == len(gold)
    assert (table["B³ F1"].low, table["B³ F1"].value, table["B³ F1"].high) == bounds(found, "b3_f1")


def test_evaluate_explains_what_is_wrong() -> None:
    gold = Gold(["Univ. Bonn"], [("X",)])
    mentions = pd.DataFrame({"affiliation": ["ETH Zurich"], "entity_id": ["1"], "role": ["main"]})
    with pytest.raises(UsageError, match=r"e\.g\. gold 'Univ\. Bonn', run 'ETH Zurich'"):
        evaluate(mentions, gold)
    with pytest.raises(UsageError, match="holds no mentions"):
        evaluate(mentions.iloc[:0], gold)
    with pytest.raises(UsageError, match="no column 'entity_id'; columns there: affiliation, role"):
        evaluate(mentions.drop(columns="entity_id"), gold)
    with pytest.raises(UsageError, match="n_bootstrap must be 0 or more, not -1"):
        evaluate(mentions, gold, n_bootstrap=-1)


# Bootstrap


@pytest.mark.parametrize("is_multi", [False, True])
def test_intervals_cover_the_estimate_and_repeat(is_multi: bool) -> None:
    mentions, rows = random_run(600, 60, is_multi, seed=2)
    gold = gold_of(rows)
    found = evaluate(mentions, gold, n_bootstrap=100, seed=3)
    names = [m.name for m in found.measures if m.low is not None]
    assert {"b3_precision", "b3_recall", "b3_f1", "pair_f1", "cluster_exact_rate"} <= set(names)
    for m in found.measures:
        if m.low is not None and m.high is not None:
            assert 0 <= m.low <= m.value <= m.high <= 1, m.name
    low, _, high = bounds(found, "b3_f1")
    assert low < high
    assert evaluate(mentions, gold, n_bootstrap=100, seed=3) == found
    assert evaluate(mentions, gold, n_bootstrap=100, seed=4).measures != found.measures
    assert all(m.low is None for m in evaluate(mentions, gold, n_bootstrap=0).measures)


def test_intervals_shrink_with_more_clusters() -> None:
    def width(n: int) -> float:
        mentions, rows = random_run(n, n // 5, is_multi=False, seed=7)
        low, _, high = bounds(evaluate(mentions, gold_of(rows)), "b3_recall")
        return high - low

    assert width(4000) < width(250) / 2  # sixteen times the clusters: a quarter of the width


def test_interval_is_close_to_the_exact_spread_of_a_mean() -> None:
    # Clusters of one string each, reproduced or not: the exact rate is a mean of 400 coin tosses.
    n = 400
    gold = Gold([f"s{i:03}" for i in range(2 * n)], [(f"g{i // 2}",) for i in range(2 * n)])
    entity = [f"e{i // 2}" if (i // 2) % 4 else f"e{i}x" for i in range(2 * n)]  # a quarter fall apart
    mentions = pd.DataFrame({"affiliation": gold.affiliation, "entity_id": entity, "role": "main"})
    found = evaluate(mentions, gold, n_bootstrap=1000)
    low, rate, high = bounds(found, "cluster_exact_rate")
    half = 1.96 * (0.75 * 0.25 / n) ** 0.5
    assert rate == 0.75
    assert low == pytest.approx(0.75 - half, abs=0.01)
    assert high == pytest.approx(0.75 + half, abs=0.01)


def test_interval_of_unknown_values() -> None:
    assert interval(np.array([np.nan, np.nan])) == (None, None)
    assert interval(np.array([np.nan, 0.25])) == (0.25, 0.25)


def test_a_string_without_main_entity_is_seen_through_the_others() -> None:
    gold = Gold(["a", "b"], [("X",), ("X",)])
    rows = [("a", None, "main"), ("a", "1", "partner"), ("b", "1", "main"), ("b", "2", "partner")]
    found = evaluate(pd.DataFrame(rows, columns=["affiliation", "entity_id", "role"]), gold, n_bootstrap=0)
    assert (found.n_missing, found.value("b3_f1")) == (0, 1.0)
