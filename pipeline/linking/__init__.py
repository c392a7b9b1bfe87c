"""Linking: mentions to records of a registry, and clusters to one of them by the vote of their members."""

from pipeline.linking.linker import LinkModel, Links, link, registry_facts
from pipeline.linking.settings import LinkingSettings
from pipeline.linking.vote import Linked, merged, set_conflicts_apart, vote

__all__ = [
    "LinkModel",
    "Linked",
    "LinkingSettings",
    "Links",
    "link",
    "merged",
    "registry_facts",
    "set_conflicts_apart",
    "vote",
]
