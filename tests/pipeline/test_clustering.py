"""The clusterers against dense and naive references, and what must hold for every partition."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from importlib.util import find_spec

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from blocking import merging, vectors
from pipeline.clustering import (
    CLUSTERERS,
    KMEANS,
    ClusteringSettings,
    Clusters,
    ConstraintConflictError,
    Constraints,
    by_component,
    must_groups,
    set_siblings_apart,
    within_reach,
)
from pipeline.clustering import cluster as cluster_items
from pipeline.clustering import linkage as linkage_module
from pipeline.clustering.graph import Graph, canonical
from pipeline.clustering.linkage import average_linkage
from pipeline.clustering.settings import Missing
from pipeline.errors import AffilError, UsageError

NO_GUARD = ClusteringSettings(chain_guard=False)
needs_hdbscan = pytest.mark.skipif(
    find_spec("hdbscan") is None, reason="the hdbscan package is not installed"
)
every_clusterer = pytest.mark.parametrize(
    "clusterer",
    [
        pytest.param(name, marks=needs_hdbscan if name == "hdbscan" else ())
        for name in CLUSTERERS
        if name != KMEANS
    ],
)
seeds = st.integers(0, 2**32 - 1)
quick = settings(max_examples=40, deadline=None)


@dataclass(frozen=True)
class Pairs:
    n: int
    left: np.ndarray
    right: np.ndarray
    probability: np.ndarray

    def cluster(self, settings: ClusteringSettings | None = None, **options: object) -> Clusters:
        """By plain average linkage where no settings are given: missing pairs count in full, a cut at .5."""
        settings = settings or ClusteringSettings(
            min_match_probability=0.5, missing_pair_weight=1.0, missing_pairs_per_item=0
        )
        return cluster_items(self.n, self.left, self.right, self.probability, settings, **options)

    def dense(self) -> np.ndarray:
        matrix = np.full((self.n, self.n), np.nan)
        matrix[self.left, self.right] = matrix[self.right, self.left] = self.probability
        return matrix


def random_pairs(seed: int, density: float | None = None, n: int | None = None) -> Pairs:
    """Distinct probabilities: tie-free almost surely."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 40)) if n is None else n
    density = float(rng.uniform(0.05, 1.0)) if density is None else density
    left, right = np.triu_indices(n, 1)
    is_kept = rng.random(len(left)) < density
    left, right = left[is_kept].astype(np.int64), right[is_kept].astype(np.int64)
    return Pairs(n, left, right, rng.random(len(left)))


def clique(n: int, probability: float) -> Pairs:
    left, right = np.triu_indices(n, 1)
    return Pairs(n, left.astype(np.int64), right.astype(np.int64), np.full(len(left), probability))


def pairs_of(n: int, *edges: tuple[int, int, float]) -> Pairs:
    left, right, probability = zip(*edges, strict=True) if edges else ((), (), ())
    return Pairs(n, np.array(left, np.int64), np.array(right, np.int64), np.array(probability, float))


def links(must: list[tuple[int, int]] = (), cannot: list[tuple[int, int]] = ()) -> Constraints:  # type: ignore[assignment]
    must_array = np.array(must, np.int64).reshape(-1, 2)
    cannot_array = np.array(cannot, np.int64).reshape(-1, 2)
    return Constraints(must_array[:, 0], must_array[:, 1], cannot_array[:, 0], cannot_array[:, 1])


def random_links(seed: int, n: int) -> Constraints:
    """A few must-links and cannot-links that do not contradict each other."""
    rng = np.random.default_rng(seed)
    must = rng.integers(0, n, (int(rng.integers(0, 4)), 2))
    group = np.arange(n)
    for a, b in must:
        group[group == group[a]] = group[b]
    cannot = rng.integers(0, n, (int(rng.integers(0, 6)), 2))
    cannot = cannot[group[cannot[:, 0]] != group[cannot[:, 1]]]
    return Constraints(must[:, 0], must[:, 1], cannot[:, 0], cannot[:, 1])


