"""Place names: which texts name a country, a region or a city, and where an affiliation string is.

Names and tables are in `pipeline.place_names`, postcodes in `pipeline.postcodes`; this module hands on their
public functions. Nothing is read before `Gazetteer.load`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import NamedTuple

from pipeline.place_names import Kind, Place, place_key, read_tables
from pipeline.place_words import belongs_to_name, is_tail
from pipeline.postcodes import cut_postcodes, is_postcode, may_be_postal, strip_postcodes

__all__ = ["Gazetteer", "Location", "Place", "country_of", "is_postcode", "place_key", "strip_postcodes"]

#: What a place tells about the country of a string, by kind; later places tell more (see `Gazetteer.locate`).
_WEIGHT: dict[Kind, int] = {"country": 4, "region": 3, "city": 2}
#: Countries whose addresses put a two-letter region right before the postcode ("NJ 07024", "NSW 2006").
_REGION_POSTCODE = frozenset({"US", "CA", "AU"})
_MOST_WORDS = 10
#: A name in quotes ends in no address: Instituto "Dr. Hector Maldonado".
_CLOSING_QUOTES = ('"', "”", "»", "''")
_ASCII_DIGIT = re.compile("[0-9]")
_CACHE_SIZE = 1 << 16


@dataclass(frozen=True)
class Location:
    """Where a string is, in the tables' names; `used` tells for each segment if it only names places."""

    city: str | None
    region: str | None
    country_code: str | None
    used: tuple[bool, ...]


class _Slot(NamedTuple):
    """One place name in one segment: all that it can mean, and the postcodes in the same segment."""

    segment: int
    places: tuple[Place, ...]
    postcodes: tuple[str, ...]


def country_of(places: Iterable[Place]) -> str | None:
    """Places in; the one country that they share out, or None where there is none or more than one.

    Places named as countries outrank cities and regions.
    """
    places = tuple(places)
    named = {place.country_code for place in places if place.kind == "country" and not place.is_code}
    codes = named or {place.country_code for place in places}
    return codes.pop() if len(codes) == 1 else None


