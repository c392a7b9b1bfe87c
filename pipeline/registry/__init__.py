"""Registry: lists of organisations as published, in one form: what ids, names and places there are."""

from pipeline.registry.importing import ImportReport, import_registry
from pipeline.registry.registry import Names, Registry, registry_key, short_id

__all__ = ["ImportReport", "Names", "Registry", "import_registry", "registry_key", "short_id"]
