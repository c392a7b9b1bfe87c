"""Prepare: strings to mentions and their forms, the stages before blocking in one call."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.cleaning import clean
from pipeline.folding import fold_values
from pipeline.normalization import normalize
from pipeline.parsing import parse
from pipeline.records import Affiliations, Forms, Mentions, Progress
from pipeline.settings import Settings


def prepare(strings: Sequence[str | None], settings: Settings | None = None) -> tuple[Mentions, Forms]:
    """Raw strings, each counted once, to what models compare of them.

    `pipeline.resolution` takes the same steps one by one, for their times and progress bars.
    """
    settings = settings or Settings()
    mentions = mentions_of(fold_values(strings).affiliations, settings)
    return mentions, normalize(mentions, settings.normalization)


def mentions_of(strings: Affiliations, settings: Settings, on_progress: Progress | None = None) -> Mentions:
    """Distinct strings, cleaned and parsed as the settings of a run say."""
    names = settings.normalization.known_names
    return parse(clean(strings, settings.cleaning), settings.parsing, on_progress, known_names=names)