class Gazetteer:
    """The place tables, by key. Get it from `Gazetteer.load()`, which reads them once for the process."""

    def __init__(self, names: dict[str, tuple[Place, ...]], outranks: dict[str, str]) -> None:
        """Places by `place_key`, and for territories the country that they outrank where both are named."""
        self._names = names
        self._outranks = outranks
        countries = (place for places in names.values() for place in places if place.kind == "country")
        self._country_names = {place.country_code: place.name for place in countries}
        self._last_words = frozenset(key.rpartition(" ")[2] for key in names)
        self._longest = max((key.count(" ") + 1 for key in names), default=0)
        self._read = lru_cache(_CACHE_SIZE)(self._read_segment)
        self._decide = lru_cache(_CACHE_SIZE)(self._decide_segments)

    @classmethod
    def load(cls) -> Gazetteer:
        """The gazetteer of the tables that come with the package; the same object every time."""
        return _load()

    def lookup(self, text: str) -> tuple[Place, ...]:
        """A text in; every place of which the whole text is a name out, codes included."""
        return self._names.get(place_key(text), ())

    def country_name(self, country_code: str | None) -> str | None:
        """A country's code in; its name out, None where the tables lack it."""
        return self._country_names.get(country_code or "")

    def locate(self, segments: Sequence[str]) -> Location:
        """The comma segments of one string in; where it is, and which segments only name places, out.

        Later segments weigh more. A country settles ambiguous towns and abbreviations; a town of one country
        gives the country where none is named; codes and lesser namesakes count only beside a place that
        vouches for them ("MA" beside Boston, Paris beside Texas) or, for US, Canadian and Australian regions,
        before a postcode.
        A town that could be in two countries is given without a country.
        """
        numbers = [number for number, segment in enumerate(segments) if self._read(segment)]
        used = [False] * len(segments)
        if not numbers:
            return Location(None, None, None, tuple(used))
        found = self._decide(tuple([segments[number] for number in numbers]))
        for number, is_used in zip(numbers, found.used, strict=True):
            used[number] = is_used
        return Location(found.city, found.region, found.country_code, tuple(used))

    def countries(self, segments: Sequence[str]) -> frozenset[str]:
        """Segments of one string in; the country that they tell, else all that they could be in, out."""
        told = self.locate(segments).country_code
        slots = [slot for segment in segments for slot in self._read(segment)]
        return frozenset([told] if told else [p.country_code for slot in slots for p in slot.places])

    def strip_trailing_places(self, text: str) -> tuple[str, tuple[Place, ...]]:
        """An unpunctuated text in; without the places and postcodes at its end, and those places, out.

        Longest names first. The text never becomes empty, and a place that belongs to a name stays: after a
        preposition or a bare kind ("University of Sheffield", "TU München"), unless it is named once more.
        """
        words = text.split()
        last = place_key(words[-1]) if words else ""
        if last and last not in self._last_words and not may_be_postal(text):
            return text, ()
        keys = ["and" if word == "&" else place_key(word) for word in words]
        if text.rstrip(" .,;").endswith(_CLOSING_QUOTES):
            return text, ()
        is_cased = text != text.lower()
        slots: list[_Slot] = []
        postcodes: list[str] = []
        end = len(words)
        first = next((number for number, key in enumerate(keys, 1) if key), end)
        # What is left may itself be a place ("Republic of China" ends "People's Republic of China").
        while end > first and " ".join(filter(None, keys[:end])) not in self._names:
            found = self._places_at_end(
                keys[:end], words[:end] if is_cased else None, slots, tuple(postcodes)
            )
            if found is not None:
                size, places = found
                if not places:
                    break
                slots.insert(0, _Slot(0, places, tuple(postcodes)))
                postcodes.clear()
            elif size := self._postcode_at_end(words[:end], keys[:end], slots):
                postcodes.append(" ".join(words[end - size : end]))
            else:
                break
            end -= size
        if not slots:
            return text, ()
        return " ".join(words[:end]).rstrip(" ,;-"), self._choose(slots)

    def _read_segment(self, segment: str) -> tuple[_Slot, ...]:
        """The place names that a segment is made of, in order; empty if it holds anything else."""
        key = place_key(segment)
        if places := self._names.get(key):
            return (_Slot(0, places, ()),)
        codes: tuple[str, ...] = ()
        if "cedex" in key or _has_digit(key):
            rest, codes = cut_postcodes(segment.strip(" ,;."))
            if not codes:
                return ()
            key = place_key(rest)
            if not key:
                return (_Slot(0, (), codes),)
        words = key.split(" ")
        if words[-1] not in self._last_words or len(words) > _MOST_WORDS:
            return ()
        return tuple(_Slot(0, places, codes) for places in self._spell(words))

    def _spell(self, words: list[str]) -> tuple[tuple[Place, ...], ...]:
        """Words that are place names one after another, longest first from the end; empty if they are not."""
        found: list[tuple[Place, ...]] = []
        end = len(words)
        while end:
            for start in range(max(0, end - self._longest), end):
                if places := self._names.get(" ".join(words[start:end])):
                    found.append(places)
                    end = start
                    break
            else:
                return ()
        return tuple(reversed(found))

    def _places_at_end(
        self, keys: list[str], words: list[str] | None, taken: list[_Slot], postcodes: tuple[str, ...]
    ) -> tuple[int, tuple[Place, ...]] | None:
        """How many words at the end name a place, and which; no places if they belong to a name before them.

        `words` is None where the text has no capitals to tell names by.
        """
        end = len(keys)
        if keys[-1] and keys[-1] not in self._last_words:
            return None
        for start in range(max(1, end - self._longest), end):
            if words is not None and words[start][0].islower() and keys[start] != "the":
                continue
            places = tuple(
                place
                for place in self._names.get(" ".join(filter(None, keys[start:])), ())
                if self._fits(place, taken)
                and (not place.needs_support or self._is_vouched_for(place, keys[:start], taken, postcodes))
            )
            if places:
                is_alone = not (taken or postcodes or self._is_near_town(keys[:start], places))
                belongs = (
                    _is_repeated(places, taken)
                    or any(belongs_to_name(keys[:start], p.kind, place_key(p.region or "")) for p in places)
                    or (
                        is_alone
                        and all(p.kind != "country" for p in places)
                        and is_tail(keys[:start], keys[start:])
                    )
                )
                return end - start, () if belongs else places
        return None

    def _fits(self, place: Place, taken: list[_Slot]) -> bool:
        """Whether a place can stand before the places taken so far: in the same country, or outranking it."""
        countries = {other.country_code for slot in taken for other in slot.places}
        return (
            not countries
            or place.country_code in countries
            or self._outranks.get(place.country_code) in countries
        )

    def _is_vouched_for(
        self, place: Place, before: list[str], taken: list[_Slot], postcodes: tuple[str, ...]
    ) -> bool:
        if any(place.agrees_with(other) for slot in taken for other in slot.places):
            return True
        if _is_before_postcode(place, postcodes):
            return True
        return self._is_near_town(before, (place,))

    def _is_near_town(self, before: list[str], places: tuple[Place, ...]) -> bool:
        """Whether the words before end in a town that vouches for one of the places."""
        for start in range(max(1, len(before) - self._longest), len(before)):
            neighbours = self._names.get(" ".join(filter(None, before[start:])), ())
            towns = [other for other in neighbours if other.kind == "city"]
            if any(place.agrees_with(town) for place in places for town in towns):
                return True
        return False

    def _postcode_at_end(self, words: list[str], keys: list[str], taken: list[_Slot]) -> int:
        """How many words at the end are a postcode beside a place (0: none)."""
        if not may_be_postal(" ".join(words[-4:])):
            return 0
        countries: set[str | None] = {place.country_code for slot in taken for place in slot.places}
        for size in range(min(4, len(words) - 1), 0, -1):
            text = " ".join(words[-size:])
            if not any(is_postcode(text, country) for country in countries or {None}):
                continue
            if strip_postcodes(" ".join(words[-size - 1 :])) == " ".join(words[-size - 1 :]).strip(" ,;"):
                return 0
            if taken or self._places_at_end(keys[:-size], words[:-size], [], (text,)):
                return size
        return 0

    def _choose(self, slots: list[_Slot]) -> tuple[Place, ...]:
        """One place for each slot, as they agree with one another; all that it can be where that is open."""
        slots = [slot._replace(segment=number) for number, slot in enumerate(slots)]
        readings = _supported(slots)
        country = self._winner(readings)
        kept = self._within(readings, country)
        city, region = _city_and_region(kept)
        chosen: list[Place] = []
        for slot, places in zip(slots, kept, strict=True):
            best = [place for place in (city, region) if place in places]
            best += [place for place in places if place.kind == "country"]
            if best and country is not None:
                chosen.append(best[0])
            else:
                chosen += places or slot.places
        return tuple(chosen)

    def _decide_segments(self, segments: tuple[str, ...]) -> Location:
        slots = [slot._replace(segment=n) for n, text in enumerate(segments) for slot in self._read(text)]
        readings = _supported(slots)
        country = self._winner(readings)
        kept = self._within(readings, country)
        used = [False] * len(segments)
        for slot, places in zip(slots, kept, strict=True):
            is_postal = not slot.places and any(is_postcode(code, country) for code in slot.postcodes)
            used[slot.segment] |= bool(places) or (is_postal and country is not None)
        city, region = _city_and_region(kept)
        if country is None:
            return Location(city.name if city else None, None, None, tuple(used))
        region_name = region.region if region else city.region if city else None
        if city and not region and _is_in_several_regions(city, kept):
            region_name = None
        return Location(city.name if city else None, region_name, country, tuple(used))

    def _winner(self, readings: Sequence[tuple[Place, ...]]) -> str | None:
        """The country that the readings tell of most, later ones weighing up to half more; None for a tie."""
        votes: dict[str, int] = {}
        for rank, places in enumerate(readings):
            best: dict[str, int] = {}
            for place in places:
                best[place.country_code] = max(best.get(place.country_code, 0), _WEIGHT[place.kind])
            for code, weight in best.items():
                votes[code] = votes.get(code, 0) + weight * (2 * len(readings) + rank)
        if not votes:
            return None
        most = max(votes.values())
        winners = [country for country, vote in votes.items() if vote == most]
        country = winners[0] if len(winners) == 1 else None
        territories = {
            place.country_code
            for places in readings
            for place in places
            if country is not None
            and self._outranks.get(place.country_code) == country
            and (place.kind == "country" or all(p.country_code == place.country_code for p in places))
        }
        return max(sorted(territories), key=lambda code: votes[code]) if territories else country

    def _within(self, readings: Sequence[tuple[Place, ...]], country: str | None) -> list[tuple[Place, ...]]:
        """The readings in the country (all where it is open), with the name of the country it outranks."""
        if country is None:
            return list(readings)
        sovereign = self._outranks.get(country)
        return [
            tuple(
                place
                for place in places
                if place.country_code == country
                or (place.kind == "country" and place.country_code == sovereign)
            )
            for places in readings
        ]


