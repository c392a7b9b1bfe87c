"""k-means on vectors: known blobs, scikit-learn as the oracle, and what every partition must hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, silhouette_score

import pipeline
from blocking import BlockingSettings, block_in_detail
from pipeline.clustering import KMEANS, ClusteringSettings, Constraints, cluster, cluster_vectors, kmeans
from pipeline.clustering.graph import canonical
from pipeline.errors import AffilError, UsageError
from pipeline.report import RunTables, render_report

LABELS = {
    "machine": [
        "machine learning",
        "Machine-learning",
        "machine learning methods",
        "statistical machine learning",
    ],
    "graph": [
        "graph theory",
        "Graph Theory",
        "spectral graph theory",
        "graph theory (maths)",
        "theory of graphs",
    ],
    "polymer": ["polymer chemistry", "Polymer Chemistry", "polymers chemistry", "chemistry of polymers"],
}
seeds = st.integers(0, 2**32 - 1)
quick = settings(max_examples=25, deadline=None)


def asked(n_clusters: int | None = None, **more: int) -> ClusteringSettings:
    return ClusteringSettings(clusterer=KMEANS, n_clusters=n_clusters, **more)  # type: ignore[arg-type]


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def random_vectors(seed: int, n: int = 40) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(n, 5)))


def blobs(seed: int, n_blobs: int = 4, size: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Points around orthogonal directions, shuffled, and the direction of each."""
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.repeat(np.arange(n_blobs), size))
    return unit(np.eye(8)[truth] + rng.normal(scale=0.05, size=(len(truth), 8))), truth


def must(*links: tuple[int, int]) -> Constraints:
    left, right = np.array(links, np.int64).T
    return Constraints(left, right, np.empty(0, np.int64), np.empty(0, np.int64))


@quick
@given(seed=seeds, n_clusters=st.integers(1, 40))
def test_a_partition_into_as_many_clusters_as_asked(seed: int, n_clusters: int) -> None:
    found = cluster_vectors(random_vectors(seed), asked(n_clusters))
    assert found.n_clusters == n_clusters
    assert found.n_items.sum() == len(found) == 40
    assert found.label.tolist() == canonical(found.label).tolist()


@quick
@given(seed=seeds)
def test_order_of_items_does_not_matter(seed: int) -> None:
    vectors, order = random_vectors(seed), np.random.default_rng(seed).permutation(40)
    found, again = (cluster_vectors(v, asked(max_clusters=6)) for v in (vectors, vectors[order]))
    assert canonical(found.label[order]).tolist() == again.label.tolist()
    assert found.silhouette == again.silhouette


@quick
@given(seed=seeds, links=st.lists(st.tuples(st.integers(0, 39), st.integers(0, 39)), min_size=1, max_size=8))
def test_must_links_hold(seed: int, links: list[tuple[int, int]]) -> None:
    found = cluster_vectors(random_vectors(seed), asked(4), constraints=must(*links))
    assert found.n_clusters == 4
    assert all(found.label[a] == found.label[b] for a, b in links)


@pytest.mark.parametrize("seed", range(5))
def test_blobs_and_their_number_are_found(seed: int) -> None:
    vectors, truth = blobs(seed)
    assert adjusted_rand_score(truth, cluster_vectors(vectors, asked(4)).label) == 1.0
    found = cluster_vectors(vectors, asked(min_clusters=2, max_clusters=9))
    assert adjusted_rand_score(truth, found.label) == 1.0
    assert list(found.silhouette or ()) == [2, 3, 4, 5, 6, 7, 8, 9]


def test_the_curve_is_that_of_scikit_learn() -> None:
    vectors, _ = blobs(1, size=12)
    found = cluster_vectors(vectors, asked(min_clusters=3, max_clusters=8, cluster_step=2))
    assert found.silhouette is not None and list(found.silhouette) == [3, 5, 7]
    for n_clusters, value in found.silhouette.items():
        label = cluster_vectors(vectors, asked(n_clusters)).label
        assert value == pytest.approx(silhouette_score(vectors, label), abs=1e-5)
    # Within-cluster scatter no worse than that of plain k-means from many more starts.
    label = cluster_vectors(vectors, asked(5)).label
    scatter = sum(((v := vectors[label == c]) - v.mean(0)).__pow__(2).sum() for c in range(5))
    assert scatter <= KMeans(5, n_init=50, random_state=1).fit(vectors).inertia_ * 1.05


def test_a_silhouette_of_many_points_is_that_of_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, truth = blobs(2, size=100)
    noisy = np.where(np.arange(len(truth)) % 10 == 0, 0, truth)
    exact = kmeans.mean_silhouette(vectors, noisy)
    monkeypatch.setattr(kmeans, "MAX_SILHOUETTE_POINTS", 200)
    sampled = kmeans.mean_silhouette(vectors, noisy)
    assert sampled == kmeans.mean_silhouette(vectors, noisy) != exact
    assert sampled == pytest.approx(exact, abs=0.1)
    assert (
        kmeans.mean_silhouette(vectors[:3], np.arange(3)) == 0.0 == kmeans.mean_silhouette(vectors, truth * 0)
    )


