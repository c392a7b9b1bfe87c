"""Registry: lists of organisations as published, in one form: what ids, names and places there are."""

from pipeline.registry.full import full_record
from pipeline.registry.history import Period, chain_of, last_year, periods
from pipeline.registry.importing import ImportReport, import_registry
from pipeline.registry.registry import Names, Registry, registry_key, short_id

__all__ = [
    "ImportReport",
    "Names",
    "Period",
    "Registry",
    "chain_of",
    "full_record",
    "import_registry",
    "last_year",
    "periods",
    "registry_key",
    "short_id",
]
