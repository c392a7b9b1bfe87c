"""Parse: one cleaned text becomes one or more mentions: organisation, units, place, role.

A rule parser. A text is cut into segments at its punctuation; head words (`resources/organization_words.tsv`)
say what a segment names; the strongest organisation is the main one. A department alone is no organisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.concepts import name_key
from pipeline.errors import UsageError
from pipeline.lexicon import Lexicon, keys_of
from pipeline.parsing.classify import Segment, classify
from pipeline.parsing.naming import kind_of_acronym_name
from pipeline.parsing.segments import Part, split_text
from pipeline.places import Gazetteer, Location, strip_postcodes
from pipeline.records import MAIN, PARENT, PARTNER, Cleaned, Mention, Mentions, Progress, SetAside
from pipeline.text import compare

#: How strongly a class of segment claims to be the organisation; 0 never does.
STRENGTH = {
    # Where a string names a hospital and its university, labels name the university four times in five
    # (146 of 179 such strings of the train fold).
    "university": 5.5,
    "hospital": 5.0,
    "academy": 4.5,
    "company": 4.0,
    "agency": 3.0,
    "institute": 3.5,
    "acronym": 2.5,
    "college": 2.4,
    "unknown": 2.0,
    "part": 0.0,
    "unit": 0.0,
    "topic": 0.0,
    "address": 0.0,
}
#: Classes that name a part of an organisation.
_UNITS = frozenset({"unit", "part", "topic"})
#: Classes that make a mention of their own beside the main one.
INDEPENDENT = 4.0


@dataclass(frozen=True)
class ParsingSettings:
    """How strings are parsed.

    Attributes:
        split_organizations: several mentions for a string that names several organisations.
        max_mentions: at most so many mentions a string.
        max_length: only so many characters of a string are looked at; the raw string stays whole.
    """

    split_organizations: bool = True
    max_mentions: int = 60
    max_length: int = 10_000

    def __post_init__(self) -> None:
        for name in ("max_mentions", "max_length"):
            if getattr(self, name) < 1:
                raise UsageError(f"parsing.{name} must be 1 or more, got {getattr(self, name)}")


def parse(
    cleaned: Cleaned, settings: ParsingSettings | None = None, on_progress: Progress | None = None
) -> Mentions:
    """Cleaned texts become mentions; a text that is only a place is set aside as `only_place`."""
    settings = settings or ParsingSettings()
    numbers: list[int] = []
    mentions: list[Mention] = []
    places: list[int] = []
    for number, text in enumerate(cleaned.text):
        if on_progress and number % 1000 == 0:
            on_progress(number, len(cleaned.text))
        if not text:
            continue
        found = parse_text(text, settings)
        if not found:
            places.append(number)
        numbers.extend([number] * len(found))
        mentions.extend(found)
    if on_progress:
        on_progress(len(cleaned.text), len(cleaned.text))
    strings = cleaned.affiliations
    aside = SetAside(
        string=[strings.affiliation[i] for i in places],
        reason=["only_place"] * len(places),
        n_occurrences=[int(strings.n_occurrences[i]) for i in places],
        is_whole=[True] * len(places),
        affiliation=places,
    )
    return Mentions(strings, np.array(numbers, np.int64), mentions, cleaned.set_aside + aside)


def parse_text(text: str, settings: ParsingSettings | None = None) -> tuple[Mention, ...]:
    """One cleaned text becomes its mentions, the main one first; none where the text is only a place."""
    settings = settings or ParsingSettings()
    text = text[: settings.max_length]
    parts = split_text(text)
    location = Gazetteer.load().locate([part.text for part in parts])
    named = [i for i, part in enumerate(parts) if _is_named(part, location.used[i])]
    if not named:
        return ()
    segments = _join_campus([s for i in named for s in classify(parts[i], i)], parts, location)
    organizations = _distinct([s for s in segments if STRENGTH[s.kind] > 0])
    if not organizations:
        # A centre, a laboratory or a school stands for itself where nothing stronger does.
        organizations = [s for s in segments if s.kind == "part"][-1:]
    main = max(organizations, key=_claim, default=None)
    units = [s.text for s in segments if s.kind in _UNITS and s not in organizations]
    units += [s.text for s in organizations if s is not main and STRENGTH[s.kind] < INDEPENDENT]
    mentions = [_mention(main, MAIN, tuple(units), location, text)]
    if main and settings.split_organizations:
        places = [part.text for part, used in zip(parts, location.used, strict=True) if used]
        others = [s for s in organizations if _is_mention(s, main)][: settings.max_mentions - 1]
        mentions += [_mention(s, _role(main, s), (), location, ", ".join([s.text, *places])) for s in others]
    return tuple(mentions)


def _is_named(part: Part, is_place_of_string: bool) -> bool:
    """Whether a part names something that is no place, be it the string's own or another's."""
    if kind_of_acronym_name(part.text):
        return True
    places = Gazetteer.load().lookup(part.text)
    return not is_place_of_string and all(p.is_code or p.needs_support for p in places)


def _is_mention(other: Segment, main: Segment) -> bool:
    """Whether an organisation beside the main one is a mention of its own."""
    return other is not main and STRENGTH[other.kind] >= INDEPENDENT and other.is_specific


def _claim(segment: Segment) -> tuple[float, float]:
    """How strongly a segment claims to be the main organisation; the earlier one wins a tie."""
    return STRENGTH[segment.kind] - (1.5 if not segment.is_specific else 0.0), -segment.position


def _role(main: Segment, other: Segment) -> str:
    is_above = other.kind in ("university", "academy") and main.kind not in ("university", "academy")
    return PARENT if is_above and other.position > main.position else PARTNER


def _mention(
    segment: Segment | None, role: str, units: tuple[str, ...], location: Location, context: str
) -> Mention:
    return Mention(
        organization=segment.text if segment else "",
        role=role,
        units=units,
        city=location.city,
        region=location.region,
        country_code=location.country_code,
        context=context,
        acronyms=segment.acronyms if segment else (),
    )


def _join_campus(segments: list[Segment], parts: Sequence[Part], location: Location) -> list[Segment]:
    """`University of California`, `San Diego`: in a system of universities the place belongs to the name."""
    systems = Lexicon.load().systems
    joined = []
    for s in segments:
        after = int(s.position) + 1
        is_system = (
            s.kind == "university"
            and s.position == int(s.position)
            and tuple(k for t in s.text.split() for k in keys_of(t)) in systems
        )
        if is_system and after < len(parts) and location.used[after]:
            place = parts[after].text
            s = replace(s, text=f"{s.text}, {strip_postcodes(place) or place}")
        joined.append(s)
    return joined


def _distinct(segments: Sequence[Segment]) -> list[Segment]:
    """Segments without repeats of one name in one string."""
    seen: dict[str, Segment] = {}
    for s in segments:
        seen.setdefault(name_key(compare(s.text)), s)
    return list(seen.values())