def _has_digit(text: str) -> bool:
    # What is asked of most texts, letters of ASCII, a pattern tells at once.
    return _ASCII_DIGIT.search(text) is not None if text.isascii() else any(c.isdigit() for c in text)


def _is_repeated(places: tuple[Place, ...], taken: Sequence[_Slot]) -> bool:
    """Whether the same town stands right behind, so that this one is in a name ("Radboud … Nijmegen")."""
    return bool(taken) and taken[0].places == places and all(place.kind == "city" for place in places)


def _is_before_postcode(place: Place, postcodes: Sequence[str]) -> bool:
    country = place.country_code
    return (
        place.kind == "region"
        and country in _REGION_POSTCODE
        and any(is_postcode(code, country) for code in postcodes)
    )


def _supported(slots: Sequence[_Slot]) -> list[tuple[Place, ...]]:
    """For each slot the places that count: those that need no support, and those that have it."""
    readings = []
    for number, slot in enumerate(slots):
        if not any(place.needs_support for place in slot.places):
            readings.append(slot.places)
            continue
        postcodes = slot.postcodes
        for follower in slots[number + 1 : number + 2]:
            postcodes = postcodes if follower.places else postcodes + follower.postcodes
        readings.append(
            tuple(
                place
                for place in slot.places
                if not place.needs_support
                or _is_before_postcode(place, postcodes)
                or any(
                    place.agrees_with(other)
                    for position, neighbour in enumerate(slots)
                    if position != number
                    for other in neighbour.places
                )
            )
        )
    return readings


