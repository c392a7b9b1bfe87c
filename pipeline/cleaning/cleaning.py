"""Clean: raw strings become repaired texts; what is not affiliation is set aside with the reason."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

from pipeline.cleaning.characters import (
    collapse_blanks,
    drop_controls,
    normalize_characters,
    part_glued_words,
    repair_mojibake,
    strip_markup,
    unescape_entities,
)
from pipeline.cleaning.contacts import set_aside_contacts, set_aside_links
from pipeline.cleaning.marks import (
    set_aside_phrases,
    strip_ends,
    strip_inner_marks,
    strip_leading_marks,
    tidy_separators,
)
from pipeline.cleaning.people import set_aside_people
from pipeline.errors import UsageError
from pipeline.processes import in_processes
from pipeline.records import Affiliations, Cleaned, Progress, SetAside

log = logging.getLogger(__name__)
_TICK = 10_000
#: Strings handed to a process at a time, and strings from which on processes are worth it: 40,000 a second
#: are cleaned without them.
_CHUNK, _LEAST_FOR_PROCESSES = 4096, 200_000


@dataclass(frozen=True)
class CleaningSettings:
    """Which repairs are made; characters, blanks and words stuck to a head word are always mended.

    Attributes:
        repair_encoding: mojibake and HTML entities.
        strip_markup: tags, placeholders such as `#TAB#`, typed escapes.
        strip_footnote_marks: marks before, after and between names.
        set_aside_contacts: e-mails, phones, correspondence notes.
        set_aside_links: ORCID ids, web addresses, DOIs.
        set_aside_phrases: "Present address:", "From the" and the like.
        set_aside_people: names of people, where there is no doubt.
    """

    repair_encoding: bool = True
    strip_markup: bool = True
    strip_footnote_marks: bool = True
    set_aside_contacts: bool = True
    set_aside_links: bool = True
    set_aside_phrases: bool = True
    set_aside_people: bool = True

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not isinstance(value, bool):
                raise UsageError(f"cleaning.{name} must be true or false, got {value!r}")


_DEFAULT = CleaningSettings()


def clean(
    affiliations: Affiliations, settings: CleaningSettings | None = None, on_progress: Progress | None = None
) -> Cleaned:
    """Raw strings in, one repaired text each out; strings without a name and cut pieces are set aside."""
    settings = settings or _DEFAULT
    texts: list[str] = []
    aside = SetAside.empty()
    work = partial(_clean_chunk, settings=settings)
    cleaned = in_processes(work, affiliations.affiliation, _CHUNK, _LEAST_FOR_PROCESSES)
    for number, (raw, (text, pieces)) in enumerate(
        zip(affiliations.affiliation, chain.from_iterable(cleaned), strict=True)
    ):
        texts.append(text)
        is_whole = not text
        if is_whole:
            pieces = ((raw, pieces[0][1] if pieces else "no_letters"),)
        for piece, reason in pieces:
            aside.string.append(piece)
            aside.reason.append(reason)
            aside.n_occurrences.append(int(affiliations.n_occurrences[number]))
            aside.is_whole.append(is_whole)
            aside.affiliation.append(number)
        if on_progress and (number + 1) % _TICK == 0:
            on_progress(number + 1, len(affiliations))
    if on_progress:
        on_progress(len(affiliations), len(affiliations))
    log.info("clean: %d strings, %d set aside whole", len(affiliations), sum(aside.is_whole))
    return Cleaned(affiliations, texts, aside)


def _clean_chunk(
    texts: Sequence[str], settings: CleaningSettings
) -> list[tuple[str, tuple[tuple[str, str], ...]]]:
    return [clean_text(text, settings) for text in texts]


def clean_text(raw: str, settings: CleaningSettings = _DEFAULT) -> tuple[str, tuple[tuple[str, str], ...]]:
    """A raw string in, the repaired text and the pieces cut from it as (piece, reason) out.

    The text is "" where nothing with letters is left.
    """
    text = _repair_characters(raw, settings)
    pieces: list[tuple[str, str]] = []
    if settings.set_aside_links:
        text = set_aside_links(text, pieces)
    if settings.set_aside_contacts:
        text = set_aside_contacts(text, pieces)
    if settings.strip_footnote_marks:
        text = strip_leading_marks(strip_inner_marks(text))
    if settings.set_aside_phrases:
        text = set_aside_phrases(text, pieces)
    if settings.set_aside_people:
        text = set_aside_people(text, pieces)
    text = strip_ends(tidy_separators(collapse_blanks(text)))
    if settings.strip_footnote_marks:
        text = strip_leading_marks(text)
    return (text if any(map(str.isalpha, text)) else ""), tuple(pieces)


def _repair_characters(text: str, settings: CleaningSettings) -> str:
    if settings.repair_encoding:
        text = repair_mojibake(unescape_entities(text))
    if settings.strip_markup:
        text = strip_markup(text)
    return collapse_blanks(part_glued_words(normalize_characters(drop_controls(text))))
