"""Prepare: strings to mentions and their forms, the stages before blocking in one call."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.cleaning import clean
from pipeline.folding import fold_values
from pipeline.normalization import normalize
from pipeline.parsing import parse
from pipeline.records import Forms, Mentions
from pipeline.settings import Settings


def prepare(strings: Sequence[str | None], settings: Settings | None = None) -> tuple[Mentions, Forms]:
    """Raw strings, each counted once, to what models compare of them.

    `pipeline.resolution` takes the same steps one by one, for their times and progress bars.
    """
    settings = settings or Settings()
    mentions = parse(clean(fold_values(strings).affiliations, settings.cleaning), settings.parsing)
    return mentions, normalize(mentions, settings.normalization)