def _city_and_region(readings: Sequence[tuple[Place, ...]]) -> tuple[Place | None, Place | None]:
    """Readings of one country in; city and region out: the last ones, of two readings where there are two."""
    n_countries = sum(any(place.kind == "country" for place in places) for places in readings)
    regions = [(n, place) for n, places in enumerate(readings) for place in places if place.kind == "region"]
    cities: list[tuple[int, bool, Place]] = []
    for number, places in enumerate(readings):
        country = next((place for place in places if place.kind == "country"), None)
        cities += [
            (number, country is None, place)
            for place in places
            if place.kind == "city" and (country is None or n_countries > 1 or place.name == country.name)
        ]
    region_number, region = regions[-1] if regions else (-1, None)
    if not cities:
        return None, region

    def preference(option: tuple[int, bool, Place]) -> tuple[bool, bool, bool, int, bool]:
        number, is_only_city, place = option
        is_apart = number != region_number
        is_in_region = region is not None and place.region == region.region
        return is_apart, is_only_city, is_in_region, number, not place.needs_support

    number, _, city = max(cities, key=preference)
    if number == region_number and region is not None and city.region != region.region:
        return (None, region) if city.needs_support else (city, None)
    return city, region


def _is_in_several_regions(city: Place, readings: Sequence[tuple[Place, ...]]) -> bool:
    """Whether the readings leave it open in which region of the country a city of that name is."""
    for places in readings:
        if city in places:
            namesakes = {p.region for p in places if p.kind == "city" and not p.needs_support}
            return len(namesakes | {city.region}) > 1
    return False


@cache
def _load() -> Gazetteer:
    return Gazetteer(*read_tables())
