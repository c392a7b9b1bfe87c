"""Mentions and their forms as columns of an Arrow table, and back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.consolidation import mention_ids
from pipeline.normalization import ACRONYM_PLACE, KNOWN_NAME, SAME_FORM, SHARED_KEY
from pipeline.recognition import known_columns, known_records
from pipeline.records import MAIN, Affiliations, Forms, Int64s, Mention, Mentions
from pipeline.rows import list_of, text_array, tuples_of
from pipeline.text import transliterate

if TYPE_CHECKING:
    import pyarrow as pa

#: The key rules whose keys are kept, as numbers.
KEY_RULES = (SAME_FORM, ACRONYM_PLACE, SHARED_KEY, KNOWN_NAME)
#: The view of each rule that proposes neighbours, and the column that it looks at.
VIEWS = {"neighbours": "context_view", "organization_neighbours": "concept"}
_TEXTS = (
    *("display", "context", "organization", "concept", "context_concept", "unit_form"),
    *("city", "region", "country_code"),
)


def mentions_table(mentions: Mentions, forms: Forms) -> pa.Table:
    """Mentions and their forms to one row each: strings, forms, keys as numbers of 64 bits."""
    import pyarrow as pa

    strings, number = mentions.affiliations, mentions.affiliation.tolist()
    texts: dict[str, Sequence[str | None]] = {
        "mention_id": mention_ids(mentions),
        "affiliation_id": [strings.affiliation_id[i] for i in number],
        "affiliation": [strings.affiliation[i] for i in number],
        "role": [m.role for m in mentions.mention],
        "name": [m.organization for m in mentions.mention],
        # What a mention without an organisation is called by.
        "text": ["" if d else m.context for d, m in zip(forms.display, mentions.mention, strict=True)],
        "unit_form": forms.units,
        "context_view": forms.views["neighbours"],
    }
    texts |= {name: getattr(forms, name) for name in _TEXTS if name not in texts}
    lists = {"units": [m.units for m in mentions.mention], "acronyms": forms.acronyms}
    keys = {rule: [_numbers(own) for own in of] for rule, of in _keys(forms).items()}
    columns: dict[str, Any] = {name: text_array(values) for name, values in texts.items()}
    columns |= {name: pa.array(values, pa.list_(pa.string())) for name, values in lists.items()}
    columns |= {name: pa.array(values, pa.list_(pa.uint64())) for name, values in keys.items()}
    if forms.known:
        columns |= known_columns(forms.known)
    return pa.table(columns | {"n_occurrences": strings.n_occurrences[mentions.affiliation]})


def _keys(forms: Forms) -> dict[str, Sequence[Iterable[str]]]:
    """Keys that do not depend on the other strings: a run gives `shared_key` only where another has it."""
    found: dict[str, Sequence[Iterable[str]]] = {r: forms.keys.get(r, [()] * len(forms)) for r in KEY_RULES}
    if SHARED_KEY in forms.keys:
        spelt = (o if o.isascii() else transliterate(o) for o in forms.organization)
        found[SHARED_KEY] = [(o,) if o else () for o in spelt]
    return found


def id_number(affiliation_id: str) -> int:
    """The 64 bits of an affiliation id; they order as the ids do."""
    return int(affiliation_id[1:], 16)


def _numbers(keys: Iterable[str]) -> list[int]:
    return [
        int.from_bytes(hashlib.md5(key.encode("utf-8", "surrogatepass"), usedforsecurity=False).digest()[:8])
        for key in keys
    ]


def forms_of(table: pa.Table, known_names: str) -> Forms:
    """Rows of `mentions_table` back to forms; without keys. `known_names` is the table of known names."""
    columns: dict[str, Any] = {n: list_of(table.column(n)) for n in _TEXTS if n != "unit_form"}
    return Forms(
        **columns,
        units=list_of(table.column("unit_form")),
        acronyms=tuples_of(table.column("acronyms")),
        is_main=np.array([r == MAIN for r in list_of(table.column("role"))], bool),
        keys={},
        known=known_records(table, known_names),
    )


def mentions_of(table: pa.Table) -> Mentions:
    """All rows of whole strings back to mentions, as far as records are made of them."""
    ids, texts = list_of(table.column("affiliation_id")), list_of(table.column("affiliation"))
    is_first = np.array([True, *(a != b for a, b in pairwise(ids))], bool)[: len(ids)]
    first = np.flatnonzero(is_first).tolist()
    counts = table.column("n_occurrences").to_numpy()[is_first]
    strings = Affiliations([ids[i] for i in first], [texts[i] for i in first], counts)
    rows = zip(
        *(list_of(table.column(name)) for name in ("name", "role")),
        tuples_of(table.column("units")),
        list_of(table.column("text")),
        strict=True,
    )
    items = [Mention(name, role, units, context=text) for name, role, units, text in rows]
    number: Int64s = np.cumsum(is_first, dtype=np.int64) - 1
    return Mentions(strings, number, items)