def naive_average(
    pairs: Pairs, settings: ClusteringSettings, constraints: Constraints, sizes: np.ndarray | None = None
) -> list[int]:
    """One merge at a time over all pairs of clusters; every mean from the definition."""
    graph = nx.Graph(zip(constraints.must_left.tolist(), constraints.must_right.tolist(), strict=True))
    graph.add_nodes_from(range(pairs.n))
    nodes = [sorted(members) for members in nx.connected_components(graph)]
    weight = [1.0 if sizes is None else float(sizes[members].sum()) for members in nodes]
    dense = pairs.dense()
    cannot = set(zip(constraints.cannot_left.tolist(), constraints.cannot_right.tolist(), strict=True))
    cannot |= {(b, a) for a, b in cannot}

    def mean(one: list[int], other: list[int]) -> float:
        total = pair_weight = 0.0
        for a in one:
            for b in other:
                if any((x, y) in cannot for x in nodes[a] for y in nodes[b]):
                    return -1.0
                block = dense[np.ix_(nodes[a], nodes[b])]
                is_missing = bool(np.isnan(block).all())
                value = settings.missing_pair_probability if is_missing else float(np.nanmean(block))
                w = weight[a] * weight[b] * (settings.missing_pair_weight if is_missing else 1.0)
                total, pair_weight = total + w * value, pair_weight + w
        return total / pair_weight if pair_weight else -1.0

    clusters = [[i] for i in range(len(nodes))]
    while len(clusters) > 1:
        best, i, j = max(
            (mean(clusters[i], clusters[j]), i, j) for j in range(len(clusters)) for i in range(j)
        )
        if best < settings.min_match_probability:
            break
        clusters[i] += clusters.pop(j)
    label = np.empty(pairs.n, np.int64)
    for number, members in enumerate(clusters):
        for node in members:
            label[nodes[node]] = number
    return canonical(label).tolist()


def refines(fine: np.ndarray, coarse: np.ndarray) -> bool:
    return len(np.unique(np.column_stack([fine, coarse]), axis=0)) == len(np.unique(fine))


# ------------------------------------------------------------------------------------------------ references


@quick
@given(seeds, st.floats(0.1, 0.9))
def test_average_equals_dense_average_linkage(seed: int, threshold: float) -> None:
    pairs = random_pairs(seed)
    distance = 1.0 - np.nan_to_num(pairs.dense(), nan=0.0)
    np.fill_diagonal(distance, 0.0)
    tree = linkage(squareform(distance, checks=False), "average")
    expected = canonical(fcluster(tree, 1.0 - threshold, "distance").astype(np.int64))
    found = pairs.cluster(
        ClusteringSettings(min_match_probability=threshold, missing_pair_weight=1.0, missing_pairs_per_item=0)
    )
    assert found.label.tolist() == expected.tolist()


@settings(max_examples=60, deadline=None)
@given(seeds, st.sampled_from([(0.0, 1.0), (0.2, 1.0), (0.0, 0.3), (0.1, 0.05), (0.0, 0.0)]), st.booleans())
def test_average_equals_naive_reference_with_constraints_weights_and_missing_pairs(
    seed: int, missing: tuple[float, float], is_weighted: bool
) -> None:
    pairs = random_pairs(seed, n=2 + seed % 9)
    constraints = random_links(seed, pairs.n)
    sizes = np.random.default_rng(seed).integers(1, 9, pairs.n) if is_weighted else None
    chosen = ClusteringSettings(
        min_match_probability=0.35, missing_pair_probability=missing[0], missing_pair_weight=missing[1]
    )
    found = pairs.cluster(chosen, constraints=constraints, sizes=sizes)
    assert found.label.tolist() == naive_average(pairs, chosen, constraints, sizes)


