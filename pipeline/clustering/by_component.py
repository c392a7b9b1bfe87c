"""Average linkage of the components of a graph, some at a time: no two of them ever merge."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from blocking.engine import current
from blocking.vectors import filled, taken
from pipeline.clustering.graph import Graph, component_of
from pipeline.clustering.linkage import Among, Linkage, average_linkage
from pipeline.clustering.settings import Missing
from pipeline.records import Int64s, Progress

#: Edges that are linked at a time, in whole components: seconds of work, some 100 MB.
_EDGES = 1 << 19


class _Part(NamedTuple):
    graph: Graph
    among: Among


def linked_by_component(
    graph: Graph, min_probability: float, missing: Missing | None = None, on_progress: Progress | None = None
) -> Linkage:
    """As `average_linkage`, whose result it gives, with the components of the graph in parts.

    Args:
        graph: nodes and edges.
        min_probability: least mean probability of a merge.
        missing: how pairs without an edge count.
        on_progress: called with (edges whose component is linked, edges).
    """
    n, (order, parts) = len(graph), _parts(graph)
    label, height, n_rounds = np.arange(n), np.full(n, np.nan), 0
    work = partial(_linked, min_probability=min_probability, missing=missing)
    for node, linked in current().map(
        work, None, parts, lambda part: _cut(graph, order[part]), on_progress=on_progress
    ):
        label[node], height[node] = node[linked.label], linked.height
        n_rounds = max(n_rounds, linked.n_rounds)
    return Linkage(label, height, n_rounds)


def _parts(graph: Graph) -> tuple[Int64s, list[slice]]:
    """An order of the edges that keeps a component together, and ranges of whole components in it."""
    component = component_of(len(graph), graph.left, graph.right)
    n_edges = np.bincount(component, np.bincount(graph.left, minlength=len(graph))).astype(np.int64)
    lot_of = (np.cumsum(n_edges) - n_edges) // _EDGES
    lot_of = lot_of.astype(np.min_scalar_type(int(lot_of.max(initial=0))))
    lot = filled(len(graph.left), lot_of.dtype, lambda part: lot_of[component[graph.left[part]]])
    ends = np.cumsum(np.bincount(lot))
    ends = ends[np.diff(ends, prepend=0) > 0].tolist()
    return np.argsort(lot, kind="stable"), [slice(a, b) for a, b in pairwise([0, *ends])]


def _cut(graph: Graph, edge: Int64s) -> _Part:
    """The graph of some edges, which are whole components, with its nodes numbered anew in the same order."""
    is_used = np.zeros(len(graph), bool)
    left, right, probability = (
        filled(len(edge), column.dtype, partial(taken, column, edge))
        for column in (graph.left, graph.right, graph.probability)
    )
    is_used[left] = is_used[right] = True
    node, number = np.flatnonzero(is_used), np.cumsum(is_used) - 1
    left, right = (filled(len(edge), np.int32, partial(taken, number, end)) for end in (left, right))
    identity = None if graph.identity is None else graph.identity[node]
    own = Graph(graph.n_members[node], graph.weight[node], left, right, probability, identity)
    return _Part(own, Among(node, len(graph)))


def _linked(
    _: None, part: _Part, on_progress: Progress | None, *, min_probability: float, missing: Missing | None
) -> tuple[Int64s, Linkage]:
    def told(done: int, n_nodes: int) -> None:
        if on_progress:
            on_progress(len(part.graph.left) * done // max(n_nodes, 1), 0)

    return part.among.node, average_linkage(part.graph, min_probability, missing, told, part.among)
