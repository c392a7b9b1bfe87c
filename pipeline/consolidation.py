"""Consolidate: a cluster of mentions becomes an institution record.

Survivorship: the preferred name is the most frequent well-formed name of the members (by occurrences), not
the longest string; the place is the one that most occurrences state; every other name stays as a variant.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from blocking import vectors
from blocking.engine import slices
from pipeline.errors import UsageError
from pipeline.lexicon import Lexicon, keys_of
from pipeline.records import MAIN, Float64s, Forms, Int64s, Matches, Mention, Mentions, RegistryRecord
from pipeline.text import abbreviations, split_words


@dataclass(frozen=True)
class CanonicalSettings:
    """`max_variants`: how many variant names a record keeps, the most frequent first; 0 keeps all."""

    max_variants: int = 0

    def __post_init__(self) -> None:
        if self.max_variants < 0:
            raise UsageError(f"canonical.max_variants must be 0 or more, got {self.max_variants}")


@dataclass(frozen=True, slots=True)
class Institution:
    """One canonical record.

    Attributes:
        entity_id: stable whatever the input order: it derives from the smallest mention id.
        preferred_name: name for people.
        variant_names: other names, the most frequent first; last those that only a registry has.
        variant_counts: occurrences of each variant name, 0 for those that only a registry has.
        variant_languages: language of each variant name where a registry says it (ISO 639-1), else None.
        n_mentions: mentions, also those in strings whose main organisation is another.
        n_occurrences: rows whose main organisation it is; rows of all its strings where it is never that.
        confidence: mean match probability of the members, 0 to 1.
        weakest_link: smallest of the members' best link probabilities, 0 where a member was put here by a
            person and no pair speaks for it; None for a single mention.
        has_organization: whether any member names an organisation (a department alone does not).
        registry: the record of a registry that it is, None for none.
        sources: for `preferred_name`, `variant_names`, `acronyms`, `city`, `region` and `country_code` where
            each value is from, in the order of the values: a mention id, or `registry:` and its field.
    """

    entity_id: str
    preferred_name: str
    variant_names: tuple[str, ...]
    variant_counts: tuple[int, ...]
    acronyms: tuple[str, ...]
    city: str | None
    region: str | None
    country_code: str | None
    n_mentions: int
    n_occurrences: int
    confidence: float
    weakest_link: float | None
    has_organization: bool
    registry: RegistryRecord | None = None
    preferred_count: int = 0
    variant_languages: tuple[str | None, ...] = ()
    sources: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Consolidated:
    """Institutions ordered by occurrences, and for each mention its id, entity and membership probability."""

    institutions: list[Institution]
    mention_id: list[str]
    entity_id: list[str]
    match_probability: Float64s


def mention_ids(mentions: Mentions) -> list[str]:
    """Affiliation id and the mention's number within its string: `a0123456789abcdef-0`."""
    ids = mentions.affiliations.affiliation_id
    first = np.searchsorted(mentions.affiliation, mentions.affiliation, side="left")
    numbers = np.arange(len(mentions)) - first
    return [f"{ids[a]}-{k}" for a, k in zip(mentions.affiliation.tolist(), numbers.tolist(), strict=True)]


def consolidate(
    mentions: Mentions,
    forms: Forms,
    matches: Matches,
    label: Int64s,
    settings: CanonicalSettings | None = None,
) -> Consolidated:
    """Mentions with a cluster label each, shape (n,), become institution records."""
    settings = settings or CanonicalSettings()
    ids = mention_ids(mentions)
    mean, best = membership(len(mentions), matches, label)
    order = np.argsort(label, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(label[order]) != 0]) if len(order) else np.empty(0, np.int64)
    entity: list[str] = [""] * len(mentions)
    groups = [members.tolist() for members in np.split(order, starts[1:])] if len(order) else []
    institutions = institutions_of(groups, mentions, forms, (mean, best), settings)
    for members, record in zip(groups, institutions, strict=True):
        for i in members:
            entity[i] = record.entity_id
    institutions.sort(key=lambda r: (-r.n_occurrences, -r.n_mentions, r.entity_id))
    return Consolidated(institutions, ids, entity, mean)