@every_clusterer
@settings(max_examples=60, deadline=None)
@given(seeds)
def test_identities_are_what_links_between_all_pairs_would_say(clusterer: str, seed: int) -> None:
    pairs = random_pairs(seed, n=3 + seed % 9)
    rng = np.random.default_rng(seed)
    named = np.unique(rng.integers(0, pairs.n, int(rng.integers(1, 7))))
    identity = rng.integers(0, 3, len(named))
    both = [(a, b) for n, a in enumerate(named) for b in named[n + 1 :]]
    number = dict(zip(named.tolist(), identity.tolist(), strict=True))
    must = [p for p in both if number[p[0]] == number[p[1]]]
    spelt_out = links(must, [p for p in both if p not in must])
    none = np.empty(0, np.int64)
    short = Constraints(none, none, none, none, named, identity)
    chosen = ClusteringSettings(clusterer=clusterer, min_match_probability=0.3)
    found = pairs.cluster(chosen, constraints=short)
    assert found.label.tolist() == pairs.cluster(chosen, constraints=spelt_out).label.tolist()
    for a, b in both:
        assert (found.label[a] == found.label[b]) == (number[a] == number[b])
        assert short.are_two(int(a), int(b)) == (number[a] != number[b])


def test_two_identities_joined_by_must_links_are_a_conflict_with_its_chain() -> None:
    ends = np.array([0, 3])
    held = links([(0, 1), (1, 2), (2, 3)]) + Constraints(*[np.empty(0, np.int64)] * 4, ends, np.array([5, 6]))
    with pytest.raises(ConstraintConflictError) as refused:
        must_groups(4, held)
    assert refused.value.chain == (0, 1, 2, 3)
    with pytest.raises(UsageError, match="one identity each"):
        Constraints(*[np.empty(0, np.int64)] * 4, ends, np.array([5]))


@quick
@given(seeds, st.floats(0.1, 1.0))
def test_components_equal_networkx(seed: int, threshold: float) -> None:
    pairs = random_pairs(seed, density=0.1)
    graph = nx.Graph()
    graph.add_nodes_from(range(pairs.n))
    is_near = pairs.probability >= threshold
    graph.add_edges_from(zip(pairs.left[is_near].tolist(), pairs.right[is_near].tolist(), strict=True))
    expected = sorted(sorted(members) for members in nx.connected_components(graph))
    found = pairs.cluster(replace(NO_GUARD, clusterer="components", min_match_probability=threshold))
    assert [np.flatnonzero(found.label == k).tolist() for k in range(found.n_clusters)] == expected
    assert found.n_components == len(expected)
    assert found.largest_component == found.largest_cluster == max(map(len, expected))


@needs_hdbscan
@quick
@given(seeds, st.integers(2, 4), st.integers(2, 4))
def test_hdbscan_equals_the_package_on_complete_blocks(
    seed: int, min_cluster_size: int, samples: int
) -> None:
    import hdbscan

    rng = np.random.default_rng(seed)
    block = np.repeat(np.arange(3), rng.integers(4, 14, 3))
    clump = rng.integers(0, 2, len(block))
    points = rng.random((len(block), 2)) * 0.4 + clump[:, None]
    distance = np.clip(np.linalg.norm(points[:, None] - points[None], axis=2) / 3, 0.01, 0.5)
    np.fill_diagonal(distance, 0.0)
    left, right = (side.astype(np.int64) for side in np.nonzero(np.triu(block[:, None] == block[None], 1)))
    pairs = Pairs(len(block), left, right, 1.0 - distance[left, right])
    chosen = replace(NO_GUARD, clusterer="hdbscan", min_cluster_size=min_cluster_size, min_samples=samples)
    dense = np.where(block[:, None] == block[None], distance, 2.0)
    core = np.sort(dense, axis=1)[:, samples - 1]
    # The package is given the reachability itself, since it breaks the ties in it by number.
    reach = np.maximum(dense, np.maximum(core[:, None], core[None])) + 1e-6 * dense
    np.fill_diagonal(reach, 0.0)
    reference = hdbscan.HDBSCAN(min_cluster_size, min_samples=1, metric="precomputed").fit(reach).labels_
    expected = np.where(reference < 0, len(block) + np.arange(len(block)), reference)
    assert pairs.cluster(chosen).label.tolist() == canonical(expected).tolist()


