import csv
import json
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import pipeline
from blocking import CandidatePairs
from pipeline.cli import main
from pipeline.clustering import Constraints
from pipeline.errors import UsageError
from pipeline.explanation import Background, explain, spanning_forest, weakest_links
from pipeline.explanation.contributions import contributions
from pipeline.preparation import prepare
from pipeline.scoring import TWO_RECORDS, PairFeatures, fit_vocabulary, score_by

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "affiliations.csv"


def mentions_of(entities: list[str], **more: list[object]) -> pd.DataFrame:
    n = len(entities)
    columns = {
        "affiliation_id": [f"a{i}" for i in range(n)],
        "affiliation": [f"University number {i}, Town" for i in range(n)],
        "mention_id": [f"a{i}-0" for i in range(n)],
        "n_occurrences": np.ones(n, np.int64),
        "organization": [f"Name {i}" for i in range(n)],
        "role": ["main"] * n,
        "entity_id": entities,
        "city": [None] * n,
        "region": [None] * n,
        "country_code": [None] * n,
    }
    return pd.DataFrame(columns | more)


def pairs_of(rows: list[tuple[int, int, float]]) -> pd.DataFrame:
    left, right, probability = zip(*rows, strict=True) if rows else ((), (), ())
    return pd.DataFrame(
        {
            "left_mention_id": [f"a{i}-0" for i in left],
            "right_mention_id": [f"a{i}-0" for i in right],
            "rule": ["neighbours"] * len(rows),
            "similarity": np.full(len(rows), 0.5, np.float32),
            "logit": np.zeros(len(rows)),
            "rescored_logit": np.full(len(rows), np.nan),
            "probability": np.array(probability, np.float64),
        }
    )


def graph_of(rows: list[tuple[int, int, float]], n: int) -> nx.Graph:
    graph = nx.Graph()
    graph.add_nodes_from(range(n))
    graph.add_weighted_edges_from(rows)
    return graph


def bottleneck(graph: nx.Graph, a: int, b: int) -> float:
    """The best weakest link of any path, by cutting weak links until the two fall apart."""
    for p in sorted({d["weight"] for _, _, d in graph.edges(data=True)}, reverse=True):
        strong = nx.Graph((u, v) for u, v, d in graph.edges(data=True) if d["weight"] >= p)
        if a in strong and b in strong and nx.has_path(strong, a, b):
            return float(p)
    return float("nan")


@st.composite
def connected_graphs(draw: st.DrawFn) -> tuple[int, list[tuple[int, int, float]]]:
    """Graphs with ties among their probabilities, and with 0 and 1."""
    n = draw(st.integers(2, 12))
    probabilities = st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.5000001, 0.7, 0.9, 1.0])
    edges = {(draw(st.integers(0, i - 1)), i) for i in range(1, n)}
    every = [(i, j) for i in range(n) for j in range(i + 1, n)]
    edges |= set(draw(st.lists(st.sampled_from(every), max_size=20)))
    return n, [(i, j, draw(probabilities)) for i, j in sorted(edges)]


@settings(max_examples=40, deadline=None)
@given(connected_graphs(), st.data())
def test_the_chain_is_the_widest_path(
    drawn: tuple[int, list[tuple[int, int, float]]], data: st.DataObject
) -> None:
    n, rows = drawn
    a, b = data.draw(st.permutations(range(n)))[:2]
    mentions = mentions_of(["e"] * n)
    found = explain(mentions, pairs_of(rows), f"a{a}-0", f"a{b}-0")
    strings = mentions["affiliation"].tolist()
    at = strings[a]
    for link in found.chain:
        assert at in (link.left, link.right)
        at = link.right if at == link.left else link.left
        ends = sorted([strings.index(link.left), strings.index(link.right)])
        assert link.probability == next(p for i, j, p in rows if [i, j] == ends)
    assert at == strings[b]
    assert found.weakest is not None
    assert found.weakest.probability == bottleneck(graph_of(rows, n), a, b)


