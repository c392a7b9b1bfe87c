"""Normalize: mentions become the forms that models compare, and the keys that pair them beside neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.concepts import concept_text, name_key
from pipeline.known_names import BUILT_IN, KnownNames
from pipeline.lexicon import Lexicon, initials
from pipeline.recognition import recognize
from pipeline.records import MAIN, Forms, Mention, Mentions
from pipeline.text import compare_all, display, transliterate

#: Key rules, by the name under which blocking reports them.
SAME_FORM, ACRONYM_PLACE, SHARED_KEY = "same_form", "acronym_place", "shared_key"
KNOWN_NAME = "known_name"


#: The name under which settings ask for no table of known names.
NONE = "none"


@dataclass(frozen=True)
class NormalizationSettings:
    """Which key rules propose pairs beside neighbours, and which table of known names is looked up.

    Attributes:
        use_same_form, use_acronym_place, use_transliteration, use_known_name: key rules.
        known_names: "built-in", folder of a table from `affil train names`, or "none".
    """

    use_same_form: bool = True
    use_acronym_place: bool = True
    use_transliteration: bool = True
    use_known_name: bool = True
    known_names: str = BUILT_IN


def normalize(mentions: Mentions, settings: NormalizationSettings | None = None) -> Forms:
    """Mentions become forms: display for people, compare for models, keys for blocking."""
    settings = settings or NormalizationSettings()
    items = mentions.mention
    organization = compare_all([m.organization for m in items])
    context = compare_all([m.context for m in items])
    concept, context_concept = ([concept_text(text) for text in texts] for texts in (organization, context))
    names = load_known_names(settings)
    forms = Forms(
        display=[display(m.organization) for m in items],
        context=context,
        organization=organization,
        concept=concept,
        context_concept=context_concept,
        units=compare_all([" ".join(m.units) for m in items]),
        acronyms=[tuple(a.replace(".", "").upper() for a in m.acronyms) for m in items],
        city=[m.city for m in items],
        region=[m.region for m in items],
        country_code=[m.country_code for m in items],
        is_main=np.array([m.role == MAIN for m in items], bool),
        keys={},
        known=(
            recognize(names, concept, context_concept, [(m.country_code, m.city) for m in items])
            if names
            else None
        ),
    )
    if settings.use_known_name:
        known = forms.known.organization if forms.known else [()] * len(forms)
        forms.keys[KNOWN_NAME] = [tuple(map(str, records)) for records in known]
    if settings.use_same_form:
        forms.keys[SAME_FORM] = [_same_form(o, m) for o, m in zip(organization, items, strict=True)]
    if settings.use_acronym_place:
        forms.keys[ACRONYM_PLACE] = [
            _acronym_place(a, o, m) for a, o, m in zip(forms.acronyms, organization, items, strict=True)
        ]
    if settings.use_transliteration:
        forms.keys[SHARED_KEY] = _transcriptions(organization)
    return forms


def load_known_names(settings: NormalizationSettings) -> KnownNames | None:
    """The table of known names that settings ask for, None where they say "none".

    Raises:
        UsageError: it is missing or damaged.
    """
    if settings.known_names == NONE:
        return None
    return KnownNames.load(settings.known_names)


def _same_form(organization: str, mention: Mention) -> tuple[str, ...]:
    """The organisation's name key, with the place where the name says little (`university hospital`)."""
    if not organization:
        return ()
    key = name_key(organization)
    return (key if _is_specific(organization) else f"{key}|{mention.city or mention.country_code}",)


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


def _acronym_place(acronyms: tuple[str, ...], organization: str, mention: Mention) -> tuple[str, ...]:
    """Stated acronyms and the name's own initials, each with the city or else the country."""
    place = mention.city or mention.country_code
    if not place:
        return ()
    return tuple(f"{a}|{place}" for a in dict.fromkeys((*acronyms, *initials(organization))))