# ------------------------------------------------------------------------------------------------ properties


@every_clusterer
@quick
@given(seed=seeds)
def test_partition_and_constraints_hold(clusterer: str, seed: int) -> None:
    pairs = random_pairs(seed)
    constraints = random_links(seed, pairs.n)
    chosen = ClusteringSettings(clusterer=clusterer, min_match_probability=0.3)
    found = pairs.cluster(chosen, constraints=constraints)
    assert found.label.tolist() == canonical(found.label).tolist()
    assert found.n_items.sum() == len(found) == pairs.n
    assert np.array_equal(found.label[constraints.must_left], found.label[constraints.must_right])
    assert not np.any(found.label[constraints.cannot_left] == found.label[constraints.cannot_right])


@every_clusterer
@quick
@given(seed=seeds)
def test_order_of_pairs_and_items_does_not_matter(clusterer: str, seed: int) -> None:
    pairs = random_pairs(seed)
    chosen = ClusteringSettings(clusterer=clusterer, min_match_probability=0.3)
    found = pairs.cluster(chosen)
    rng = np.random.default_rng(seed)
    order, number = rng.permutation(len(pairs.left)), rng.permutation(pairs.n)
    left, right = number[pairs.left[order]], number[pairs.right[order]]
    moved = Pairs(pairs.n, np.minimum(left, right), np.maximum(left, right), pairs.probability[order])
    again = moved.cluster(chosen)
    assert canonical(again.label[number]).tolist() == found.label.tolist()
    assert (again.n_components, again.largest_component) == (found.n_components, found.largest_component)


@pytest.mark.parametrize(("clusterer", "density"), [("components", None), ("average", 1.0)])
@quick
@given(seed=seeds)
def test_clusters_as_must_links_give_the_same_clusters(
    clusterer: str, density: float | None, seed: int
) -> None:
    """Average linkage: with all pairs observed; a contracted group forgets which pairs were missing."""
    pairs = random_pairs(seed, density)
    chosen = replace(NO_GUARD, clusterer=clusterer)
    found = pairs.cluster(chosen)
    first = np.unique(found.label, return_index=True)[1][found.label]
    is_other = first != np.arange(pairs.n)
    must = links(np.column_stack([first, np.arange(pairs.n)])[is_other])
    # A group counts the sum of its members' sizes.
    again = pairs.cluster(chosen, constraints=must, sizes=np.ones(pairs.n))
    assert again.label.tolist() == found.label.tolist()


@pytest.mark.parametrize("clusterer", ["average", "components"])
@quick
@given(seed=seeds, low=st.floats(0.05, 0.95), high=st.floats(0.05, 0.95))
def test_a_higher_threshold_only_splits(clusterer: str, seed: int, low: float, high: float) -> None:
    low, high = sorted((low, high))
    pairs = random_pairs(seed)
    coarse = pairs.cluster(replace(NO_GUARD, clusterer=clusterer, min_match_probability=low))
    fine = pairs.cluster(replace(NO_GUARD, clusterer=clusterer, min_match_probability=high))
    assert refines(fine.label, coarse.label)


@needs_hdbscan
@quick
@given(seeds)
def test_hdbscan_never_crosses_components(seed: int) -> None:
    pairs = random_pairs(seed, density=0.1)
    fine = pairs.cluster(replace(NO_GUARD, clusterer="hdbscan", min_match_probability=0.4))
    coarse = pairs.cluster(replace(NO_GUARD, clusterer="components", min_match_probability=0.4))
    assert refines(fine.label, coarse.label)


# ---------------------------------------------------------------------------------------------- small cases