@settings(max_examples=40, deadline=None)
@given(connected_graphs())
def test_the_forest_weighs_what_networkx_finds(drawn: tuple[int, list[tuple[int, int, float]]]) -> None:
    n, rows = drawn
    rows = [row for row in rows if (row[0] + row[1]) % 3]  # Falls apart into components.
    left, right = (np.array([row[k] for row in rows], np.int64) for k in (0, 1))
    probability = np.array([row[2] for row in rows], np.float64)
    chosen = spanning_forest(left, right, probability, n)
    forest = graph_of([rows[i] for i in chosen.tolist()], n)
    expected = nx.maximum_spanning_tree(graph_of(rows, n))
    assert nx.is_forest(forest)
    assert nx.number_connected_components(forest) == nx.number_connected_components(expected)
    assert forest.size("weight") == pytest.approx(expected.size("weight"))


def test_weakest_links_are_those_that_no_better_chain_replaces() -> None:
    rows = [(0, 1, 0.9), (1, 2, 0.6), (0, 2, 0.55), (3, 4, 0.7), (2, 3, 0.99)]
    found = weakest_links(mentions_of(["e", "e", "e", "f", "f"]), pairs_of(rows), 2)
    assert found["probability"].tolist() == [0.6, 0.7]
    assert found["entity_id"].tolist() == ["e", "f"]
    assert found["left"].tolist() == ["University number 1, Town", "University number 3, Town"]
    assert len(weakest_links(mentions_of(["e"] * 3 + ["f"] * 2), pairs_of(rows), 100)) == 3


def test_no_pairs_have_no_weak_links() -> None:
    assert len(weakest_links(mentions_of(["e", "f"]), pairs_of([]), 5)) == 0
    assert len(weakest_links(mentions_of([]), pairs_of([]), 5)) == 0


def test_two_institutions_have_a_direct_pair_at_most_and_no_chain() -> None:
    mentions, pairs = mentions_of(["e", "f", "g"]), pairs_of([(0, 1, 0.2)])
    found = explain(mentions, pairs, "a1-0", "a0-0")
    assert not found.is_same and found.chain == () and found.weakest is None
    assert found.direct is not None and found.direct.probability == 0.2
    assert explain(mentions, pairs, "a0-0", "a2-0").direct is None


def test_a_string_is_one_with_itself() -> None:
    found = explain(mentions_of(["e", "e"]), pairs_of([(0, 1, 0.9)]), "a0-0", "a0-0")
    assert found.is_same and found.chain == () and found.direct is None


def test_members_that_no_pair_joins_have_no_chain() -> None:
    """A must-link of a person joins what was never compared."""
    found = explain(mentions_of(["e", "e", "e"]), pairs_of([(0, 1, 0.9)]), "a0-0", "a2-0")
    assert found.is_same and found.chain == ()


def test_strings_and_ids_are_both_understood() -> None:
    mentions, pairs = mentions_of(["e", "e"]), pairs_of([(0, 1, 0.9)])
    by_mention = explain(mentions, pairs, "a0-0", "a1-0")
    assert explain(mentions, pairs, "a0", "a1") == by_mention
    assert explain(mentions, pairs, "University number 0, Town", "University number 1, Town") == by_mention


def test_a_string_stands_for_its_main_mention() -> None:
    mentions = mentions_of(
        ["e", "f", "f"], affiliation_id=["a0", "a0", "a2"], affiliation=["A; B", "A; B", "B"]
    )
    mentions["role"] = ["partner", "main", "main"]
    assert explain(mentions, pairs_of([]), "A; B", "B").is_same
    assert not explain(mentions, pairs_of([]), "a0-0", "B").is_same


def test_a_name_stands_for_its_most_frequent_mention() -> None:
    mentions = mentions_of(["e", "f", "g", "e"], organization=["Oxford", "Oxford", "Oxford", "Cambridge"])
    mentions["n_occurrences"] = [1, 5, 9, 1]
    mentions["role"] = ["main", "main", "partner", "main"]
    found = explain(mentions, pairs_of([]), "Oxford", "Cambridge")
    assert (found.left_entity_id, found.right_entity_id) == ("f", "e")
    assert found.left == "University number 1, Town"


