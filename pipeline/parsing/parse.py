"""Parse: one cleaned text becomes one or more mentions: organisation, units, place, role.

Rules cut a text into segments at its punctuation; head words (`resources/organization_words.tsv`) say what a
segment names; the strongest organisation is the main one. A trained tagger says which other organisations the
text names, and parts those that stand together without a mark. A department alone is no organisation.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np

from pipeline.errors import UsageError
from pipeline.known_names import BUILT_IN, NONE
from pipeline.lexicon import COMPASS, Lexicon, keys_of
from pipeline.parsing.classify import Segment, classify
from pipeline.parsing.features import tokens_of
from pipeline.parsing.marking import NameMarks
from pipeline.parsing.reading import (
    INDEPENDENT,
    STRENGTH,
    Reading,
    claim,
    distinct,
    read,
    read_affiliations,
)
from pipeline.parsing.segments import Part
from pipeline.parsing.tagger import Tagger
from pipeline.processes import in_processes
from pipeline.records import MAIN, PARENT, PARTNER, Cleaned, Mention, Mentions, Progress, SetAside
from pipeline.text import compare

#: The name under which settings ask for no trained part.
RULES = "rules"
#: Classes that name a part of an organisation.
_UNITS = frozenset({"unit", "part", "topic"})
_CHUNK = 2048
#: Words that go on with a name, that lead up to one, and marks that stand between a name and something else.
_OF = frozenset(["of", "for", "de", "da", "do", "di", "du", "des", "del", "della", "für", "pour", "para"])
_LEADING = _OF | frozenset(["at", "in", "and", "und", "et", "e", "y", "the", "der", "la", "le", "von", "van"])
_MARKS = ("-", "–", "/", "(", ",", ";", ":")


@dataclass(frozen=True)
class ParsingSettings:
    """How strings are parsed.

    Attributes:
        model: folder of a tagger from `affil train parser`; None takes the one in the package, `rules` none.
        split_organizations: several mentions for a string that names several organisations.
        max_mentions: at most so many mentions a string.
        max_length: only so many characters of a string are looked at; the raw string stays whole.
    """

    model: str | None = None
    split_organizations: bool = True
    max_mentions: int = 60
    max_length: int = 10_000

    def __post_init__(self) -> None:
        for name in ("max_mentions", "max_length"):
            if getattr(self, name) < 1:
                raise UsageError(f"parsing.{name} must be 1 or more, got {getattr(self, name)}")


def load_tagger(settings: ParsingSettings) -> Tagger | None:
    """Settings to the tagger that they name; None where rules alone parse.

    Raises:
        UsageError: a model that is missing, damaged or of another kind.
    """
    if settings.model == RULES or not settings.split_organizations:
        return None
    return Tagger.load(settings.model)


def parse(
    cleaned: Cleaned,
    settings: ParsingSettings | None = None,
    on_progress: Progress | None = None,
    *,
    known_names: str = BUILT_IN,
) -> Mentions:
    """Cleaned texts become mentions; a text that is only a place is set aside as `only_place`.

    Args:
        cleaned: the texts.
        settings: how they are parsed.
        on_progress: called with (texts done, texts).
        known_names: what tells the tagger which names are known, as `NormalizationSettings` has it.

    Raises:
        UsageError: a model or a table of names that is missing, damaged or of another kind.
    """
    settings = settings or ParsingSettings()
    if load_tagger(settings):
        NameMarks.load(known_names)
    numbers: list[int] = []
    mentions: list[Mention] = []
    places: list[int] = []
    n = len(cleaned.text)
    number = 0
    work = partial(_parse_chunk, settings=settings, known_names=known_names)
    for parsed in in_processes(work, cleaned.text, _CHUNK):
        for found in parsed:
            if cleaned.text[number] and not found:
                places.append(number)
            numbers.extend([number] * len(found))
            mentions.extend(found)
            number += 1
        if on_progress:
            on_progress(number, n)
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
    (found,) = _parse_all([text], settings, BUILT_IN)
    return found


def _parse_chunk(
    texts: Sequence[str], settings: ParsingSettings, known_names: str
) -> list[tuple[Mention, ...]]:
    with _uncollected():
        return _parse_all(texts, settings, known_names)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Python's search for cycles rests: parsing makes none, and the search takes a third of its time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _parse_all(
    texts: Sequence[str], settings: ParsingSettings, known_names: str
) -> list[tuple[Mention, ...]]:
    tagger = load_tagger(settings)
    marks = NameMarks.load(known_names if tagger else NONE)
    texts = [_cut(text, settings.max_length) for text in texts]
    if settings.split_organizations:
        readings = [read_affiliations(text, marks) for text in texts]
    else:
        readings = [[*filter(None, [read(text)])] for text in texts]
    known = [reading for own in readings for reading in own]
    if tagger is not None:
        spans = tagger.spans(tokens_of(known, marks))
        known = [with_tagged(r, s, marks) if s else r for r, s in zip(known, spans, strict=True)]
    done = iter(known)
    return [_mentions([next(done) for _ in own], settings) if own else () for own in readings]


def _cut(text: str, length: int) -> str:
    """A text to no more than its first characters; it ends with a whole segment where it has one."""
    if len(text) <= length:
        return text
    end = max(text.rfind(mark, 0, length) for mark in ",;")
    return text[:end] if end > 0 else text[:length]


def with_tagged(reading: Reading, spans: Sequence[tuple[int, int]], marks: NameMarks) -> Reading:
    """The rules' reading, and the spans that the tagger found, to the reading that mentions are made of.

    The main organisation stays what the rules say, unless the tagger finds several within it, or a known name
    in one that is none. The others are those of the tagger. Several are several names: an organisation named
    twice is one.
    """
    main = next((p for p in reading.pieces if p.segment and p.segment is reading.main), None)
    if reading.main is not None and main is None:
        # It is not written out as it is read, so nothing tells which spans are within it.
        return reading
    within: list[Segment] = []
    beside: list[Segment] = []
    for start, end in spans:
        is_within = main is not None and main.start < end and start < main.end
        (within if is_within else beside).extend(_segments(reading, start, end))
    within = distinct(within)
    if reading.main is not None and (
        not within or (len(within) == 1 and not _is_better(within[0], reading.main, marks))
    ):
        return reading._replace(chosen=_named_once([reading.main, *beside], marks))
    chosen = _named_once([*within, *beside], marks)
    return reading._replace(main=max(chosen, key=claim, default=None), chosen=chosen)


def _named_once(segments: Sequence[Segment], marks: NameMarks) -> list[Segment]:
    """Segments without further names of one organisation: `中山大学 (Sun Yat-sen University)` is one."""
    segments = distinct(segments)
    if len(segments) < 2:
        return segments
    kept: list[Segment] = []
    seen: set[int] = set()
    for segment in segments:
        records = marks.records(segment.text)
        if seen.isdisjoint(records):
            kept.append(segment)
            seen.update(records)
    return kept


def _is_better(tagged: Segment, main: Segment, marks: NameMarks) -> bool:
    """Whether what the tagger takes for the name is known, and what the rules take for it is not.

    The name of a hospital may hold that of its university, which is another organisation; that of a company
    ends with its legal form, that of a campus with its place.
    """
    is_of_kind = tagged.kind == main.kind or main.kind not in ("hospital", "company")
    is_other = is_of_kind and tagged.is_specific and tagged.text != main.text
    is_other = is_other and not main.text.startswith(f"{tagged.text}, ")
    if not is_other or marks.is_known(main.text) or not marks.is_known(tagged.text):
        return False
    before, found, after = main.text.partition(tagged.text)
    if not found:
        return True
    is_acronym = len(compare(found).split()) == 1
    if is_acronym and _has_head(before + after):
        # `CSIR` in `CSIR-Institute of Genomics`, `IRCCS` behind the name of a hospital.
        return False
    return not (_begins_a_name(before) or _ends_a_name(after))


def _ends_a_name(after: str) -> bool:
    """Whether words behind a known name make it another: `National Taiwan University` `of Technology`."""
    words = compare(after).split()
    return bool(words) and not after.lstrip().startswith(_MARKS) and words[0] in _OF | COMPASS


def _begins_a_name(before: str) -> bool:
    """Whether words before a known name belong to it, as in `Charles R` `Drew University`.

    They do not where they name a unit or lead up to the name: `Department of Physics at`, `INSERM U1144`.
    """
    words = compare(before).split()
    if not words or before.rstrip().endswith(_MARKS) or words[-1] in _LEADING:
        return False
    return not _has_head(before) and not any(c.isdigit() for c in before)


def _has_head(text: str) -> bool:
    """Whether some word is what organisations and their units are called by."""
    return bool(Lexicon.load().heads([key for word in compare(text).split() for key in keys_of(word)]))


def _segments(reading: Reading, start: int, end: int) -> list[Segment]:
    """What the rules say of a span: the segment that stands there, else one that is made for it."""
    for piece in reading.pieces:
        if (piece.start, piece.end) == (start, end) and piece.segment:
            return [piece.segment]
    text = reading.text[start:end]
    is_aside = reading.text[:start].rstrip().endswith(("(", "["))
    has_letter = any(map(str.isalpha, text))
    if not has_letter or (is_aside and any(text in s.acronyms for s in reading.segments)):
        # Neither a number nor the acronym in parentheses behind a name is a second organisation.
        return []
    position = next((p.segment.position for p in reading.pieces if p.segment and p.end > start), 0.0)
    return [classify(Part(text), 0)[0]._replace(text=text, position=position)]


def _mentions(readings: Sequence[Reading], settings: ParsingSettings) -> tuple[Mention, ...]:
    """The affiliations of one text to its mentions; the main organisation of the first is the main one.

    One without an organisation (`Department of Physics, Rome, Italy`) adds nothing beside others.
    """
    readings = [reading for reading in readings if reading.main] or readings[:1]
    first = readings[0]
    if first.main is None or not settings.split_organizations:
        return (_whole(first, MAIN),)
    named = distinct([first.main, *(s for reading in readings for s in reading.chosen)])
    kept = {id(segment) for segment in named}
    found = [
        _named(reading, segment, _role(first, reading, segment))
        for reading in readings
        for segment in sorted(reading.chosen, key=lambda s: s is not reading.main)
        if id(segment) in kept
    ]
    return tuple(found[: settings.max_mentions])


def _named(reading: Reading, segment: Segment, role: str) -> Mention:
    """The mention of an organisation beside others in one affiliation, or of what that is about."""
    if segment is reading.main:
        return _whole(reading, role)
    return _mention(reading, segment, role, (), ", ".join([segment.text, *reading.places]))


def _whole(reading: Reading, role: str) -> Mention:
    """The mention of what an affiliation is about, which is compared by all of its text."""
    main, chosen = reading.main, reading.chosen
    beside = [s for s in reading.organizations if s is not main and s not in chosen]
    units = [
        s.text
        for s in reading.segments
        if s.kind in _UNITS and s not in reading.organizations and s not in chosen
    ]
    units += [s.text for s in beside if STRENGTH[s.kind] < INDEPENDENT or s.is_specific]
    return _mention(reading, main, role, tuple(units), reading.text)


def _role(first: Reading, reading: Reading, segment: Segment) -> str:
    """What an organisation is to the main one; in an affiliation of its own it is a partner."""
    main = first.main
    if segment is main:
        return MAIN
    if main is None or reading is not first:
        return PARTNER
    is_above = segment.kind in ("university", "academy") and main.kind not in ("university", "academy")
    return PARENT if is_above and segment.position > main.position else PARTNER


def _mention(
    reading: Reading, segment: Segment | None, role: str, units: tuple[str, ...], context: str
) -> Mention:
    location = reading.location
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