@every_clusterer
@pytest.mark.parametrize("n", [0, 1, 5])
def test_no_pairs(clusterer: str, n: int) -> None:
    found = pairs_of(n).cluster(ClusteringSettings(clusterer=clusterer))
    assert found.label.tolist() == list(range(n))
    assert (found.n_clusters, found.n_components) == (n, n)
    assert found.largest_cluster == found.largest_component == min(n, 1)


@every_clusterer
@pytest.mark.parametrize("probability", [0.5, 0.7, 1.0, np.float32(0.7)])
@pytest.mark.parametrize("n", [2, 3, 7, 40])
def test_all_equal_join_at_their_own_probability(clusterer: str, probability: float, n: int) -> None:
    chosen = ClusteringSettings(clusterer=clusterer, min_match_probability=round(float(probability), 6))
    found = clique(n, probability).cluster(chosen)
    assert found.n_clusters == 1
    assert found.n_split_components == 0


@every_clusterer
def test_all_zero_stay_apart(clusterer: str) -> None:
    assert clique(6, 0.0).cluster(ClusteringSettings(clusterer=clusterer)).n_clusters == 6


def test_a_clique_of_equals_merges_in_few_rounds() -> None:
    assert clique(400, 1.0).cluster().n_rounds < 60


@needs_hdbscan
def test_hdbscan_separates_two_dense_groups_and_leaves_noise_alone() -> None:
    tight = [(a, b, 0.97) for a in range(4) for b in range(a + 1, 4)]
    tight += [(a, b, 0.97) for a in range(4, 8) for b in range(a + 1, 8)]
    pairs = pairs_of(9, *tight, (3, 4, 0.55), (7, 8, 0.55))
    found = pairs.cluster(replace(NO_GUARD, clusterer="hdbscan"))
    assert found.label.tolist() == [0] * 4 + [1] * 4 + [2]
    assert found.largest_component == 9


def test_height_is_the_mean_of_the_first_merge() -> None:
    found = pairs_of(5, (0, 1, 0.9), (0, 2, 0.7), (1, 2, 0.5), (2, 3, 0.4)).cluster()
    assert found.label.tolist() == [0, 0, 0, 1, 2]
    np.testing.assert_allclose(found.height, [0.9, 0.9, 0.6, np.nan, np.nan])
    assert found.n_rounds == 2


def test_missing_pairs_count_less_with_a_lower_weight() -> None:
    path = pairs_of(3, (0, 1, 0.9), (1, 2, 0.8))
    assert path.cluster().label.tolist() == [0, 0, 1]
    assert path.cluster(ClusteringSettings(missing_pair_weight=0.5)).n_clusters == 1


