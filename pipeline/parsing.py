"""Parse: one cleaned text becomes one or more mentions: organisation, units, place, role.

A rule parser. A text is cut into segments at its punctuation; head words (`resources/organization_words.tsv`)
say what a segment names; the strongest organisation is the main one. A department alone is no organisation.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.concepts import name_key
from pipeline.errors import UsageError
from pipeline.lexicon import Head, Lexicon, keys_of
from pipeline.places import Gazetteer, Location, strip_postcodes
from pipeline.records import MAIN, PARENT, PARTNER, Cleaned, Mention, Mentions, Progress, SetAside
from pipeline.text import abbreviations, compare, strip_accents

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
#: Not `\w`: that cuts Indic and Thai words at their vowel signs.
_TOKEN = re.compile(r"[^\s,;:()\[\]{}\"“”„«»/\\|<>\-–—·•]+")
_BREAK = re.compile(r"\s*[,;|>\n•·]+\s*|\s*[:：]\s+")
#: What may part two organisations, and may also stand inside the name of one.
_CONJUNCTION = re.compile(r"\s+(?:[-–—/]+|and|et|und|y|e|&|och|og|en|i)\s+|/")
#: A footnote mark that stands where the next affiliation begins: `University of Pavia 3 Department of Surgery`; not
#: the number of a university (`Université Lyon 1`).
_INNER_MARK = re.compile(
    r"(?<![Pp]aris)(?<![Ll]yon)(?<!LYON)(?<!PARIS)(?<!deaux)(?<!louse)(?<![Ll]ille)(?<!ennes)(?<!noble)(?<!ellier)(?<!bourg)"
    r"(?<!ncy)(?<!seille)(?<!vence)(?<!Roma)(?<!No)(?<!no)(?<!\d)\s+\d{1,2}\s*(?=,|[A-Z][a-z]+ )"
)
#: Acronyms too short to name a university alone, but not before its place.
_LEADING_ACRONYMS = frozenset("TU UC KU VU FU HU UT TH FH LMU ETH IIT NIT".split())
_ACRONYMS = re.compile(r"\s*[A-Z]{2,8}(?:[-/–][A-Z]{2,8})+\s*")
_FULL_STOP = re.compile(r"(\b[^\W\d_]{5,})\.\s+(?=[^\W\d_a-z])")
_LEADING = re.compile(r"^(?:and|et|und|the|at|from|of|in|&)\s+(?=\w)", re.IGNORECASE)
_ACRONYMS = re.compile(r"\s*[A-Z]{2,8}(?:[-/–][A-Z]{2,8})+\s*")
_PARENTHESES = re.compile(r"[(\[{]([^()\[\]{}]{1,200})[)\]}]")
_ACRONYM = re.compile(r"[A-Z][A-Za-z]?[A-Z0-9&.\-]{1,9}")
_JOINING = frozenset(
    "of the for and in at de la du des del della di der die und fur et y e da do van zu an on".split()
)


@dataclass(frozen=True)
class ParsingSettings:
    """`split_organizations`: several mentions for a text that names several organisations."""

    split_organizations: bool = True
    max_mentions: int = 60

    def __post_init__(self) -> None:
        if self.max_mentions < 1:
            raise UsageError(f"parsing.max_mentions must be 1 or more, got {self.max_mentions}")


@dataclass(frozen=True, slots=True)
class _Segment:
    text: str
    kind: str
    #: Number of the part of the string that it stands in, half a step before it where a unit followed.
    position: float
    acronyms: tuple[str, ...] = ()
    #: Whether a token of the name is specific: neither a head word nor a subject ("University Hospital" has none).
    is_specific: bool = True


def parse(
    cleaned: Cleaned, settings: ParsingSettings | None = None, on_progress: Progress | None = None
) -> Mentions:
    """Cleaned texts become mentions; a text that is only a place is set aside with the reason `only_place`."""
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
    parts, acronyms = _split(text)
    location = Gazetteer.load().locate(parts)
    named = [(part, i) for i, part in enumerate(parts) if not location.used[i] or _acronym_kind(part)]
    if not named:
        return ()
    segments = [s for part, i in named for s in _classify(part, i, acronyms.get(i, ()))]
    segments = _join_campus(segments, parts, location)
    organizations = _distinct([s for s in segments if STRENGTH[s.kind] > 0])
    if not organizations:
        # A centre, a laboratory or a school stands for itself where nothing stronger does; a department never.
        organizations = [s for s in segments if s.kind == "part"][-1:]
    units = tuple(s.text for s in segments if s.kind in _UNITS and s not in organizations)
    if not organizations:
        return (_mention(None, MAIN, units, location, text),)
    main = max(organizations, key=_claim)
    units += tuple(s.text for s in organizations if s is not main and STRENGTH[s.kind] < INDEPENDENT)
    mentions = [_mention(main, MAIN, units, location, text)]
    if settings.split_organizations:
        others = [
            s for s in organizations if s is not main and STRENGTH[s.kind] >= INDEPENDENT and s.is_specific
        ]
        for other in others[: settings.max_mentions - 1]:
            context = ", ".join(
                [other.text, *(p for p, used in zip(parts, location.used, strict=True) if used)]
            )
            mentions.append(_mention(other, _role(main, other), (), location, context))
    return tuple(mentions)


def _claim(segment: _Segment) -> tuple[float, float]:
    """How strongly a segment claims to be the main organisation; the earlier one wins a tie."""
    return STRENGTH[segment.kind] - (1.5 if not segment.is_specific else 0.0), -segment.position


def _role(main: _Segment, other: _Segment) -> str:
    is_above = other.kind in ("university", "academy") and main.kind not in ("university", "academy")
    return PARENT if is_above and other.position > main.position else PARTNER


def _mention(
    segment: _Segment | None, role: str, units: tuple[str, ...], location: Location, context: str
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


def _split(text: str) -> tuple[list[str], dict[int, tuple[str, ...]]]:
    """Text to its segments, and for each segment the acronyms that stood in parentheses behind it."""
    asides: list[str] = []

    def note(match: re.Match[str]) -> str:
        asides.append(match[1].strip())
        return f" \x00{len(asides) - 1}\x00 "

    parts: list[str] = []
    acronyms: dict[int, tuple[str, ...]] = {}
    for raw in _pieces(_PARENTHESES.sub(note, text)):
        marks = [asides[int(n)] for n in re.findall(r"\x00(\d+)\x00", raw)]
        part = _LEADING.sub("", re.sub(r"\s*\x00\d+\x00\s*", " ", raw).strip(" .-–/\"'()[]{}"))
        if part:
            parts.append(part)
            acronyms[len(parts) - 1] = tuple(m for m in marks if _ACRONYM.fullmatch(m))
        for mark in marks:
            if not _ACRONYM.fullmatch(mark):
                parts.extend(p for p in (x.strip(" .-") for x in _BREAK.split(mark)) if len(p) > 1)
    return _join_company_suffix(parts), acronyms


def _pieces(text: str) -> list[str]:
    """A text cut at its punctuation; at a spaced dash, `and` or a hyphen only between two organisations."""
    found: list[str] = []
    for part in _BREAK.split(_FULL_STOP.sub(_comma_for_stop, _INNER_MARK.sub(", ", text))):
        if _ACRONYMS.fullmatch(part):
            found.extend(re.split(r"[-/–]", part))
        else:
            found.extend(_split_conjunction(part))
    return found


def _comma_for_stop(match: re.Match[str]) -> str:
    """A full stop behind a word that is no abbreviation parts two segments."""
    return match[0] if strip_accents(match[1].casefold()) in abbreviations() else f"{match[1]}, "


def _split_conjunction(part: str) -> list[str]:
    for joint in _CONJUNCTION.finditer(part):
        left, right = part[: joint.start()], part[joint.end() :]
        if _names_organization(left) and (_names_organization(right) or joint[0].strip() in "-–—/"):
            return [left, *_split_conjunction(right)] if _is_new(right) else [part]
    return [part]


def _is_new(text: str) -> bool:
    """Whether a text can stand alone: `– Paraná` belongs to the name before it, `– CNRS` does not."""
    return _names_organization(text) or bool(_ACRONYM.fullmatch(text.strip())) or _starts_as_unit(text)


def _starts_as_unit(text: str) -> bool:
    heads = Lexicon.load().heads([k for t in _TOKEN.findall(text) for k in keys_of(t)])
    return bool(heads) and heads[0].kind == "unit" and heads[0].start <= 1


def _names_organization(text: str) -> bool:
    """Whether a text has a strong head word and a word of its own beside it."""
    keys = [k for t in _TOKEN.findall(text) for k in keys_of(t)]
    kinds = {h.kind for h in Lexicon.load().heads(keys)}
    return _has_own_word(keys) and not kinds.isdisjoint(("hospital", "university", "academy", "institute"))


def _join_company_suffix(parts: list[str]) -> list[str]:
    """`["Cytokinetics", "Inc"]` is one name."""
    words = Lexicon.load().words
    joined: list[str] = []
    for part in parts:
        keys = keys_of(part) if len(part) < 14 else ()
        if joined and len(keys) == 1 and words.get(keys[0]) == "company":
            joined[-1] = f"{joined[-1]}, {part}"
        else:
            joined.append(part)
    return joined


def _classify(part: str, position: float, acronyms: tuple[str, ...]) -> list[_Segment]:
    """One segment to what it names: usually one thing, two for `Faculty of Medicine University of Porto`."""
    lexicon = Lexicon.load()
    text = _without_trailing_places(strip_postcodes(part) or part)
    if text.isupper() and _ACRONYM.fullmatch(text):
        known = lexicon.acronyms.get(text.replace(".", "").replace("-", ""))
        return [_Segment(text, known or "acronym", position, (text,))]
    if kind := _acronym_kind(part):
        return [_Segment(part, kind, position)]
    spans = [(m.start(), m.end(), k) for m in _TOKEN.finditer(text) for k in keys_of(m[0])]
    keys = [k for _, _, k in spans]
    heads = lexicon.heads(keys)
    kinds = {h.kind for h in heads}
    strong = [h for h in heads if h.kind in ("hospital", "university", "academy")]
    if heads and heads[0].kind == "unit" and heads[0].start <= 1 and strong:
        start = _name_start(keys, strong[0], lexicon)
        if start > heads[0].end:
            unit = text[: spans[start][0]].strip(" -,")
            rest = _classify(text[spans[start][0] :], position, acronyms)
            return [_Segment(_trim_joining(unit), "unit", position), *rest]
    if "university" in kinds and "hospital" not in kinds:
        cut = _unit_behind(heads, keys)
        if cut is not None:
            name, unit = text[: spans[cut][0]].strip(" -,"), text[spans[cut][0] :]
            # A unit stands between the name and the place behind it, so the place is no campus of the name.
            return [
                _segment(name, keys[:cut], "university", position - 0.5, acronyms),
                _Segment(unit, "unit", position),
            ]
    return [_segment(text, keys, _kind(heads, keys, lexicon), position, acronyms)]


def _acronym_kind(part: str) -> str | None:
    """Class of a name that an acronym leads (`ETH Zurich`, `TU München`, `UC Berkeley`), else None."""
    first, _, rest = part.partition(" ")
    if not rest or not first.isupper() or any(h.kind != "unit" for h in Lexicon.load().heads(keys_of(rest))):
        return None
    kind = "university" if first in _LEADING_ACRONYMS else Lexicon.load().acronyms.get(first)
    return kind if kind in ("university", "hospital") else None


def _without_trailing_places(text: str) -> str:
    """`Royal Marsden Hospital London UK` without its places; a lone city stays: `Queen's University Belfast`."""
    rest, places = Gazetteer.load().strip_trailing_places(text)
    is_address = any(p.kind == "country" for p in places) or (
        len(places) > 1 and any(p.kind == "region" for p in places)
    )
    keys = [k for t in _TOKEN.findall(rest) for k in keys_of(t)]
    return rest if is_address and _has_own_word(keys) else text


def _has_own_word(keys: Sequence[str]) -> bool:
    """Whether a name has a word beside its head words and subjects: `Fundacion Chile` without `Chile` has none."""
    lexicon = Lexicon.load()
    return any(
        len(k) > 1 and k not in _JOINING and not lexicon.is_subject(k) and not lexicon.kind_of_word(k)
        for k in keys
    )


def _segment(
    text: str, keys: Sequence[str], kind: str, position: float, acronyms: tuple[str, ...]
) -> _Segment:
    return _Segment(text, kind, position, acronyms, _has_own_word(keys) or kind == "academy")


def _kind(heads: Sequence[Head], keys: Sequence[str], lexicon: Lexicon) -> str:
    """What a segment with these heads names."""
    kinds = {h.kind for h in heads}
    for kind in ("hospital", "university", "academy"):
        if kind in kinds:
            return kind
    if heads and (heads[0].kind == "unit" and heads[0].start <= 1):
        return "part" if _PART.fullmatch(keys[heads[0].start]) else "unit"
    if "company" in kinds and heads[-1].kind == "company" and heads[-1].end == len(keys):
        return "company"
    if heads and heads[-1].kind == "unit" and heads[-1].end == len(keys):
        is_part = any(_PART.fullmatch(k) for k in keys[heads[-1].start : heads[-1].end])
        return "part" if is_part else "unit"
    for kind in ("institute", "college", "agency", "unit"):
        if kind in kinds:
            return kind
    content = [k for k in keys if k not in _JOINING]
    if _is_address(keys):
        return "address"
    if not content or all(lexicon.is_subject(k) or k.isdigit() for k in content):
        return "topic"
    return "unknown"


#: Head words of units that can be organisations of their own.
_PART = re.compile(
    r"cent(?:er|re|ro|rum)|zentrum|school|ecole|escuela|college|institute?|institut\w*|lab\w*|clinic|klinik|medical|key|program|cluster|law|graduate|hub|core|business"
)
_STREET = re.compile(
    r"(?:str|strasse|straat|street|st|road|rd|avenue|ave|av|rue|via|viale|calle|blvd|boulevard|lane|drive|dr|way|square"
    r"|floor|building|bldg|box|bp|box|km|rua|avenida|carretera|ctra|piazza|plaza|place|allee|weg|platz|gade|vej|gatan"
    r"|vagen|ul|ulica|prospekt|cedex|campus|district|block|suite|cs|cp|cep|highway|parkway|route|chemin|quai)"
)


def _is_address(keys: Sequence[str]) -> bool:
    has_number = any(any(c.isdigit() for c in k) for k in keys)
    has_street = any(
        _STREET.fullmatch(k) or k.endswith(("strasse", "straat", "gatan", "gasse")) for k in keys
    )
    return has_street or (has_number and len(keys) <= 3)


def _name_start(keys: Sequence[str], head: Head, lexicon: Lexicon) -> int:
    """First token of the name around `head`, walking left over what can belong to a name."""
    start = head.start
    while start > 0:
        key = keys[start - 1]
        if key in _JOINING or (lexicon.is_subject(key) and key not in lexicon.adjectives):
            break
        if lexicon.kind_of_word(key) == "unit":
            break
        start -= 1
    return start


def _unit_behind(heads: Sequence[Head], keys: Sequence[str]) -> int | None:
    """Where a unit begins behind a university's name (`Indiana University School of Medicine`)."""
    first = next(h for h in heads if h.kind == "university")
    behind = [h for h in heads if h.start >= first.end and h.kind in ("unit", "college", "institute")]
    for h in behind:
        if h.start > first.end and keys[h.start - 1] in _JOINING:
            continue
        if h.start == first.end and first.start == 0:
            continue
        # `Northwestern University Feinberg School of Medicine`: the name ends with its head, unless that leads.
        leads = first.start == 0 or (first.end < len(keys) and keys[first.end] in _JOINING)
        return h.start if leads else first.end
    return None


def _trim_joining(text: str) -> str:
    words = text.split()
    while len(words) > 1 and (keys_of(words[-1]) or ("of",))[0] in _JOINING:
        words.pop()
    return " ".join(words)


def _join_campus(segments: list[_Segment], parts: Sequence[str], location: Location) -> list[_Segment]:
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
            s = replace(s, text=f"{s.text}, {strip_postcodes(parts[after]) or parts[after]}")
        joined.append(s)
    return joined


def _distinct(segments: Sequence[_Segment]) -> list[_Segment]:
    """Segments without repeats of one name in one string."""
    seen: dict[str, _Segment] = {}
    for s in segments:
        seen.setdefault(name_key(compare(s.text)), s)
    return list(seen.values())