def institutions_of(
    groups: Sequence[Sequence[int]],
    mentions: Mentions,
    forms: Forms,
    links: tuple[Float64s, Float64s],
    settings: CanonicalSettings,
) -> list[Institution]:
    """Groups of mention numbers to their records; `links` is what `membership` says of every mention."""
    ids = mention_ids(mentions)
    return [_record(members, ids, mentions, forms, links, settings) for members in groups]


def membership(n: int, matches: Matches, label: Int64s) -> tuple[Float64s, Float64s]:
    """For each mention (mean probability of its scored pairs inside its cluster, best of them), shape (n,).

    For a mention that stands alone the first is the probability that it does: one minus its best pair with
    any other; the second is NaN.
    """
    n_links, total, best, outside = np.zeros(n, np.int64), np.zeros(n), np.zeros(n), np.zeros(n)
    for part in slices(len(matches), vectors.AT_ONCE):
        left, right, p = matches.pairs.left[part], matches.pairs.right[part], matches.probability[part]
        inside = label[left] == label[right]
        for end in left, right:
            n_links += np.bincount(end[inside], minlength=n)
            total += np.bincount(end[inside], p[inside], n)
            np.maximum.at(best, end[inside], p[inside])
            np.maximum.at(outside, end[~inside], p[~inside])
    mean = total / np.maximum(n_links, 1)
    alone = np.bincount(label, minlength=label.max() + 1 if n else 0)[label] == 1 if n else np.empty(0, bool)
    mean = np.where(alone, 1 - outside, mean)
    return mean, np.where(alone, np.nan, best)


def _record(
    members: Sequence[int],
    ids: Sequence[str],
    mentions: Mentions,
    forms: Forms,
    links: tuple[Float64s, Float64s],
    settings: CanonicalSettings,
) -> Institution:
    counts = mentions.affiliations.n_occurrences
    weight = {i: int(counts[mentions.affiliation[i]]) for i in members}
    name = {i: tidy(_name_of(mentions.mention[i], forms.display[i])) for i in members}
    names = _ranked((name[i], weight[i]) for i in members)
    preferred = preferred_name(names, {name[i]: forms.organization[i] or name[i] for i in members})
    country = _vote((forms.country_code[i], weight[i]) for i in members)
    here = [i for i in members if forms.country_code[i] in (country, None)]
    city = _vote((forms.city[i], weight[i]) for i in here)
    region = _vote((forms.region[i], weight[i]) for i in here if forms.city[i] in (city, None))
    mean, best = links
    index = np.array(members)
    variants = tuple(n for n in names if n != preferred)[: settings.max_variants or None]
    acronyms = tuple(_ranked((a, weight[i]) for i in members for a in forms.acronyms[i]))
    by_weight = sorted(members, key=lambda i: -weight[i])
    named = _first((name[i], ids[i]) for i in by_weight)
    stated = _first((a, ids[i]) for i in by_weight for a in forms.acronyms[i])
    where = (
        ("city", city, forms.city),
        ("region", region, forms.region),
        ("country_code", country, forms.country_code),
    )
    return Institution(
        entity_id=entity_id(min(ids[i] for i in members)),
        preferred_name=preferred,
        variant_names=variants,
        variant_counts=tuple(names[n] for n in variants),
        acronyms=acronyms,
        city=city,
        region=region,
        country_code=country,
        n_mentions=len(members),
        n_occurrences=_occurrences(members, mentions),
        confidence=float(mean[index].mean()),
        weakest_link=float(best[index].min()) if len(members) > 1 else None,
        has_organization=any(forms.organization[i] for i in members),
        preferred_count=names[preferred],
        variant_languages=(None,) * len(variants),
        sources={
            "preferred_name": (named[preferred],),
            "variant_names": tuple(named[n] for n in variants),
            "acronyms": tuple(stated[a] for a in acronyms),
        }
        | {
            part: (next(ids[i] for i in by_weight if column[i] == value),)
            for part, value, column in where
            if value is not None
        },
    )