def test_progress_ends_at_the_total() -> None:
    calls: list[tuple[int, int]] = []
    clique(10, 0.9).cluster(on_progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (45, 45)
    assert calls == sorted(calls)


@quick
@given(
    seed=seeds, n_edges=st.integers(0, 120), missing=st.sampled_from([Missing(), Missing(0.2, weight=0.3)])
)
def test_components_linked_in_parts_give_what_the_whole_graph_gives(
    seed: int, n_edges: int, missing: Missing
) -> None:
    """Also where means tie, which is broken by the numbers that nodes have in the whole graph."""
    random = np.random.default_rng(seed)
    ends = np.sort(random.integers(0, 60, (n_edges, 2)), axis=1)
    left, right = np.unique(ends[ends[:, 0] < ends[:, 1]], axis=0).reshape(-1, 2).T
    probability = random.choice([0.4, 0.6, 0.8, 1.0, -np.inf], len(left), p=[0.2, 0.3, 0.3, 0.15, 0.05])
    identity = np.where(random.random(60) < 0.1, random.integers(0, 9, 60), -1)
    graph = Graph(np.ones(60, np.int64), np.ones(60), left, right, probability, identity)
    whole = average_linkage(graph, 0.5, missing)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(by_component, "_EDGES", 5)
        parts = by_component.linked_by_component(graph, 0.5, missing)
    np.testing.assert_array_equal(parts.label, whole.label)
    np.testing.assert_array_equal(parts.height, whole.height)
    assert parts.n_rounds == whole.n_rounds


# ----------------------------------------------------------------------------------------------- chain guard


def chain() -> Pairs:
    """Two cliques of 4 joined by one wrong pair; the other pairs between them were compared and refused."""
    inside = [(a, b, 0.9) for a in range(8) for b in range(a + 1, 8) if (a < 4) == (b < 4)]
    return pairs_of(
        8, *inside, *[(a, b, 0.9 if (a, b) == (3, 4) else 0.02) for a in range(4) for b in range(4, 8)]
    )


def test_guard_splits_a_cluster_with_a_low_mean() -> None:
    chosen = ClusteringSettings(clusterer="components", min_match_probability=0.45)
    found = chain().cluster(chosen)
    assert found.label.tolist() == [0] * 4 + [1] * 4
    assert (found.largest_component, found.n_components, found.n_split_components) == (8, 1, 1)
    loose = replace(chosen, min_mean_probability=0.3)
    for without in replace(chosen, chain_guard=False), loose:
        assert chain().cluster(without).n_clusters == 1


def test_guard_splits_a_component_above_the_limit() -> None:
    pairs = pairs_of(30, *((i, i + 1, 0.9) for i in range(29)))
    chosen = ClusteringSettings(clusterer="components", max_component=10)
    found = pairs.cluster(chosen)
    assert found.largest_cluster < 10 < found.largest_component == 30
    assert pairs.cluster(replace(chosen, max_component=30)).n_clusters == 1
    assert clique(11, 0.9).cluster(chosen).n_split_components == 0
    assert pairs.cluster(replace(chosen, max_component=0)).n_clusters == 1


# ----------------------------------------------------------------------------------------------- constraints


@every_clusterer
def test_must_links_join_what_no_pair_joins(clusterer: str) -> None:
    found = pairs_of(5).cluster(ClusteringSettings(clusterer=clusterer), constraints=links([(4, 1), (1, 2)]))
    assert found.label.tolist() == [0, 1, 1, 2, 1]


@every_clusterer
def test_cannot_links_hold_between_whole_groups(clusterer: str) -> None:
    constraints = links(must=[(0, 1), (4, 5)], cannot=[(5, 1)])
    found = clique(6, 0.95).cluster(ClusteringSettings(clusterer=clusterer), constraints=constraints)
    assert found.label[0] == found.label[1] != found.label[4] == found.label[5]
    assert found.n_clusters < 4


def test_contracted_edge_is_the_mean_of_observed_pairs() -> None:
    pairs = pairs_of(3, (0, 2, 0.9), (1, 2, 0.3))
    assert pairs.cluster(constraints=links([(0, 1)])).n_clusters == 1
    assert pairs_of(3, (0, 2, 0.9), (1, 2, 0.05)).cluster(constraints=links([(0, 1)])).n_clusters == 2


def test_sizes_weigh_the_mean() -> None:
    pairs = pairs_of(3, (0, 1, 0.9), (0, 2, 0.2), (1, 2, 0.7))
    assert pairs.cluster().label.tolist() == [0, 0, 1]
    assert pairs.cluster(sizes=np.array([1, 9, 1])).n_clusters == 1


def test_a_conflict_names_the_items_and_the_chain() -> None:
    constraints = links(must=[(2, 7), (7, 5), (5, 9), (2, 3)], cannot=[(9, 2)])
    with pytest.raises(ConstraintConflictError, match=r"items 9 and 2 .*9 – 5 – 7 – 2") as caught:
        pairs_of(10).cluster(constraints=constraints)
    assert caught.value.chain == (9, 5, 7, 2)


def test_constraints_add_up() -> None:
    both = links(must=[(0, 1)]) + links(must=[(2, 3)], cannot=[(0, 2)]) + Constraints.none()
    assert clique(4, 0.9).cluster(constraints=both).label.tolist() == [0, 0, 1, 1]


def test_malformed_constraints_are_refused() -> None:
    with pytest.raises(UsageError, match="item 3 is cannot-linked to itself"):
        links(cannot=[(3, 3)])
    with pytest.raises(UsageError, match="0 or more"):
        links(must=[(-1, 3)])
    with pytest.raises(UsageError, match="one length"):
        Constraints(np.array([1]), np.empty(0, int), np.empty(0, int), np.empty(0, int))
    with pytest.raises(AffilError, match="name item 8, but there are 3"):
        pairs_of(3).cluster(constraints=links(must=[(1, 8)]))


# ------------------------------------------------------------------------------------------ requests refused


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("clusterer", "ward", "'ward'; choose one of average, components, hdbscan"),
        ("min_match_probability", 0.0, "above 0"),
        ("min_match_probability", 50.0, "50.0"),
        ("missing_pair_probability", 0.5, "below min_match_probability"),
        ("missing_pair_weight", 2.0, r"\[0, 1\], got 2.0"),
        ("min_mean_probability", -0.1, "-0.1"),
        ("min_cluster_size", 1, "2 or more, got 1"),
        ("min_samples", 0, "1 or more"),
        ("max_component", -1, "0 or more"),
    ],
)
def test_bad_settings_are_refused(setting: str, value: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ClusteringSettings(**{setting: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ([(1, 0, 0.5)], "left < right"),
        ([(0, 3, 0.5)], "< 3"),
        ([(0, 1, 1.5)], "calibrate"),
        ([(0, 1, float("nan"))], "calibrate"),
        ([(0, 1, 0.5), (0, 1, 0.6)], "each pair once"),
        ([(0, 1, 0.5), (1, 2, 0.5), (0, 1, 0.6)], "each pair once"),
    ],
)
def test_malformed_pairs_are_refused(edges: list[tuple[int, int, float]], message: str) -> None:
    with pytest.raises(AffilError, match=message):
        pairs_of(3, *edges).cluster()


@pytest.mark.parametrize("sizes", [[1, 1], [1, 0, 1], [1, np.inf, 1]])
def test_malformed_sizes_are_refused(sizes: list[float]) -> None:
    with pytest.raises(AffilError, match="sizes"):
        pairs_of(3).cluster(sizes=np.array(sizes))


def test_clusters_refuse_labels_that_are_not_canonical() -> None:
    for label in [1, 0], [0, 2], [-1, 0]:
        with pytest.raises(AffilError, match="smallest member"):
            Clusters(np.array(label), n_components=2, largest_component=1)


def test_a_missing_hdbscan_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hdbscan._hdbscan_linkage", None)
    with pytest.raises(AffilError, match=r"affiliation-resolver\[cpu\]"):
        clique(3, 0.9).cluster(ClusteringSettings(clusterer="hdbscan"))


def test_a_small_part_joins_a_large_institution_although_it_never_met_most_of_it():
    # 300 items that all know each other; ten more know each other, and 30 of the 300 each.
    rng = np.random.default_rng(0)
    edges = {(i, j) for part in (range(300), range(300, 310)) for i in part for j in part if i < j}
    edges |= {(int(i), j) for j in range(300, 310) for i in rng.choice(300, 30, replace=False)}
    left, right = np.array(sorted(edges), np.int64).T
    probability = np.where((left < 300) & (right >= 300), 0.7, 0.95)
    found = [
        cluster_items(310, left, right, probability, ClusteringSettings(missing_pairs_per_item=n)).n_clusters
        for n in (0, 30)
    ]
    assert found == [2, 1]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 500), st.integers(1, 500), st.floats(0, 1), st.integers(0, 40))