def test_a_must_linked_group_weighs_what_its_members_weigh() -> None:
    """Three items linked as one node end where their mean pulls them: at the middle of all four."""
    vectors = unit(np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1], [0, 1], [0.8, 0.6]]))
    found = cluster_vectors(vectors, asked(2), constraints=must((0, 1), (1, 5)))
    assert found.label.tolist() == [0, 0, 1, 1, 1, 0]


def test_items_without_a_vector_stand_alone() -> None:
    vectors, _ = blobs(3, n_blobs=2, size=4)
    vectors[[2, 5]] = 0
    found = cluster_vectors(vectors, asked(2))
    assert found.n_clusters == 4
    assert np.bincount(found.label)[found.label[[2, 5]]].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("given_settings", "message"),
    [
        ({}, "needs either n_clusters, or max_clusters"),
        ({"n_clusters": 3, "max_clusters": 9}, "needs either n_clusters, or max_clusters"),
        ({"n_clusters": 0}, "n_clusters must be 1 or more, got 0"),
        ({"min_clusters": 1, "max_clusters": 9}, "min_clusters must be 2 or more, got 1"),
        ({"min_clusters": 9, "max_clusters": 3}, r"max_clusters must be at least min_clusters \(9\), got 3"),
        ({"max_clusters": 9, "cluster_step": 0}, "cluster_step must be 1 or more, got 0"),
        ({"clusterer": "average", "n_clusters": 9}, "n_clusters is for clusterer 'kmeans'; 'average' finds"),
    ],
)
def test_bad_settings_are_refused_in_one_line(given_settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        ClusteringSettings(**({"clusterer": KMEANS} | given_settings))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_more_clusters_than_vectors_are_refused() -> None:
    vectors = random_vectors(1, 3)[[0, 1, 2, 0, 1]]
    assert cluster_vectors(vectors, asked(3)).label.tolist() == [0, 1, 2, 0, 1]
    with pytest.raises(UsageError, match="n_clusters is 4, but only 3 different vectors"):
        cluster_vectors(vectors, asked(4))
    with pytest.raises(UsageError, match="max_clusters is 3, but only 3 different vectors"):
        cluster_vectors(vectors, asked(max_clusters=3))
    with pytest.raises(UsageError, match="n_clusters is 1, but only 0"):
        cluster_vectors(np.empty((0, 4), np.float32), asked(1))


def test_what_it_cannot_do_is_refused() -> None:
    none = np.empty(0, np.int64)
    with pytest.raises(UsageError, match="cannot keep items 0 and 2 apart"):
        cluster_vectors(
            random_vectors(1), asked(2), constraints=Constraints(none, none, np.array([0]), np.array([2]))
        )
    with pytest.raises(AffilError, match="name item 99, but there are 40"):
        cluster_vectors(random_vectors(1), asked(2), constraints=must((0, 99)))
    with pytest.raises(UsageError, match="looks at vectors, not at pairs"):
        cluster(2, none, none, np.empty(0), asked(2))


# ------------------------------------------------------------------------------------------------- whole runs


STRINGS = [string for group in LABELS.values() for string in group]
TRUTH = [name for name, group in LABELS.items() for _ in group]


def resolved(**clustering: object) -> pipeline.Resolution:
    settings = pipeline.Settings().with_values(clustering={"clusterer": KMEANS} | clustering)
    return pipeline.resolve(STRINGS, settings)


def page_of(found: pipeline.Resolution) -> str:
    return render_report(
        RunTables(found.mentions, found.institutions, found.pairs, found.set_aside, found.manifest)
    )


def test_a_vocabulary_is_grouped_and_its_curve_shown() -> None:
    found = resolved(max_clusters=6)
    entity = dict(zip(found.mentions["affiliation"], found.mentions["entity_id"], strict=True))
    assert adjusted_rand_score(TRUTH, [entity[s] for s in STRINGS]) == 1.0
    curve = found.manifest["silhouette"]
    assert [point["n_clusters"] for point in curve] == [2, 3, 4, 5, 6]
    assert max(curve, key=lambda point: point["silhouette"])["n_clusters"] == 3
    page = page_of(found)
    assert "How well each number of clusters" in page
    assert all(f"{point['silhouette']:.3f}" in page for point in curve)
    other = pipeline.resolve(STRINGS)
    assert other.manifest["silhouette"] == []
    assert "How well each number of clusters" not in page_of(other)


def test_every_text_has_the_vector_of_its_encoder() -> None:
    """Texts without an organisation too, which blocking leaves out: the vectors are encoded once or here."""
    found = block_in_detail(["deep learning", "", "deep nets", " "], settings=BlockingSettings())
    texts = ["deep learning", "neural networks", "deep nets", "neural networks"]
    assert np.array_equal(found.vectors_of(texts), found.encoder.encode(texts))


def test_a_run_of_k_means_has_no_threshold() -> None:
    found = resolved(n_clusters=2)
    assert found.counts["institutions"] == 2
    with pytest.raises(UsageError, match="no threshold"):
        found.rethreshold(0.5)