def test_an_unknown_string_is_refused_with_the_nearest() -> None:
    mentions = mentions_of(["e", "f"])
    with pytest.raises(UsageError, match="nearest is 'University number 1, Town'"):
        explain(mentions, pairs_of([]), "a0-0", "Universty number 1, Town")
    with pytest.raises(UsageError, match="no such string"):
        explain(mentions_of([]), pairs_of([]), "a", "b")


def test_words_are_told_apart_and_place_is_compared() -> None:
    places = {
        "city": ["Oxford", "Oxford", None],
        "country_code": ["GB", "US", "GB"],
        "region": [None, None, "X"],
    }
    names = ["Univ of Oxford Physics", "University of Oxford Chemistry", "Oxford"]
    mentions = mentions_of(["e", "e", "e"], affiliation=names, **places)
    rows = pairs_of([(0, 1, 0.9), (0, 2, 0.8)])
    link = explain(mentions, rows, "a0-0", "a1-0").direct
    assert link is not None
    assert "oxford" in link.shared and link.only_left != link.only_right
    assert not set(link.shared) & {*link.only_left, *link.only_right}
    assert link.place == "same city: Oxford"
    other = explain(mentions, rows, "a0-0", "a2-0").direct
    assert other is not None and other.place == "same country_code: GB"
    unknown = explain(mentions_of(["e", "e"]), pairs_of([(0, 1, 0.9)]), "a0", "a1").direct
    assert unknown is not None and unknown.place == "unknown"


def test_spellings_of_a_word_are_aligned() -> None:
    names = ["Karolinska Institutet Solna", "Karolinksa Institutet Huddinge"]
    link = explain(mentions_of(["e", "e"], affiliation=names), pairs_of([(0, 1, 0.9)]), "a0", "a1").direct
    assert link is not None and link.alike == (("karolinska", "karolinksa"),)
    assert (link.only_left, link.only_right) == (("solna",), ("huddinge",))


def test_a_must_link_is_a_link_of_the_chain() -> None:
    none = np.empty(0, np.int64)
    held = Constraints(np.array([1]), np.array([2]), none, none)
    mentions = mentions_of(["e", "e", "e"])
    found = explain(mentions, pairs_of([(0, 1, 0.9)]), "a0", "a2", Background(constraints=held))
    assert [(link.rule, link.judgement, link.probability) for link in found.chain] == [
        ("neighbours", None, 0.9),
        ("judgement", "must-link", 1.0),
    ]
    assert found.chain[1].logit is None and found.separating is not None
    json.dumps(found.to_dict(), allow_nan=False)
    joined = explain(mentions, pairs_of([(0, 1, 0.9)]), "a1", "a2", Background(constraints=held))
    assert joined.separating is None and joined.sides is None


def test_two_institutions_are_told_with_the_pairs_between_them() -> None:
    rows = [(0, 1, 0.9), (1, 2, 0.2), (0, 2, 0.1), (2, 3, 0.8)]
    found = explain(mentions_of(["e", "e", "f", "f"]), pairs_of(rows), "a0", "a3")
    sides = found.sides
    assert sides is not None and (sides.n_left, sides.n_right, sides.n_pairs) == (2, 2, 2)
    # Two of four pairs were never compared; each counts .3 with probability 0.
    assert sides.mean_probability == pytest.approx(0.3 / 2.6, abs=1e-6)
    told = [(p.left_mention_id, p.right_mention_id, p.probability) for p in sides.pairs]
    assert told == [("a1-0", "a2-0", 0.2), ("a0-0", "a2-0", 0.1)]
    assert found.direct is None and found.separating is None


@pytest.fixture(scope="module")
def example() -> pipeline.Resolution:
    with EXAMPLE.open(encoding="utf-8", newline="") as file:
        strings = [row["affiliation"] for row in csv.DictReader(file)]
    return pipeline.resolve(strings[:400])


def couples(example: pipeline.Resolution, n: int) -> list[tuple[str, str]]:
    """Members of one institution, far apart in it."""
    groups = [g for _, g in example.mentions.groupby("entity_id")["mention_id"] if len(g) > 1]
    groups.sort(key=lambda g: (-len(g), g.iloc[0]))
    return [(g.iloc[0], g.iloc[-1]) for g in groups[:n]]