def _first(values: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Keys with values, the first value of each key."""
    found: dict[str, str] = {}
    for key, value in values:
        found.setdefault(key, value)
    return found


def _name_of(mention: Mention, display: str) -> str:
    """What a mention is called: its organisation, or else its units, or else its text."""
    return display or ", ".join(mention.units) or mention.context


def _occurrences(members: Sequence[int], mentions: Mentions) -> int:
    """Rows of the strings whose main mention is a member, or of all its strings where no main one is."""
    main = {int(mentions.affiliation[i]) for i in members if mentions.mention[i].role == MAIN}
    strings = main or {int(mentions.affiliation[i]) for i in members}
    return int(mentions.affiliations.n_occurrences[sorted(strings)].sum())


def entity_id(smallest_mention_id: str) -> str:
    """`e` and 16 hex digits of the MD5 of the smallest mention id of the cluster."""
    return "e" + hashlib.md5(smallest_mention_id.encode(), usedforsecurity=False).hexdigest()[:16]


def preferred_name(names: Mapping[str, int], compare_form: Mapping[str, str]) -> str:
    """Names with their occurrences, and the compare form of each, to the name that the record carries.

    Names of one compare form vote together; a well-formed name outranks any other; ties go to the
    alphabet, so that the result does not depend on input order.
    """
    votes = Counter[str]()
    for name, n in names.items():
        votes[compare_form[name]] += n
    return min(names, key=lambda n: (-well_formed(n), -votes[compare_form[n]], -names[n], n))


_EDGES = " ,;:|/\\*&+_-–—"
#: A name does not end with a word that joins it to what was cut off.
_JOINING = (
    "of the and for at in on to by with de du des la le del della di da do dos das der die und für et y e"
)
#: `Univ.`, `r.d.`; not `St. Jude`, an initial (`Leonard M. Miller`), `e.V.` or a company's `Inc.`
_CUT_SHORT = re.compile(
    r"\b(?!(?:Sta?|Ste|Mt|Dr|Jr|Inc|Ltd|Co|Corp|Pvt)\.)[^\W\d_]{2,}\.|(?<![^\W_])[a-z]\.(?!V)"
)
_WHOLE = frozenset({"inc", "corp"})
_ENCLOSING = (("(", ")"), ("[", "]"), ("{", "}"), ("«", "»"))


def tidy(name: str) -> str:
    """A name without punctuation that dangles at its ends, or a quote that has lost its other half."""
    whole = name.replace('"', "") if name.count('"') % 2 else name
    return whole.strip(_EDGES) or name


def well_formed(name: str) -> int:
    """How much a name looks like one written out for people: 0 (debris) to 3."""
    words = name.split()
    if not words or _is_debris(name) or words[-1].casefold() in _JOINING.split():
        return 0
    if len(words) > 12 or "/" in name or name[0].islower() or _is_abbreviated(name):
        return 1
    if name.isupper():
        return 2 if len(words) > 1 or not name.isascii() else 1
    if any(w.isupper() and w.isalpha() and 1 < len(w) <= 5 for w in words):
        return 2  # `LMU München`, where another member writes the name out.
    keys = [k for w in words for k in keys_of(w)]
    return 3 if Lexicon.load().heads(keys) or not name.isascii() else 2


def _is_debris(name: str) -> bool:
    """Whether a name holds a number, or half of a pair of quotes or brackets."""
    halved = name.count('"') % 2 or any(name.count(a) != name.count(b) for a, b in _ENCLOSING)
    return bool(halved) or any(c.isdigit() for c in name)


def _is_abbreviated(name: str) -> bool:
    """Whether a word is cut short, by its full stop or by the table of abbreviations."""
    short = abbreviations()[0]
    words = (w for w in split_words(name) if w not in _WHOLE)
    return bool(_CUT_SHORT.search(name)) or any(
        len(short.get(w, "")) > len(w) + 1 and _stands_for(w, short[w]) for w in words
    )


def _stands_for(word: str, expansion: str) -> bool:
    """Whether a word leaves letters out (`univ`, `dept`), and is no other spelling (`foetal`)."""
    letters = iter(expansion)
    return all(c in letters for c in word)


def _vote(values: Iterable[tuple[str | None, int]]) -> str | None:
    return next(iter(_ranked((v, n) for v, n in values if v is not None)), None)


def _ranked(values: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Values with their votes, the most frequent first, ties by the alphabet."""
    votes = Counter[str]()
    for value, n in values:
        votes[value] += n
    return dict(sorted(votes.items(), key=lambda x: (-x[1], x[0])))
