"""Judgements as constraints: must-links are contracted before clustering, cannot-links forbid edges."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from scipy.sparse.csgraph import breadth_first_order

from pipeline.clustering.graph import FORBIDDEN, Graph, add_up, canonical, component_of, sparse_matrix
from pipeline.errors import AffilError, UsageError
from pipeline.records import Float64s, Int64s


class ConstraintConflictError(AffilError):
    """Two items are must-linked and cannot-linked; `chain` is the must-link path between them."""

    def __init__(self, chain: tuple[int, ...]) -> None:
        self.chain = chain
        path = " – ".join(map(str, chain))
        super().__init__(
            f"items {chain[0]} and {chain[-1]} are cannot-linked, yet must-links join them ({path}): "
            "withdraw one of these judgements"
        )


@dataclass(frozen=True)
class Constraints:
    """Pairs of item numbers that must, or must not, share a cluster; int64 arrays, in any order.

    Raises:
        UsageError: columns of different length, negative numbers, or an item that cannot join itself.
    """

    must_left: Int64s
    must_right: Int64s
    cannot_left: Int64s
    cannot_right: Int64s

    def __post_init__(self) -> None:
        for kind in "must", "cannot":
            left, right = getattr(self, f"{kind}_left"), getattr(self, f"{kind}_right")
            if len(left) != len(right):
                raise UsageError(f"{kind}-links need columns of one length, got {len(left)} and {len(right)}")
            if len(left) and min(left.min(), right.min()) < 0:
                raise UsageError(f"{kind}-links need item numbers of 0 or more")
        selves = self.cannot_left[self.cannot_left == self.cannot_right]
        if len(selves):
            raise UsageError(f"item {selves[0]} is cannot-linked to itself: remove this judgement")

    @classmethod
    def none(cls) -> Constraints:
        """No constraints at all."""
        return cls(*(np.empty(0, np.int64) for _ in range(4)))

    def __add__(self, other: Constraints) -> Constraints:
        """Both sets of constraints together."""
        names = [field.name for field in fields(self)]
        return Constraints(*(np.concatenate([getattr(self, name), getattr(other, name)]) for name in names))

    def largest_item(self) -> int:
        """The greatest item number that a constraint names, -1 where there is none."""
        columns = self.must_left, self.must_right, self.cannot_left, self.cannot_right
        return max(int(column.max(initial=-1)) for column in columns)


def must_groups(n: int, constraints: Constraints) -> Int64s:
    """The group of each item under the closure of the must-links, numbered by smallest member; shape (n,).

    Raises:
        ConstraintConflictError: a group holds a cannot-linked pair.
    """
    low = np.minimum(constraints.must_left, constraints.must_right)
    high = np.maximum(constraints.must_left, constraints.must_right)
    low, high, _ = add_up(n, low, high, np.ones(len(low)))
    group = canonical(component_of(n, low, high))
    conflict = np.flatnonzero(group[constraints.cannot_left] == group[constraints.cannot_right])
    if len(conflict):
        item, other = int(constraints.cannot_left[conflict[0]]), int(constraints.cannot_right[conflict[0]])
        links = sparse_matrix(n, low, high, np.ones(len(low)))
        before = breadth_first_order(links, other, directed=False)[1]
        chain = [item]
        while chain[-1] != other:
            chain.append(int(before[chain[-1]]))
        raise ConstraintConflictError(tuple(chain))
    return group


def contract(graph: Graph, group: Int64s, constraints: Constraints, is_weighted: bool) -> Graph:
    """A graph of items and the group of each in, the graph of groups with its forbidden edges out.

    An edge between two groups has the mean probability of the observed pairs of their members. A group
    weighs 1, or the sum of its members' weights where `is_weighted`.
    """
    n = int(group.max(initial=-1)) + 1
    n_members = np.bincount(group, minlength=n).astype(np.int64)
    weight: Float64s = np.ones(n)
    if is_weighted:
        weight = np.bincount(group, weights=graph.weight, minlength=n).astype(np.float64)
    left = np.concatenate([group[graph.left], group[constraints.cannot_left]])
    right = np.concatenate([group[graph.right], group[constraints.cannot_right]])
    probability = np.concatenate([graph.probability, np.full(len(constraints.cannot_left), FORBIDDEN)])
    is_between = left != right
    low, high = np.minimum(left, right)[is_between], np.maximum(left, right)[is_between]
    row, column, total = add_up(n, low, high, probability[is_between])
    n_pairs: Float64s = add_up(n, low, high, np.ones(len(low)))[2]
    return Graph(n_members, weight, row.astype(np.int64), column.astype(np.int64), total / n_pairs)