def has_ties(example: pipeline.Resolution, mention: str, least: float) -> bool:
    """Whether two pairs of a mention's institution, as probable as that or more, are equally probable."""
    entity = example.mentions.set_index("mention_id")["entity_id"]
    members = entity.index[entity == entity[mention]]
    pairs = example.pairs[example.pairs["probability"] >= least]
    own = pairs[pairs["left_mention_id"].isin(members) & pairs["right_mention_id"].isin(members)]
    return bool(own["probability"].duplicated().any())


def test_at_the_threshold_that_is_told_the_two_part_and_just_below_they_do_not(
    example: pipeline.Resolution,
) -> None:
    told, n_compared = set(), 0
    for a, b in couples(example, 12):
        found = example.explain(a, b)
        assert found.is_same and found.separating is not None and found.sides is not None
        left, right = (
            {p.left_mention_id for p in found.sides.pairs},
            {p.right_mention_id for p in found.sides.pairs},
        )
        assert not left & right
        for threshold, is_same in ((found.separating, False), (found.separating - 0.001, True)):
            entity = example.rethreshold(threshold).mentions.set_index("mention_id")["entity_id"]
            assert (entity[a] == entity[b]) == is_same
            # Which of equally probable pairs merge first depends on the numbering of all mentions.
            if not is_same and not has_ties(example, a, found.separating):
                n_compared += 1
                sizes = entity.value_counts()
                assert (found.sides.n_left, found.sides.n_right) == (sizes[entity[a]], sizes[entity[b]])
        told.add(found.separating)
    assert len(told) > 3 and n_compared > 3


def test_contributions_add_up_to_the_logit_of_every_pair(example: pipeline.Resolution) -> None:
    for a, b in couples(example, 12):
        chain = example.explain(a, b).chain
        assert chain
        for link in chain:
            assert link.contributions and sum(c.log_odds for c in link.contributions) == pytest.approx(
                link.logit
            )
            weights = [abs(c.log_odds) for c in link.contributions]
            assert weights == sorted(weights, reverse=True)


def test_names_known_as_two_are_among_the_reasons() -> None:
    strings = ["University of Washington, Seattle, WA, USA", "Washington University, St. Louis, MO, USA"]
    _, forms = prepare(strings, pipeline.Settings())
    features, (left, right) = PairFeatures(forms, fit_vocabulary(forms)), np.array([[0], [1]])
    (found,) = contributions(features, left, right)
    assert {c.feature: c.log_odds for c in found}[TWO_RECORDS] == -2
    pairs = CandidatePairs(left, right, np.zeros(1, np.float32), np.zeros(1, np.uint8))
    logit = score_by(features, pairs, pipeline.ScoringSettings(), None).logit[0]
    assert sum(c.log_odds for c in found) == pytest.approx(logit)
    (same,) = contributions(features, left, left)
    assert TWO_RECORDS not in {c.feature for c in same}


def test_a_run_folder_explains_as_its_result_does(example: pipeline.Resolution, tmp_path: Path) -> None:
    folder = example.write(tmp_path / "run")
    a, b = couples(example, 1)[0]
    done = CliRunner().invoke(main, ["explain", str(folder), a, b, "--json"])
    assert done.exit_code == 0, done.output
    told, expected = json.loads(done.stdout), json.loads(json.dumps(example.explain(a, b).to_dict()))
    assert told["separating"] == expected["separating"] and told["sides"] == expected["sides"]
    assert [link["contributions"] for link in told["chain"]] == [
        link["contributions"] for link in expected["chain"]
    ]
    assert told["chain"][0]["contributions"]
    assert (
        "they would part at min_match_probability"
        in CliRunner().invoke(main, ["explain", str(folder), a, b]).stdout
    )


def test_an_explanation_is_plain_json() -> None:
    found = explain(mentions_of(["e", "e", "e"]), pairs_of([(0, 1, 0.9), (1, 2, 0.5)]), "a0", "a2")
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert [link["probability"] for link in data["chain"]] == [0.9, 0.5]
    assert data["weakest"]["probability"] == 0.5 and data["chain"][0]["rescored_logit"] is None