def test_missing_pairs_weigh_no_more_than_all_and_no_less_than_none(size, other, share, per_item):
    observed = int(share * size * other)
    missing = float(Missing(0.0, 0.2, per_item).weight_of(size, other, observed))
    assert 0 <= missing <= 0.2 * (size * other - observed) + 1e-9
    if not per_item or max(size, other) <= per_item:
        assert missing == pytest.approx(0.2 * (size * other - observed))
    else:
        assert missing <= 0.2 * per_item * min(size, other) + 1e-9


@every_clusterer
@settings(max_examples=80, deadline=None)
@given(seed=seeds, threshold=st.floats(0.1, 0.9), is_linked=st.booleans())
def test_pairs_out_of_reach_decide_nothing(
    clusterer: str, seed: int, threshold: float, is_linked: bool
) -> None:
    pairs = random_pairs(seed, density=0.15)
    constraints = random_links(seed, pairs.n) if is_linked else Constraints.none()
    source = np.sort(np.random.default_rng(seed).integers(0, pairs.n, pairs.n))
    chosen = ClusteringSettings(clusterer=clusterer, min_match_probability=threshold)

    def clustered(kept: np.ndarray) -> Clusters:
        evidence = set_siblings_apart(*(pairs.left[kept], pairs.right[kept], pairs.probability[kept]), source)
        return cluster_items(pairs.n, *evidence, chosen, constraints=constraints)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vectors, "AT_ONCE", 7)
        near = within_reach(
            *(pairs.n, pairs.left, pairs.right, pairs.probability),
            min_probability=threshold,
            constraints=constraints,
        )
    whole, part = clustered(np.ones(len(pairs.left), bool)), clustered(near)
    assert np.array_equal(whole.label, part.label)
    assert (whole.height is None) == (part.height is None)
    if whole.height is not None and part.height is not None:
        assert np.array_equal(whole.height, part.height, equal_nan=True)
    assert replace(whole, label=part.label, height=part.height) == part


