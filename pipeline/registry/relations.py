"""Relations between records: which cannot be, and which record stands for one that is closed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from pipeline.registry.schema import CHILD, PARENT, PREDECESSOR, SUCCESSOR

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
#: Relations that lead up or forward, and their inverses; neither may lead back to where it began.
_DIRECTED = ((PARENT, CHILD), (SUCCESSOR, PREDECESSOR))


@dataclass(frozen=True)
class Edges:
    """Relations as columns: record `source[i]` states that record `target[i]` is its `kind[i]`."""

    source: Int64s
    target: Int64s
    kind: Sequence[str]

    def of(self, kind: str, inverse: str | None = None) -> tuple[Int64s, Int64s]:
        """(from, to) of one kind, and of its inverse turned round; each once, ordered."""
        kinds = np.array(self.kind, object)
        is_kind, is_inverse = kinds == kind, kinds == inverse
        start = np.concatenate([self.source[is_kind], self.target[is_inverse]])
        end = np.concatenate([self.target[is_kind], self.source[is_inverse]])
        if not len(start):
            return start, end
        both = np.unique(np.stack([start, end], axis=1), axis=0)
        return both[:, 0], both[:, 1]


def in_cycles(edges: Edges, n: int) -> Bools:
    """Which relations lie on a cycle of parents or of successors among n records, shape (n edges,)."""
    kinds, found = np.array(edges.kind, object), np.zeros(len(edges.source), bool)
    for kind, inverse in _DIRECTED:
        start, end = edges.of(kind, inverse)
        graph = sparse.csr_array((np.ones(len(start), bool), (start, end)), shape=(n, n))
        _, component = connected_components(graph, connection="strong")
        is_within = component[edges.source] == component[edges.target]
        found |= is_within & ((kinds == kind) | (kinds == inverse))
    return found


def current_records(n: int, is_active: Bools, is_withdrawn: Bools, edges: Edges) -> Int64s:
    """For each record the one that stands for it, shape (n,), -1 where none does.

    An active record stands for itself. A closed one is stood for by the one active record that its successors
    lead to; where these are several or none, an inactive record stands for itself and a withdrawn one for
    nothing. Successors must be free of cycles, see `in_cycles`.
    """
    successors: dict[int, list[int]] = {}
    for old, new in zip(*(e.tolist() for e in edges.of(SUCCESSOR, PREDECESSOR)), strict=True):
        successors.setdefault(old, []).append(new)

    def ends(record: int) -> set[int]:
        if is_active[record]:
            return {record}
        return {end for new in successors.get(record, ()) for end in ends(new)}

    current = np.arange(n)
    for record in np.flatnonzero(~is_active).tolist():
        found = ends(record)
        if len(found) == 1:
            current[record] = found.pop()
        elif is_withdrawn[record]:
            current[record] = -1
    return current
