"""Similarity: two columns of strings in, the probability that each row's two are one institution out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from blocking import CandidatePairs
from pipeline.calibration import calibrate
from pipeline.errors import UsageError
from pipeline.folding import sources_of
from pipeline.preparation import prepare
from pipeline.records import MAIN, Float64s, Int64s, Mentions, Progress
from pipeline.rows import rows_from_values
from pipeline.scoring import PairRescorer, fit_vocabulary, score
from pipeline.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

    Strings = Sequence[str | None] | pd.Series[Any]


def affiliation_similarity(
    left: Strings,
    right: Strings,
    settings: Settings | None = None,
    *,
    among: Strings = (),
    rescorer: PairRescorer | None = None,
    on_progress: Progress | None = None,
) -> Float64s:
    """Calibrated probabilities that the strings of a row name one institution, shape (n,).

    The main organisations are compared, by the features, reranker and calibration of a run; nothing is
    blocked or clustered. How much a word counts depends on how rare it is: among these strings, `among`, and
    those that the model was fitted on. With all the strings of a run in the three, its pairs have the figures
    that they have there, if that run did not adapt to its corpus (`calibration.adapt_to_corpus`).

    Args:
        left, right: strings (lists, pandas columns), one pair a row.
        settings: of parsing, scoring and calibration; all defaults when left out.
        among: further strings of the corpus, for the weights of words.
        rescorer: a loaded one, for many calls, instead of the reranker that settings name.
        on_progress: called with (pairs done, pairs).

    Returns:
        NaN where a string is blank or was set aside whole; 1 where both are the same string.

    Raises:
        UsageError: columns of different length, values that are no strings, bad settings.
        AffilError: a model that cannot be loaded.
    """
    settings = settings or Settings()
    texts = [rows_from_values(values)["affiliation"].to_pylist() for values in (left, right, among)]
    n = len(texts[0])
    if len(texts[1]) != n:
        raise UsageError(f"{n} strings on the left, {len(texts[1])} on the right; give one pair a row")
    every = [text for column in texts for text in column]
    mentions, forms = prepare(every, settings)
    vocabulary = fit_vocabulary(forms, settings.scoring.model)
    number = {key: i for i, key in enumerate(mentions.affiliations.affiliation_id)}
    of_row = sources_of(every)["affiliation_id"].to_pylist()[: 2 * n]
    main = _main_mentions(mentions)[np.array([number.get(key, -1) for key in of_row], np.int64)]
    a, b = main[:n], main[n:]
    is_asked = (a >= 0) & (b >= 0) & (a != b)
    pairs, again = _distinct(np.minimum(a, b)[is_asked], np.maximum(a, b)[is_asked])
    scored = score(forms, pairs, vocabulary, settings.scoring, rescorer=rescorer, on_progress=on_progress)
    found = np.where((a >= 0) & (a == b), 1.0, np.nan)
    found[is_asked] = calibrate(scored, settings.calibration, shift=0.0).probability[again]
    return found


def _main_mentions(mentions: Mentions) -> Int64s:
    """The main mention of each string, −1 where it has none; −1 at the end for no string."""
    main = np.full(len(mentions.affiliations) + 1, -1, np.int64)
    is_main = np.array([m.role == MAIN for m in mentions.mention], bool)
    main[mentions.affiliation[is_main]] = np.flatnonzero(is_main)
    return main


def _distinct(low: Int64s, high: Int64s) -> tuple[CandidatePairs, Int64s]:
    """Pairs in any order to each once, as scoring takes them, and for every one its number there."""
    once, again = np.unique(np.stack([low, high], axis=1), axis=0, return_inverse=True)
    n = len(once)
    pairs = CandidatePairs(once[:, 0], once[:, 1], np.zeros(n, np.float32), np.zeros(n, np.uint8))
    return pairs, again.reshape(-1)
