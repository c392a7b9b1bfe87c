"""Linking within a run: links of its mentions, what they say of its clusters, and its records in full."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from blocking import BlockingSettings, CorpusEncoder, Encoder
from pipeline.clustering import Constraints, must_groups
from pipeline.consolidation import Consolidated, Institution
from pipeline.linking.dating import Timeline, timeline
from pipeline.linking.features import RegistryFacts
from pipeline.linking.linker import LinkModel, Links, link, registry_facts
from pipeline.linking.said import Said
from pipeline.linking.settings import LinkingSettings
from pipeline.linking.vote import Linked, are_conflicting, merged, parted, vote
from pipeline.records import Forms, Int64s, Progress
from pipeline.registry import Registry, full_record

#: Parts of a record that the registry's own take the place of, and the field of the registry that they are.
_FIELDS = {
    "preferred_name": "registry:names",
    **dict.fromkeys(("city", "region", "country_code"), "registry:places"),
}
_ADOPTED = tuple(_FIELDS)


def load_registry(settings: LinkingSettings) -> RegistryFacts | None:
    """The registry that settings name, None where they name none.

    Raises:
        UsageError: no registry file, or no linker.
    """
    if settings.registry is None:
        return None
    LinkModel.load(settings.model)
    return registry_facts(Registry.read(settings.registry))


@dataclass(frozen=True)
class Linking:
    """Links of a run's mentions, and the registry that they lead to."""

    facts: RegistryFacts
    links: Links
    said: Said
    settings: LinkingSettings

    @classmethod
    def of(cls, facts: RegistryFacts, links: Links, settings: LinkingSettings) -> Linking:
        """Links of which nobody has said anything."""
        return cls(facts, links, Said.of(None, facts.registry), settings)

    def told(self, keys: Mapping[int, str]) -> Linking:
        """These links once people have said which records mentions are: numbers and keys of the registry."""
        said = Said.of(keys, self.facts.registry)
        return replace(self, links=said.links(self.links), said=said)

    def held(self, left: Int64s, right: Int64s, held: Constraints) -> Constraints:
        """Constraints and cannot-links between compared mentions that are surely two records.

        What a person joined stays joined.
        """
        is_two = are_conflicting(left, right, self.links, self.facts.registry, self.settings)
        left, right, none = left[is_two], right[is_two], np.empty(0, np.int64)
        n = max(held.largest_item(), int(left.max(initial=-1)), int(right.max(initial=-1))) + 1
        group = must_groups(n, held)
        is_free = group[left] != group[right]
        return held + Constraints(none, none, left[is_free], right[is_free])

    def settled(self, label: Int64s, held: Constraints) -> Int64s:
        """Clusters as links have them: those of several records parted, those of one record made one.

        What a person joined stays joined, and cannot-links hold.
        """
        is_free = np.ones(len(label), bool)
        is_free[np.concatenate([held.must_left, held.must_right, held.named])] = False
        label = parted(label, self.links, self.facts.registry, self.settings, is_free)
        return merged(label, self._vote(label), (held.cannot_left, held.cannot_right))

    def timeline(self, forms: Forms, label: Int64s) -> Timeline:
        """The records of mentions year by year, where they have been several."""
        return timeline(forms, label, self._vote(label), self.facts, self.said.mention)

    def records(self, label: Int64s) -> Int64s:
        """The record that each cluster takes, -1 for none, shape (n clusters,)."""
        return self._vote(label).record

    def _vote(self, label: Int64s) -> Linked:
        return self.said.linked(vote(self.links, label, self.settings), label)

    def identified(self, found: Consolidated, label: Int64s) -> Consolidated:
        """Institutions with what the registry says of them, where they are one of its records."""
        linked, records = self._vote(label), dict[str, tuple[int, float]]()
        found = self._surer(found, linked.record[label])
        for entity, cluster in zip(found.entity_id, label.tolist(), strict=True):
            if linked.record[cluster] >= 0:
                records[entity] = int(linked.record[cluster]), float(linked.probability[cluster])
        institutions = [
            self._adopted(i, *records[i.entity_id]) if i.entity_id in records else i
            for i in found.institutions
        ]
        return replace(found, institutions=institutions)

    def _surer(self, found: Consolidated, record: Int64s) -> Consolidated:
        """Mentions belong to an institution as surely as they are its record, where pairs say less.

        Two names that only the registry knows to be one have no pair that speaks for them.
        """
        is_own = self.links.record == record[self.links.mention]
        by_link = np.zeros(len(record))
        by_link[self.links.mention[is_own]] = self.links.probability[is_own]
        surer = np.maximum(found.match_probability, by_link)
        number = {entity: i for i, entity in enumerate(dict.fromkeys(found.entity_id))}
        entity = np.array([number[e] for e in found.entity_id], np.int64)
        mean = np.bincount(entity, surer) / np.maximum(np.bincount(entity), 1) if len(entity) else surer
        institutions = [replace(i, confidence=float(mean[number[i.entity_id]])) for i in found.institutions]
        return replace(found, institutions=institutions, match_probability=surer)

    def _adopted(self, institution: Institution, number: int, probability: float) -> Institution:
        """The record takes name and place from the registry; its own name becomes a variant."""
        own = full_record(self.facts.registry, number, probability)
        values = {"preferred_name": own.name} | {part: getattr(own, part) for part in _ADOPTED[1:]}
        taken = {part: value for part, value in values.items() if value is not None}
        old, source = institution, dict(institution.sources)
        names = [old.preferred_name, *old.variant_names]
        counts = dict(zip(names, (old.preferred_count, *old.variant_counts), strict=True))
        said = dict(zip(names, (*source["preferred_name"], *source["variant_names"]), strict=True))
        language = dict(own.names)
        variants = tuple(n for n in dict.fromkeys([*names, *language]) if n != own.name)
        return replace(
            institution,
            **taken,
            variant_names=variants,
            variant_counts=tuple(counts.get(n, 0) for n in variants),
            variant_languages=tuple(language.get(n) for n in variants),
            preferred_count=counts.get(own.name, 0),
            registry=own,
            sources=source
            | {part: (_FIELDS[part],) for part in taken}
            | {"variant_names": tuple(said.get(n, _FIELDS["preferred_name"]) for n in variants)},
        )


def link_run(
    forms: Forms,
    facts: RegistryFacts,
    settings: LinkingSettings,
    encoder: Encoder,
    blocking: BlockingSettings,
    on_progress: Progress | None = None,
) -> Linking:
    """Mentions of a run to their links.

    The run's encoder is used again, but not one that learned its weights from the strings at hand: the
    weights of names are the registry's own, whatever the strings are.
    """
    used = None if isinstance(encoder, CorpusEncoder) else encoder
    links = link(forms, facts, settings, blocking, encoder=used, on_progress=on_progress)
    return Linking.of(facts, links, settings)
