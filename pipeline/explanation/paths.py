"""Paths in the graph of scored pairs: the tree that holds items together, the widest path."""

from __future__ import annotations

import numpy as np

from pipeline.records import Float64s, Int64s


def spanning_forest(left: Int64s, right: Int64s, probability: Float64s, n: int) -> Int64s:
    """Numbers of the pairs of a maximum spanning forest over `n` items, ascending."""
    from scipy import sparse
    from scipy.sparse.csgraph import minimum_spanning_tree

    if not len(left):
        return np.empty(0, np.int64)
    # 0 means "no edge" to SciPy, so costs begin at 1.
    cost = sparse.csr_array((2.0 - probability, (left, right)), shape=(n, n))
    order = sparse.csr_array((np.arange(1, len(left) + 1, dtype=np.float64), (left, right)), shape=(n, n))
    tree = minimum_spanning_tree(cost).tocoo()
    return np.sort(np.asarray(order[tree.row, tree.col]).ravel().astype(np.int64) - 1)


def widest_path(ends: Int64s, probability: Float64s, a: int, b: int) -> list[int]:
    """Numbers of the pairs on the path from a to b in the maximum spanning forest, in order."""
    if a == b or not len(ends):
        return []
    n = int(ends.max()) + 1
    neighbours: dict[int, list[tuple[int, int]]] = {}
    for i in spanning_forest(ends[:, 0], ends[:, 1], probability, n).tolist():
        u, v = ends[i].tolist()
        neighbours.setdefault(u, []).append((v, i))
        neighbours.setdefault(v, []).append((u, i))
    back: dict[int, tuple[int, int]] = {a: (a, -1)}
    queue = [a]
    for at in queue:
        for to, i in neighbours.get(at, []):
            if to not in back:
                back[to] = (at, i)
                queue.append(to)
    path: list[int] = []
    at = b if b in back else a
    while at != a:
        at, i = back[at]
        path.append(i)
    return path[::-1]