def test_what_is_out_of_reach_is_left_out() -> None:
    pairs = pairs_of(6, (0, 1, 0.9), (0, 2, 0.1), (1, 2, 0.1), (2, 3, 0.8), (4, 5, 0.2))
    asked = pairs.n, pairs.left, pairs.right, pairs.probability
    assert within_reach(*asked, min_probability=0.5).nonzero()[0].tolist() == [0, 3]
    must = links(must=[(1, 3)])
    assert within_reach(*asked, min_probability=0.5, constraints=must).tolist() == [True] * 4 + [False]


@every_clusterer
@settings(max_examples=40, deadline=None)
@given(seed=seeds, n_edges=st.integers(1, 20))
def test_small_lots_give_the_same_to_the_last_bit(clusterer: str, seed: int, n_edges: int) -> None:
    pairs = random_pairs(seed, density=0.4)
    pairs = replace(pairs, probability=np.round(pairs.probability, 1))
    constraints = random_links(seed, pairs.n)
    source = np.sort(np.random.default_rng(seed).integers(0, pairs.n, pairs.n))
    chosen = ClusteringSettings(clusterer=clusterer, min_match_probability=0.3)

    def clustered() -> tuple[list[np.ndarray], Clusters]:
        evidence = set_siblings_apart(pairs.left, pairs.right, pairs.probability, source)
        return list(evidence), cluster_items(pairs.n, *evidence, chosen, constraints=constraints)

    evidence, whole = clustered()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vectors, "AT_ONCE", 5)
        patch.setattr(vectors, "MAPPED_BYTES", 30)
        for module in (linkage_module, merging):
            patch.setattr(module, "AT_ONCE", 5)
        patch.setattr(linkage_module, "_EDGES", n_edges)
        in_lots, parts = clustered()
    assert all(np.array_equal(*columns) for columns in zip(evidence, in_lots, strict=True))
    assert np.array_equal(whole.label, parts.label)
    if whole.height is not None and parts.height is not None:
        assert np.array_equal(whole.height, parts.height, equal_nan=True)
    assert replace(whole, label=parts.label, height=parts.height) == parts
