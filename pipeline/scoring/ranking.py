"""Candidates in the order in which a reranker prefers them for one string."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.errors import UsageError
from pipeline.scoring.cross_encoder import CrossEncoderScorer, TextReranker
from pipeline.scoring.score import ScoringSettings, load_rescorer


@dataclass(frozen=True)
class Ranked:
    """A candidate, its place in the list that was given, and the reranker's raw output for it."""

    candidate: str
    index: int
    logit: float


def rank(
    string: str,
    candidates: Sequence[str],
    settings: ScoringSettings | None = None,
    *,
    rescorer: TextReranker | None = None,
) -> list[Ranked]:
    """One string and candidates to the candidates with their logits, the best first; ties in the order given.

    A cross-encoder reads the string first and the candidate second, as its card does; scoring asks it in both
    orders.

    Args:
        string: an affiliation.
        candidates: names or affiliations to order.
        settings: name the reranker: `ScoringSettings(reranker="jina-affiliations")`.
        rescorer: a loaded one, for many calls.

    Raises:
        UsageError: settings name no reranker of texts: the built-in one reads parsed mentions.
        AffilError: it cannot be loaded.
    """
    found = rescorer or load_rescorer(settings or ScoringSettings())
    if not isinstance(found, TextReranker):
        raise UsageError(
            "rank needs a reranker of texts: ScoringSettings(reranker='jina-affiliations'), or a folder"
        )
    if isinstance(found, CrossEncoderScorer):
        logit = found.directed_logits([string] * len(candidates), candidates)
    else:
        logit = found.logits([string] * len(candidates), candidates)
    order = np.argsort(-logit, kind="stable").tolist()
    return [Ranked(candidates[i], i, float(logit[i])) for i in order]
