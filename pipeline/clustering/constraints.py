"""Judgements as constraints: must-links are contracted before clustering, cannot-links forbid edges."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

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

    Attributes:
        must_left, must_right: pairs that must.
        cannot_left, cannot_right: pairs that must not.
        named, identity: items of which it is known what they are, and the number of what that is: items of
            one identity must share a cluster, items of two must not. That says in one row an item what
            cannot-links would say in a row a pair. Constraints that are added up share one numbering.

    Raises:
        UsageError: columns of different length, negative numbers, or an item that cannot join itself.
    """

    must_left: Int64s
    must_right: Int64s
    cannot_left: Int64s
    cannot_right: Int64s
    named: Int64s = field(default_factory=lambda: np.empty(0, np.int64))
    identity: Int64s = field(default_factory=lambda: np.empty(0, np.int64))

    def __post_init__(self) -> None:
        for kind in "must", "cannot":
            left, right = getattr(self, f"{kind}_left"), getattr(self, f"{kind}_right")
            if len(left) != len(right):
                raise UsageError(f"{kind}-links need columns of one length, got {len(left)} and {len(right)}")
            if len(left) and min(left.min(), right.min()) < 0:
                raise UsageError(f"{kind}-links need item numbers of 0 or more")
        if len(self.named) != len(self.identity):
            raise UsageError(
                f"named items need one identity each, got {len(self.named)} and {len(self.identity)}"
            )
        if len(self.named) and min(self.named.min(), self.identity.min()) < 0:
            raise UsageError("named items and their identities need numbers of 0 or more")
        selves = self.cannot_left[self.cannot_left == self.cannot_right]
        if len(selves):
            raise UsageError(f"item {selves[0]} is cannot-linked to itself: remove this judgement")

    @classmethod
    def none(cls) -> Constraints:
        """No constraints at all."""
        return cls(*(np.empty(0, np.int64) for _ in range(4)))

    def __add__(self, other: Constraints) -> Constraints:
        """Both sets of constraints together."""
        names = [f.name for f in fields(self)]
        return Constraints(*(np.concatenate([getattr(self, name), getattr(other, name)]) for name in names))

    def __len__(self) -> int:
        return len(self.must_left) + len(self.cannot_left) + len(self.named)

    def are_two(self, left: int, right: int) -> bool:
        """Whether two items, or what they must-link to, are known to be two identities."""
        group = must_groups(max(self.largest_item(), left, right) + 1, self)
        ends = group[[left, right]]
        known = {int(g): int(i) for g, i in zip(group[self.named], self.identity, strict=True)}
        return len({known.get(int(end)) for end in ends} - {None}) == 2

    def largest_item(self) -> int:
        """The greatest item number that a constraint names, -1 where there is none."""
        columns = self.must_left, self.must_right, self.cannot_left, self.cannot_right, self.named
        return max(int(column.max(initial=-1)) for column in columns)


def must_groups(n: int, constraints: Constraints) -> Int64s:
    """The group of each item under the closure of the must-links, numbered by smallest member; shape (n,).

    Raises:
        ConstraintConflictError: a group holds a cannot-linked pair, or items of two identities.
    """
    order = np.lexsort([constraints.named, constraints.identity])
    named, identity = constraints.named[order], constraints.identity[order]
    is_next = np.diff(identity) == 0
    left = np.concatenate([constraints.must_left, named[:-1][is_next]])
    right = np.concatenate([constraints.must_right, named[1:][is_next]])
    low, high, _ = add_up(n, np.minimum(left, right), np.maximum(left, right), np.ones(len(left)))
    group = canonical(component_of(n, low, high))
    conflict = _conflict(group, constraints)
    if conflict:
        item, other = conflict
        links = sparse_matrix(n, low, high, np.ones(len(low)))
        before = breadth_first_order(links, other, directed=False)[1]
        chain = [item]
        while chain[-1] != other:
            chain.append(int(before[chain[-1]]))
        raise ConstraintConflictError(tuple(chain))
    return group


def _conflict(group: Int64s, constraints: Constraints) -> tuple[int, int] | None:
    """Two items of one group that must not be in one, None where there are none."""
    cannot_left, cannot_right = constraints.cannot_left, constraints.cannot_right
    found = np.flatnonzero(group[cannot_left] == group[cannot_right])
    if len(found):
        return int(cannot_left[found[0]]), int(cannot_right[found[0]])
    order = np.lexsort([constraints.identity, group[constraints.named]])
    named, identity = constraints.named[order], constraints.identity[order]
    found = np.flatnonzero((np.diff(group[named]) == 0) & (np.diff(identity) != 0))
    return (int(named[found[0]]), int(named[found[0] + 1])) if len(found) else None


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
    mean: Float64s = total / n_pairs
    identity = None
    if len(constraints.named):
        identity = np.full(n, -1, np.int64)
        identity[group[constraints.named]] = constraints.identity
        mean[(identity[row] >= 0) & (identity[column] >= 0) & (identity[row] != identity[column])] = FORBIDDEN
    return Graph(n_members, weight, row.astype(np.int64), column.astype(np.int64), mean, identity)
