"""Registry: lists of organisations as published, in one form: what ids, names and places there are."""

from pipeline.registry.importing import ImportReport, import_registry
from pipeline.registry.registry import Names, Registry, short_id

__all__ = ["ImportReport", "Names", "Registry", "import_registry", "short_id"]
