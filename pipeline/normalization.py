"""Normalize: mentions become the forms that models compare, and the keys that pair them beside neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from pipeline.concepts import concept_text, name_key
from pipeline.known_names import BUILT_IN, names_of
from pipeline.lexicon import Lexicon, initials
from pipeline.processes import in_processes
from pipeline.recognition import recognize
from pipeline.records import MAIN, Forms, KnownRecords, Mention, Mentions, Progress
from pipeline.text import compare_all, display, transliterate

#: Key rules, by the name under which blocking reports them.
SAME_FORM, ACRONYM_PLACE, SHARED_KEY = "same_form", "acronym_place", "shared_key"
KNOWN_NAME = "known_name"
#: Mentions handed over to a process at a time.
_CHUNK = 5_000


@dataclass(frozen=True)
class NormalizationSettings:
    """Which key rules propose pairs beside neighbours, and which table of known names is looked up.

    Attributes:
        use_same_form, use_acronym_place, use_transliteration, use_known_name: key rules.
        known_names: "built-in", folder of a table from `affil train names`, or "none"; the parser's tagger
            looks names up in the same.
    """

    use_same_form: bool = True
    use_acronym_place: bool = True
    use_transliteration: bool = True
    use_known_name: bool = True
    known_names: str = BUILT_IN


def normalize(
    mentions: Mentions, settings: NormalizationSettings | None = None, on_progress: Progress | None = None
) -> Forms:
    """Mentions become forms: display for people, compare for models, keys for blocking."""
    settings = settings or NormalizationSettings()
    items = mentions.mention
    names = names_of(settings.known_names)
    columns: dict[str, list[Any]] = {name: [] for name in (*_TEXTS, *_rules(settings))}
    known: list[KnownRecords] = []
    for part in in_processes(partial(_normalize_chunk, settings=settings), items, _CHUNK):
        for name, column in columns.items():
            column.extend(part.columns[name])
        known += [part.known] if part.known else []
        if on_progress:
            on_progress(len(columns["context"]), len(items))
    keys = {rule: columns.pop(rule) for rule in _rules(settings)}
    if settings.use_transliteration:
        keys[SHARED_KEY] = _transcriptions(columns["organization"])
    return Forms(
        **columns,
        acronyms=[_acronyms(m) for m in items],
        city=[m.city for m in items],
        region=[m.region for m in items],
        country_code=[m.country_code for m in items],
        is_main=np.array([m.role == MAIN for m in items], bool),
        keys=keys,
        known=KnownRecords([], [], [], [], [], names.source).joined(*known) if names else None,
    )


#: Columns of forms that are made text by text.
_TEXTS = ("display", "context", "organization", "concept", "context_concept", "units")


class _Part(NamedTuple):
    """What is made of some mentions: `_TEXTS` and keys by their rule, and what is known of them."""

    columns: dict[str, list[Any]]
    known: KnownRecords | None


def _rules(settings: NormalizationSettings) -> list[str]:
    """Key rules whose keys depend on one mention alone."""
    asked = {
        KNOWN_NAME: settings.use_known_name,
        SAME_FORM: settings.use_same_form,
        ACRONYM_PLACE: settings.use_acronym_place,
    }
    return [rule for rule, is_used in asked.items() if is_used]


def _normalize_chunk(items: Sequence[Mention], settings: NormalizationSettings) -> _Part:
    organization = compare_all([m.organization for m in items])
    context = compare_all([m.context for m in items])
    concept, context_concept = ([concept_text(text) for text in texts] for texts in (organization, context))
    display_of = [display(m.organization) for m in items]
    units = compare_all([" ".join(m.units) for m in items])
    names = names_of(settings.known_names)
    places = [(m.country_code, m.city) for m in items]
    known = recognize(names, concept, context_concept, places) if names else None
    texts = (display_of, context, organization, concept, context_concept, units)
    columns: dict[str, list[Any]] = dict(zip(_TEXTS, texts, strict=True))
    place = [m.city or m.country_code for m in items]
    columns |= _keys(settings, organization, place, [_acronyms(m) for m in items], known)
    return _Part(columns, known)


def with_keys(forms: Forms, settings: NormalizationSettings) -> Forms:
    """Forms that were kept without their keys, with those that `normalize` gave them."""
    place = [city or country for city, country in zip(forms.city, forms.country_code, strict=True)]
    keys = _keys(settings, forms.organization, place, forms.acronyms, forms.known)
    if settings.use_transliteration:
        keys[SHARED_KEY] = _transcriptions(forms.organization)
    return replace(forms, keys=keys)


def _keys(
    settings: NormalizationSettings,
    organization: Sequence[str],
    place: Sequence[str | None],
    acronyms: Sequence[tuple[str, ...]],
    known: KnownRecords | None,
) -> dict[str, Any]:
    """The keys of each mention by the rules of `_rules`."""
    rules, keys = _rules(settings), dict[str, Any]()
    if KNOWN_NAME in rules:
        records = known.organization if known else [()] * len(organization)
        keys[KNOWN_NAME] = [tuple(map(str, own)) for own in records]
    if SAME_FORM in rules:
        keys[SAME_FORM] = [_same_form(o, p) for o, p in zip(organization, place, strict=True)]
    if ACRONYM_PLACE in rules:
        rows = zip(acronyms, organization, place, strict=True)
        keys[ACRONYM_PLACE] = [_acronym_place(*row) for row in rows]
    return keys


def _acronyms(mention: Mention) -> tuple[str, ...]:
    """Acronyms that a string states for the organisation, in capitals and without full stops."""
    return tuple(a.replace(".", "").upper() for a in mention.acronyms)


def _same_form(organization: str, place: str | None) -> tuple[str, ...]:
    """The organisation's name key, with the place where the name says little (`university hospital`)."""
    if not organization:
        return ()
    key = name_key(organization)
    return (key if _is_specific(organization) else f"{key}|{place}",)


def _transcriptions(organization: Sequence[str]) -> list[tuple[str, ...]]:
    """ASCII spellings of names in other letters, for those names and for the names that are spelt so."""
    written = ["" if o.isascii() else transliterate(o) for o in organization]
    known = frozenset(written)
    keys = (w or (o if o in known else "") for w, o in zip(written, organization, strict=True))
    return [(key,) if key else () for key in keys]


def _is_specific(organization: str) -> bool:
    lexicon = Lexicon.load()
    keys = organization.split()
    covered = {i for h in lexicon.heads(keys) for i in range(h.start, h.end)}
    return any(i not in covered and not lexicon.is_subject(k) and len(k) > 2 for i, k in enumerate(keys))


def _acronym_place(acronyms: tuple[str, ...], organization: str, place: str | None) -> tuple[str, ...]:
    """Stated acronyms and the name's own initials, each with the city or else the country."""
    if not place:
        return ()
    return tuple(f"{a}|{place}" for a in dict.fromkeys((*acronyms, *initials(organization))))
