import json

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.explanation import explain, spanning_forest, weakest_links


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


def test_an_explanation_is_plain_json() -> None:
    found = explain(mentions_of(["e", "e", "e"]), pairs_of([(0, 1, 0.9), (1, 2, 0.5)]), "a0", "a2")
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert [link["probability"] for link in data["chain"]] == [0.9, 0.5]
    assert data["weakest"]["probability"] == 0.5 and data["chain"][0]["rescored_logit"] is None
