"""Candidates: new mentions and those of an index in, the pairs between them worth comparing out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from blocking import BlockingSettings, CandidatePairs, Encoder
from blocking.blocks import distinct_texts, unite
from blocking.keys import ranges
from blocking.neighbours import has_faiss, import_faiss, is_by_faiss, nearest_rows
from blocking.pairs import Float32s
from blocking.vectors import encoded
from pipeline.index.codes import Codes
from pipeline.index.columns import KEY_RULES, VIEWS
from pipeline.index.store import Store
from pipeline.records import Int64s
from pipeline.writing import atomic_path

#: Texts of a view from which a graph of them is made and asked, rather than every text: the search of a
#: thousand texts among 30,000 of 512 dimensions took .73 s on two cores, in the graph .14 s.
GRAPH_ROWS = 5_000
#: Edges a node, breadth while building and while searching of that graph.
_EDGES, _EF_CONSTRUCTION, _EF_SEARCH = 16, 80, 64


@dataclass(frozen=True)
class Breadth:
    """How many candidates a new mention has at most.

    Attributes:
        n_neighbours: nearest texts in each view, by rule.
        max_same_text: mentions of the nearest text; fewer of the next ones.
        max_block: mentions that share a key.
        is_of_all: look at every text, or its codes, whether or not there is a graph.
        min_similarity: texts below this cosine are no neighbours, nor those below that of the settings.
    """

    n_neighbours: dict[str, int]
    max_same_text: int
    max_block: int
    is_of_all: bool = False
    min_similarity: float = -1.0


@dataclass(frozen=True)
class Proposed:
    """A rule's pairs of a new mention and one of the index."""

    rule: str
    new: Int64s
    old: Int64s


