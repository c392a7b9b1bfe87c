"""Names of a registry in the forms that models compare, kept in its file: made once, at the import."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.linking.names import NameForms, linked_names, name_forms
from pipeline.normalization import ACRONYM_PLACE, KNOWN_NAME, SAME_FORM, SHARED_KEY
from pipeline.records import Forms, Int64s
from pipeline.registry import Registry
from pipeline.registry.schema import NAME_FORMS

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)
_TEXTS = (
    *("display", "context", "organization", "concept", "context_concept", "units"),
    *("city", "region", "country_code"),
)
_LISTS = ("acronyms",)
_KEYS = (SAME_FORM, ACRONYM_PLACE, SHARED_KEY, KNOWN_NAME)
#: Names that are prepared again when a file is read, to see that this version prepares them as it did then.
_N_CHECKED = 300
_OUTDATED = "the names in the registry file are of another version of affil; import it again"


def prepare_names(registry: Registry) -> pa.Table:
    """A registry to its table with one column more: for each record the forms of its names.

    Names of records that nothing stands for have none.
    """
    import pyarrow as pa

    made = name_forms(registry)
    text, texts = pa.string(), pa.list_(pa.string())
    columns: dict[str, pa.Array] = {n: pa.array(getattr(made.forms, n), text) for n in _TEXTS}
    columns |= {n: pa.array([list(v) for v in getattr(made.forms, n)], texts) for n in _LISTS}
    columns |= {n: pa.array([list(v) for v in made.forms.keys[n]], texts) for n in _KEYS}
    forms = pa.StructArray.from_arrays(list(columns.values()), list(columns))
    n_names = np.bincount(made.names.record, minlength=len(registry))
    ends = pa.array(np.concatenate([[0], np.cumsum(n_names)]), pa.int32())
    table = registry.table
    if NAME_FORMS in table.column_names:
        table = table.drop_columns([NAME_FORMS])
    return table.append_column(NAME_FORMS, pa.ListArray.from_arrays(ends, forms))


def registry_names(registry: Registry) -> NameForms:
    """The names of a registry as models compare them: from its file, or made now.

    They are made where the file has none, or where another version of this package made them otherwise.
    """
    if NAME_FORMS not in registry.table.column_names:
        return name_forms(registry)
    fields = {field.name for field in registry.table.schema.field(NAME_FORMS).type.value_type}
    if not fields >= {*_TEXTS, *_LISTS, *_KEYS}:
        log.warning(_OUTDATED)
        return name_forms(registry)
    found = _read(registry)
    some = np.unique(np.linspace(0, max(len(found.forms) - 1, 0), _N_CHECKED).astype(np.int64))
    if len(found.forms) and not _is_same(found.forms, name_forms(registry, only=some).forms, some):
        log.warning(_OUTDATED)
        return name_forms(registry)
    return found


def _read(registry: Registry) -> NameForms:
    names = linked_names(registry)
    flat = registry.table[NAME_FORMS].combine_chunks().flatten()

    def texts(name: str) -> list[Any]:
        return list(flat.field(name).to_numpy(zero_copy_only=False).tolist())

    def lists(name: str) -> list[tuple[str, ...]]:
        return [tuple(v) for v in flat.field(name).to_pylist()]

    columns: dict[str, Any] = {n: texts(n) for n in _TEXTS} | {n: lists(n) for n in _LISTS}
    keys = {n: lists(n) for n in _KEYS}
    return NameForms(Forms(**columns, is_main=np.ones(len(flat), bool), keys=keys), names)


def _is_same(kept: Forms, made: Forms, some: Int64s) -> bool:
    """Whether some of the forms that were kept are those just made; a key that looks at all names aside."""
    numbers = some.tolist()
    attributes = all([getattr(kept, n)[i] for i in numbers] == getattr(made, n) for n in (*_TEXTS, *_LISTS))
    keys = (SAME_FORM, ACRONYM_PLACE)
    return attributes and all([kept.keys[n][i] for i in numbers] == made.keys[n] for n in keys)
