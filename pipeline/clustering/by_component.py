"""Average linkage of the components of a graph, some at a time: no two of them ever merge."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

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
    n, lots = len(graph), _Lots.of(graph)
    label, height, n_rounds = np.arange(n), np.full(n, np.nan), 0
    work = partial(_linked, min_probability=min_probability, missing=missing)
    number = np.empty(n, np.int32)
    for node, linked in current().map(
        work,
        None,
        lots.edges,
        lambda part: _cut(graph, *lots.of_edges(part), number),
        on_progress=on_progress,
    ):
        label[node], height[node] = node[linked.label], linked.height
        n_rounds = max(n_rounds, linked.n_rounds)
    return Linkage(label, height, n_rounds)


@dataclass(frozen=True)
class _Lots:
    """Orders of the edges, and of the nodes that have any, in which components stay together.

    `edges` and `nodes` are ranges of these orders: lot by lot some whole components.
    """

    edge: Int64s
    node: Int64s
    edges: list[slice]
    nodes: list[slice]

    @classmethod
    def of(cls, graph: Graph) -> _Lots:
        """A graph to its lots."""
        component = component_of(len(graph), graph.left, graph.right)
        n_edges = np.bincount(component, np.bincount(graph.left, minlength=len(graph))).astype(np.int64)
        lot_of = (np.cumsum(n_edges) - n_edges) // _EDGES
        lot_of = lot_of.astype(np.min_scalar_type(int(lot_of.max(initial=0))))
        of_edge = filled(len(graph.left), lot_of.dtype, lambda part: lot_of[component[graph.left[part]]])
        node = np.flatnonzero(n_edges[component] > 0)
        of_node = lot_of[component[node]]
        node = node[np.argsort(of_node, kind="stable")]
        return cls(np.argsort(of_edge, kind="stable"), node, _ranges(of_edge), _ranges(of_node))

    def of_edges(self, part: slice) -> tuple[Int64s, Int64s]:
        """The edges of a lot by their range, and its nodes, ascending."""
        return self.edge[part], self.node[self.nodes[self.edges.index(part)]]


def _ranges(lot: npt.NDArray[Any]) -> list[slice]:
    """The ranges of lots in the order by lot; a lot of nothing has none."""
    ends = np.cumsum(np.bincount(lot))
    return [slice(a, b) for a, b in pairwise([0, *ends[np.diff(ends, prepend=0) > 0].tolist()])]


def _cut(graph: Graph, edge: Int64s, node: Int64s, number: npt.NDArray[np.int32]) -> _Part:
    """The graph of some edges and their nodes, which are whole components, its nodes numbered anew in order.

    `number` has room for a number of each node of the graph; what it holds is of no account.
    """
    left, right, probability = (
        filled(len(edge), column.dtype, partial(taken, column, edge))
        for column in (graph.left, graph.right, graph.probability)
    )
    number[node] = np.arange(len(node))
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
