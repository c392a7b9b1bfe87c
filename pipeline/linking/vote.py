"""Clusters and links: conflicting ids keep apart, clusters vote for an id, and those of one id are one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.clustering.graph import canonical
from pipeline.linking.linker import Links
from pipeline.linking.settings import LinkingSettings
from pipeline.records import Float64s, Int64s
from pipeline.registry import Registry


@dataclass(frozen=True)
class Linked:
    """The record of each cluster, and how probable it is.

    Attributes:
        record: record number, -1 for none, int64, shape (n clusters,).
        probability: of that record, or of the best one where none is taken; shape (n clusters,).
    """

    record: Int64s
    probability: Float64s


def are_conflicting(
    left: Int64s, right: Int64s, links: Links, registry: Registry, settings: LinkingSettings
) -> npt.NDArray[np.bool_]:
    """Which pairs of mentions are surely two records, shape (n pairs,).

    Both have an id that is at least `min_conflict_probability`, these differ, and the registry knows no
    relation between them (itself a parent, a child, related, or of the same parent's line).

    Args:
        left, right: mention numbers, shape (n pairs,).
        links: of the mentions.
        registry: knows what is related.
        settings: `min_conflict_probability`; at 1 no pair is.
    """
    found = np.zeros(len(left), bool)
    if settings.min_conflict_probability >= 1 or not len(links):
        return found
    n = int(max(left.max(initial=-1), right.max(initial=-1), links.mention.max())) + 1
    is_sure = links.is_best & (links.probability >= settings.min_conflict_probability)
    sure = np.full(n, -1, np.int64)
    sure[links.mention[is_sure]] = links.record[is_sure]
    a, b = sure[left], sure[right]
    differ = np.flatnonzero((a >= 0) & (b >= 0) & (a != b))
    found[differ] = ~registry.are_related(a[differ], b[differ])
    return found


def vote(links: Links, label: Int64s, settings: LinkingSettings) -> Linked:
    """Links of mentions and the cluster of each mention, shape (n,), to the record of each cluster.

    A record's share is the mean of its probability over the members of the cluster, 0 for those that do not
    know it. The greatest share takes the cluster if it reaches `min_link_probability`; else nothing does.
    """
    sizes = np.bincount(label)
    record, best = np.full(len(sizes), -1, np.int64), np.zeros(len(sizes))
    if not len(links):
        return Linked(record, best)
    n_records = int(links.record.max()) + 1
    key, where = np.unique(label[links.mention] * n_records + links.record, return_inverse=True)
    cluster, candidate = np.divmod(key, n_records)
    share = np.bincount(where, links.probability) / sizes[cluster]
    order = np.lexsort([candidate, -share, cluster])
    first = order[np.diff(cluster[order], prepend=-1) != 0]
    best[cluster[first]] = share[first]
    taken = first[share[first] >= settings.min_link_probability]
    record[cluster[taken]] = candidate[taken]
    return Linked(record, best)


def merged(label: Int64s, linked: Linked, cannot: tuple[Int64s, Int64s]) -> Int64s:
    """Clusters that took one record become one cluster, unless cannot-links say that they are two.

    Clusters whose members people named take the records that they named (`Said`), so that two of these never
    take one.

    Args:
        label: cluster of each mention, shape (n,), numbered by smallest member.
        linked: record of each cluster.
        cannot: mentions that must not be together, pair by pair.

    Returns:
        The new cluster of each mention, numbered by smallest member.
    """
    n, known = len(linked.record), np.flatnonzero(linked.record >= 0)
    target = np.arange(n)
    # The first cluster of each record takes in the others.
    _, first, group = np.unique(linked.record[known], return_index=True, return_inverse=True)
    target[known] = known[first][group]
    ends = label[cannot[0]], label[cannot[1]]
    is_joined = target[ends[0]] == target[ends[1]]
    for a, b in zip(ends[0][is_joined].tolist(), ends[1][is_joined].tolist(), strict=True):
        if target[a] == target[b]:
            # The later of both stays by itself.
            target[max(a, b)] = max(a, b)
    return canonical(target[label])
