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

#: What a member weighs in a vote at the least. Chosen on the tune fold: B³ .9543 with .1, .9530 with .2 and
#: .3; without any weight a cluster of many that nobody knows would take what one stray member is.
_LEAST_WEIGHT = 0.1


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
    know it. Members weigh as much as they are sure of anything: an abbreviation that could be many records
    says little against the full name. The greatest share takes the cluster if it reaches
    `min_link_probability`; else nothing does.
    """
    linked = _leading(links, label)
    is_taken = linked.probability >= settings.min_link_probability
    return Linked(np.where(is_taken, linked.record, -1), linked.probability)


def _leading(links: Links, label: Int64s) -> Linked:
    """The record of the greatest share in each cluster, however small that is."""
    n_clusters = int(label.max(initial=-1)) + 1
    record, best = np.full(n_clusters, -1, np.int64), np.zeros(n_clusters)
    if not len(links):
        return Linked(record, best)
    _, sureness = own_records(links, len(label))
    weight = np.maximum(sureness, _LEAST_WEIGHT)
    total = np.bincount(label, weight)
    n_records = int(links.record.max()) + 1
    key, where = np.unique(label[links.mention] * n_records + links.record, return_inverse=True)
    cluster, candidate = np.divmod(key, n_records)
    share = np.bincount(where, links.probability * weight[links.mention]) / total[cluster]
    order = np.lexsort([candidate, -share, cluster])
    first = order[np.diff(cluster[order], prepend=-1) != 0]
    record[cluster[first]], best[cluster[first]] = candidate[first], share[first]
    return Linked(record, best)


def own_records(links: Links, n: int) -> tuple[Int64s, Float64s]:
    """The most probable record of each mention by itself (-1: none) and its probability, shape (n,) each."""
    record, probability = np.full(n, -1, np.int64), np.zeros(n)
    first = links.is_best
    record[links.mention[first]] = links.record[first]
    probability[links.mention[first]] = links.probability[first]
    return record, probability


def parted(
    label: Int64s, links: Links, registry: Registry, settings: LinkingSettings, is_free: npt.NDArray[np.bool_]
) -> Int64s:
    """Clusters that take no record, for their members are several, to clusters of these.

    A member that by itself has a record (`min_link_probability`) leaves, with the others that have it, unless
    it is that of the greatest share, its parent or its child. Clusters that take a record stay whole: it may
    be that members are another part of it.

    Args:
        label: cluster of each mention, shape (n,).
        links: of the mentions.
        registry: knows parents.
        settings: `min_link_probability`.
        is_free: which mentions may leave, shape (n,).

    Returns:
        The new cluster of each mention, numbered by smallest member.
    """
    leading = _leading(links, label)
    is_none = (leading.record >= 0) & (leading.probability < settings.min_link_probability)
    record, probability = own_records(links, len(label))
    may_leave = is_free & is_none[label] & (probability >= settings.min_link_probability)
    leaving = np.flatnonzero(may_leave)
    own, common = record[leaving], leading.record[label[leaving]]
    leaving = leaving[(own != common) & ~registry.are_of_one_line(own, common)]
    found = label.copy()
    _, group = np.unique(label[leaving] * len(registry) + record[leaving], return_inverse=True)
    found[leaving] = len(label) + group
    return canonical(found)


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