@dataclass(frozen=True)
class Candidates:
    """What looks for candidates in an index."""

    store: Store
    encoder: Encoder
    settings: BlockingSettings

    def of(
        self,
        views: dict[str, list[str]],
        keys: dict[str, list[list[int]]],
        breadth: Breadth,
        encoder: Encoder | None = None,
    ) -> CandidatePairs:
        """Texts and keys (numbers) of new mentions to pairs: `left` a new mention, `right` one of the index.

        Mentions of the index count on from the new ones. `similarity` is the cosine in the first view. The
        texts are encoded by `encoder`, where one is given that stands for that of the index.
        """
        n_new = len(next(iter(views.values())))
        proposed, vectors = [], {}
        for rule, column in views.items():
            texts = distinct_texts(column)
            vectors[rule] = texts.number, encoded(encoder or self.encoder, texts.texts)
            found = self._nearest(rule, vectors[rule][1], breadth)
            proposed.append(self._by_text(rule, texts.number, found, breadth.max_same_text))
        proposed += [self._by_key(rule, keys[rule], breadth.max_block) for rule in KEY_RULES if rule in keys]
        n_items = n_new + self.n_mentions
        pairs = [(p.rule, p.new * n_items + p.old + n_new) for p in proposed]
        first = next(iter(views))
        # Vectors of the new texts, then those of the index that some pair needs.
        used = np.unique(np.concatenate([p.old for p in proposed]))
        text = self.store.array(f"text_{first}")[used]
        own, again = np.unique(text[text >= 0], return_inverse=True)
        number, fresh = vectors[first]
        row = np.full(self.n_mentions + n_new, -1, np.int64)
        row[:n_new] = number
        row[n_new + used[text >= 0]] = len(fresh) + again
        both = np.concatenate([fresh, self.vectors(first)[own].astype(np.float32)])
        return unite(pairs, n_items, row, both)

    @property
    def n_mentions(self) -> int:
        """Mentions of the index."""
        return int(self.store.head["n_mentions"])

    def vectors(self, rule: str) -> npt.NDArray[np.float16]:
        """Vectors of a view's distinct texts, mapped."""
        return self.store.array(f"vectors_{rule}")

    def _nearest(self, rule: str, vectors: Float32s, breadth: Breadth) -> tuple[Int64s, Int64s]:
        """For every vector its nearest texts of the index: (vector, text), the nearest first."""
        n = min(breadth.n_neighbours[rule], len(self.vectors(rule)))
        if not n or not len(vectors):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        # A lookup must not depend on what else is asked: not even the order among equals.
        codes = self.codes(rule, len(vectors)) if breadth.is_of_all else None
        graph = None if breadth.is_of_all else self.graphs[rule]
        if graph is not None:
            cosine, found = graph.search(vectors, n)
        else:
            corpus = self.vectors(rule).astype(np.float32)
            if codes:
                found, cosine = codes.nearest(vectors, corpus, n)
            else:
                found, cosine = nearest_rows(vectors, corpus, n, self.settings)
        least = max(self.settings.min_similarity, breadth.min_similarity)
        is_link = (found >= 0) & (cosine >= least)
        is_link[~vectors.any(axis=1)] = False
        return np.nonzero(is_link)[0], found[is_link].astype(np.int64)

    def _by_text(self, rule: str, number: Int64s, links: tuple[Int64s, Int64s], most: int) -> Proposed:
        """Links between texts to pairs of mentions: of the text of rank r, `most` / r mentions, or one."""
        vector, text = links
        rank = ranges(np.bincount(vector, minlength=1)) + 1 if len(vector) else vector
        starts, members = self.store.array(f"starts_{rule}"), self.store.array(f"members_{rule}")
        size = np.minimum(starts[text + 1] - starts[text], np.maximum(1, most // np.maximum(rank, 1)))
        old = members[np.repeat(starts[text], size) + ranges(size)].astype(np.int64)
        by_text = np.repeat(vector, size)
        return Proposed(rule, *_items_of(number, by_text, old))

    def _by_key(self, rule: str, keys: list[list[int]], most: int) -> Proposed:
        """Mentions that share a key, `most` for each key."""
        code = np.array([key for own in keys for key in own], np.uint64)
        item = np.repeat(np.arange(len(keys)), [len(own) for own in keys])
        known = self.store.array(f"key_{rule}")
        start = np.searchsorted(known, code, "left")
        size = np.minimum(np.searchsorted(known, code, "right") - start, most)
        old = self.store.array(f"item_{rule}")[np.repeat(start, size) + ranges(size)]
        return Proposed(rule, np.repeat(item, size), old.astype(np.int64))

    def codes(self, rule: str, n_queries: int) -> Codes | None:
        """Codes of a view's texts, where they may stand for all texts and no GPU is quicker."""
        if self.settings.index not in ("auto", "quantised"):
            return None
        n_texts = len(self.vectors(rule))
        return self.store.codes(rule) if is_by_faiss(n_queries, n_texts, self.settings) else None

    @cached_property
    def graphs(self) -> dict[str, Any]:
        """For each view its graph, None for a view of few texts, and where there is no FAISS to make it."""
        return {rule: self._graph(rule) for rule in VIEWS}

    def _graph(self, rule: str) -> Any:
        if len(self.vectors(rule)) < GRAPH_ROWS or not has_faiss():
            return None
        faiss = import_faiss()
        path = self.store.folder / f"graph_{rule}.faiss"
        if not path.is_file():
            build_graph(self.vectors(rule), path)
        graph = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        graph.hnsw.efSearch = _EF_SEARCH
        return graph


def _items_of(number: Int64s, text: Int64s, old: Int64s) -> tuple[Int64s, Int64s]:
    """Pairs of a text and a mention to pairs of the items that have the text and that mention."""
    order = np.argsort(number, kind="stable")
    start = np.searchsorted(number[order], text, "left")
    size = np.searchsorted(number[order], text, "right") - start
    return order[np.repeat(start, size) + ranges(size)], np.repeat(old, size)


def build_graph(vectors: npt.NDArray[np.float16], path: Path) -> None:
    """Vectors to an HNSW graph of their 8-bit forms in a file."""
    faiss = import_faiss()
    graph = faiss.IndexHNSWSQ(
        vectors.shape[1], faiss.ScalarQuantizer.QT_8bit, _EDGES, faiss.METRIC_INNER_PRODUCT
    )
    graph.hnsw.efConstruction = _EF_CONSTRUCTION
    sample = np.linspace(0, len(vectors) - 1, min(len(vectors), 50_000)).astype(np.int64)
    graph.train(vectors[sample].astype(np.float32))
    for start in range(0, len(vectors), 1 << 15):
        graph.add(vectors[start : start + (1 << 15)].astype(np.float32))
    with atomic_path(path) as temporary:
        faiss.write_index(graph, str(temporary))
