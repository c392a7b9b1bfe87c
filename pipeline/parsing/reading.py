"""The rules' reading of one text: its segments, what each names, which are organisations, and where it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from pipeline.concepts import name_key
from pipeline.lexicon import Lexicon, keys_of
from pipeline.parsing.classify import Segment, classify
from pipeline.parsing.marking import NameMarks
from pipeline.parsing.naming import kind_of_acronym_name
from pipeline.parsing.segments import Part, split_text
from pipeline.places import Gazetteer, Location, country_of, strip_postcodes
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
#: Classes that make a mention of their own beside the main one.
INDEPENDENT = 4.0
#: Semicolons that may end an affiliation: each is tried, and texts are long where they are of anything.
_MOST_ENDS = 60
#: The kind of a piece that names places only.
PLACE = "place"


class Piece(NamedTuple):
    """A segment where it stands in the text; None for what names places only."""

    start: int
    end: int
    segment: Segment | None

    @property
    def kind(self) -> str:
        """The class of the segment."""
        return self.segment.kind if self.segment else PLACE


class Reading(NamedTuple):
    """What the rules make of a text.

    Attributes:
        text: the text, no longer than is looked at.
        segments: what is no place, in order.
        organizations: segments that can be organisations, each name once.
        main: the organisation, None where the text names none.
        chosen: `main`, and the organisations beside it that are mentions of their own.
        places: parts that say where the text is.
        location: where the text is.
        pieces: segments and places where they stand, in the order in which they are read; one that is not
            written out as it is read (a place joined to a name) is left out.
    """

    text: str
    segments: list[Segment]
    organizations: list[Segment]
    main: Segment | None
    chosen: list[Segment]
    places: list[str]
    location: Location
    pieces: list[Piece]


def read(text: str) -> Reading | None:
    """One cleaned text to the rules' reading of it; None where it is only a place."""
    parts = split_text(text)
    location = _located(parts)
    named = [i for i, part in enumerate(parts) if _is_named(part, location.used[i])]
    if not named:
        return None
    segments = _join_campus([s for i in named for s in classify(parts[i], i)], parts, location)
    organizations = distinct([s for s in segments if STRENGTH[s.kind] > 0])
    if not organizations:
        # A centre, a laboratory or a school stands for itself where nothing stronger does.
        organizations = [s for s in segments if s.kind == "part"][-1:]
    main = max(organizations, key=claim, default=None)
    chosen = [main, *(s for s in organizations if _is_mention(s, main))] if main else []
    places = [part.text for part, used in zip(parts, location.used, strict=True) if used]
    taken = set(named)
    pieces = _pieces(text, segments, [(i, p.text) for i, p in enumerate(parts) if i not in taken])
    return Reading(text, segments, organizations, main, chosen, places, location, pieces)


def _located(parts: Sequence[Part]) -> Location:
    """Where a text is: by the parts that are places, else by the places that end it without a comma.

    Without a comma one town tells too little: `Institut Cochin` is in Paris, not in Kochi.
    """
    gazetteer = Gazetteer.load()
    location = gazetteer.locate([part.text for part in parts])
    if location.country_code or not parts:
        return location
    _, places = gazetteer.strip_trailing_places(parts[-1].text)
    country = country_of(places)
    if country is None or (len(places) < 2 and places[0].kind != "country"):
        return location
    name = {place.kind: place.name for place in places}
    return replace(
        location, city=name.get("city") or location.city, region=name.get("region"), country_code=country
    )


def read_affiliations(text: str, marks: NameMarks) -> list[Reading]:
    """One cleaned text to a reading of each affiliation in it, those that are only places left out.

    `A, Paris, France; B, Rome, Italy` is two: a semicolon ends an affiliation where an organisation and a
    country are named before it, and parts what is in two countries: `A; B, Rome, Italy`, where A is known to
    be French. Elsewhere it is a comma: `Department of Physics; University X; Boulder USA`.
    """
    if ";" not in text:
        return [*filter(None, [read(text)])]
    found: list[Reading] = []
    begun: Reading | None = None
    unread = ""
    for item in text.split(";", _MOST_ENDS):
        own = read(item.strip())
        if begun and own and _are_apart(begun, own, marks):
            found.append(begun)
            unread = ""
        unread = f"{unread};{item}" if unread else item
        begun = read(unread.strip())
        if begun and begun.main and begun.location.country_code:
            found.append(begun)
            begun, unread = None, ""
    if unread.strip():
        if found and not (begun and _are_apart(found[-1], begun, marks)):
            # What is left over belongs to the affiliation before it.
            begun = read(f"{found.pop().text};{unread}")
        found += filter(None, [begun])
    return found


def _are_apart(before: Reading, after: Reading, marks: NameMarks) -> bool:
    """Whether two texts are in two countries, by their places or by where a known name is from."""
    one, other = _countries(before, marks), _countries(after, marks)
    if not one or not other or not one.isdisjoint(other):
        return False
    return not (before.main and after.main and marks.are_related(before.main.text, after.main.text))


def _countries(reading: Reading, marks: NameMarks) -> frozenset[str]:
    """The countries that a text can be in."""
    main = reading.main
    told = Gazetteer.load().countries(reading.places)
    return told or (marks.countries(main.text) if main and main.is_specific else told)


def _pieces(text: str, segments: Sequence[Segment], places: Sequence[tuple[int, str]]) -> list[Piece]:
    named: list[tuple[float, str, Segment | None]] = [(s.position, s.text, s) for s in segments]
    named += [(i, place, None) for i, place in places]
    found: list[Piece] = []
    at = 0
    for _, own, segment in sorted(named, key=lambda n: n[0]):
        start = text.find(own, at)
        if start < 0:
            start = text.find(own)
        if start >= 0:
            at = max(at, start + len(own))
            found.append(Piece(start, start + len(own), segment))
    return found


def claim(segment: Segment) -> tuple[float, float]:
    """How strongly a segment claims to be the main organisation; the earlier one wins a tie."""
    return STRENGTH[segment.kind] - (1.5 if not segment.is_specific else 0.0), -segment.position


def distinct(segments: Sequence[Segment]) -> list[Segment]:
    """Segments without repeats of one name in one string."""
    if len(segments) < 2:
        return list(segments)
    seen: dict[str, Segment] = {}
    for s in segments:
        seen.setdefault(_name_key(s.text), s)
    return list(seen.values())


@lru_cache(maxsize=1 << 16)
def _name_key(text: str) -> str:
    return name_key(compare(text))


def _is_named(part: Part, is_place_of_string: bool) -> bool:
    """Whether a part names something that is no place, be it the string's own or another's."""
    has_acronym, is_certain_place = _as_place(part.text)
    return has_acronym or not (is_place_of_string or is_certain_place)


@lru_cache(maxsize=1 << 16)
def _as_place(text: str) -> tuple[bool, bool]:
    """Whether an acronym leads a text that is a name (`ETH Zurich`), and whether it is surely a place."""
    places = Gazetteer.load().lookup(text)
    return bool(kind_of_acronym_name(text)), any(not (p.is_code or p.needs_support) for p in places)


def _is_mention(other: Segment, main: Segment) -> bool:
    """Whether an organisation beside the main one is a mention of its own."""
    return other is not main and STRENGTH[other.kind] >= INDEPENDENT and other.is_specific


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
            s = s._replace(text=f"{s.text}, {strip_postcodes(place) or place}")
        joined.append(s)
    return joined
