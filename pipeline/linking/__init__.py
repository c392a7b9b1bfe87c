"""Linking: mentions to records of a registry, and clusters to one of them by the vote of their members."""

from pipeline.linking.dating import Timeline, timeline
from pipeline.linking.features import RegistryFacts
from pipeline.linking.linker import LinkModel, Links, link, registry_facts
from pipeline.linking.prepared import prepare_names
from pipeline.linking.run import Linking, link_run, load_registry
from pipeline.linking.said import Said
from pipeline.linking.settings import LinkingSettings
from pipeline.linking.vote import Linked, are_conflicting, merged, parted, vote

__all__ = [
    "LinkModel",
    "Linked",
    "Linking",
    "LinkingSettings",
    "Links",
    "RegistryFacts",
    "Said",
    "Timeline",
    "are_conflicting",
    "link",
    "link_run",
    "load_registry",
    "merged",
    "parted",
    "prepare_names",
    "registry_facts",
    "timeline",
    "vote",
]
