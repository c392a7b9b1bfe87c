import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocking import analysis
from blocking.errors import BlockingError
from blocking.pairs import CandidatePairs


def candidates(pairs, similarities=None):
    pairs = sorted(set(pairs))
    left, right = (
        (np.array(side, np.int64) for side in zip(*pairs, strict=True)) if pairs else (np.empty(0, int),) * 2
    )
    similarity = np.array(similarities if similarities is not None else [0.5] * len(pairs), np.float32)
    return CandidatePairs(left, right, similarity, np.ones(len(pairs), np.uint8))


# Clusters {0,1,2,3} and {4,5}; item 6 alone; 7 and 8 unknown.
LABELS = [0, 0, 0, 0, 1, 1, 2, -1, -1]


def test_figures_worked_by_hand():
    pairs = candidates([(0, 1), (1, 2), (2, 4), (3, 6), (7, 8)])
    assert analysis.pair_completeness(LABELS, pairs) == pytest.approx(2 / 7)
    assert analysis.reduction_ratio(9, pairs) == pytest.approx(1 - 5 / 36)
    # Items 0-2 reach 3 of 4, item 3 one of 4, 4 and 5 one of 2 each (2-4 is no help), 6 all.
    assert analysis.b_cubed_recall_ceiling(LABELS, pairs) == pytest.approx(
        (3 * 0.75 + 0.25 + 2 * 0.5 + 1) / 7
    )
    assert analysis.component_sizes(9, pairs).tolist() == [4, 2, 2, 1]
    whole = analysis.analyse(LABELS, pairs)
    assert (whole.n_items, whole.n_pairs, whole.largest_components) == (9, 5, (4, 2, 2, 1))
    assert whole.pair_completeness == pytest.approx(2 / 7)


def test_recall_at_ranks_worked_by_hand():
    # Item 0 ranks 4 (.9), 1 (.8), 2 (.7); item 1: 0; item 2: 0; items 3 and 5 meet nobody; 4: 0, wrong.
    pairs = candidates([(0, 1), (0, 2), (0, 4)], [0.8, 0.7, 0.9])
    found = analysis.recall_at(LABELS, pairs, [1, 2, 3])
    assert found[1] == pytest.approx((0 + 1 + 1) / 6)
    assert found[2] == pytest.approx((1 / 2 + 1 / 2 + 1 / 2) / 6)
    assert found[3] == pytest.approx((2 / 3 + 1 / 3 + 1 / 3) / 6)


def test_nothing_to_find():
    none = CandidatePairs.empty()
    assert analysis.pair_completeness([], none) == 1
    assert analysis.pair_completeness([0, 1, -1], none) == 1
    assert analysis.b_cubed_recall_ceiling([], none) == 1
    assert analysis.b_cubed_recall_ceiling([3, 3], none) == 0.5
    assert analysis.reduction_ratio(1, none) == 0
    assert analysis.component_sizes(0, none).tolist() == []
    assert analysis.recall_at([0], none, [5]) == {5: 1.0}
    assert np.isnan(analysis.similarity_quantiles([0, 1], none, [0.5])).all()


def test_faults_of_the_caller():
    with pytest.raises(BlockingError, match="pairs name item 5, but there are 3 labels"):
        analysis.pair_completeness([0, 0, 0], candidates([(0, 5)]))
    with pytest.raises(BlockingError, match="ranks must be 1 or more"):
        analysis.recall_at([0], CandidatePairs.empty(), [0])
    with pytest.raises(BlockingError, match="same shape"):
        analysis.neighbour_overlap(np.zeros((2, 3), int), np.zeros((2, 4), int))


def test_key_blocks_and_overlap_and_quantiles():
    assert analysis.largest_key_blocks(["b", "a", "b", None, "", "a", "c", "b"], 2) == {"b": 3, "a": 2}
    assert analysis.neighbour_overlap(np.array([[3, 1, -1]]), np.array([[1, 2, -1]])) == 0.5
    pairs = candidates([(0, 1), (0, 4), (4, 5)], [0.2, 0.9, 0.4])
    assert analysis.similarity_quantiles(LABELS, pairs, [0, 0.5, 1]).tolist() == pytest.approx(
        [0.2, 0.3, 0.4]
    )


@given(
    st.lists(st.integers(-1, 4), min_size=1, max_size=25),
    st.sets(st.tuples(st.integers(0, 24), st.integers(0, 24)), max_size=60),
)
def test_ceiling_and_components_against_networkx(labels, edges):
    edges = [(a, b) for a, b in edges if a < b < len(labels)]
    pairs = candidates(edges)
    inside = nx.Graph()
    inside.add_nodes_from(range(len(labels)))
    inside.add_edges_from((a, b) for a, b in edges if labels[a] == labels[b] >= 0)
    shares = [
        len(nx.node_connected_component(inside, i)) / labels.count(label)
        for i, label in enumerate(labels)
        if label >= 0
    ]
    expected = np.mean(shares) if shares else 1.0
    assert analysis.b_cubed_recall_ceiling(labels, pairs) == pytest.approx(expected)
    graph = nx.Graph(edges)
    graph.add_nodes_from(range(len(labels)))
    sizes = sorted(map(len, nx.connected_components(graph)), reverse=True)
    assert analysis.component_sizes(len(labels), pairs).tolist() == sizes
