"""Pairs to learn from: the candidates that blocking proposes among labelled strings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from blocking import CandidatePairs, block, load_encoder
from pipeline.evaluation.ranking import RankingQuality, ranking_quality
from pipeline.evaluation.reliability import Reliability, reliability
from pipeline.model_list import encoder_source
from pipeline.preparation import prepare
from pipeline.records import Float64s, Forms, Int64s, Mentions
from pipeline.scoring import NAMES, AdditiveModel, PairFeatures, token_frequencies, vocabulary_of
from pipeline.settings import Settings
from pipeline.training.judged import Judged, SettledPairs

#: In how many of so many texts each token stands: what token weights are made of.
Frequencies = tuple[Mapping[str, int], int]


class Candidates(NamedTuple):
    """Candidate pairs between main mentions.

    Attributes:
        features: what is known of the mentions.
        left, right: mention numbers, shape (n,).
        is_match: whether both are one institution.
        told: a line on what was judged, "" where nothing was.
    """

    features: PairFeatures
    left: Int64s
    right: Int64s
    is_match: npt.NDArray[np.bool_]
    told: str


def proposed(strings: Sequence[str]) -> tuple[Mentions, Forms, CandidatePairs]:
    """Raw strings, each once, to their mentions and the pairs that blocking proposes by default settings."""
    settings = Settings()
    mentions, forms = prepare(strings, settings)
    encoder = load_encoder(encoder_source(settings.blocking.encoder))
    return mentions, forms, block(forms.views, forms.keys, settings.blocking, encoder=encoder)


def candidates_among(
    rows: Sequence[tuple[str, str]], frequencies: Frequencies, judged: Judged | None = None
) -> Candidates:
    """(string, label) rows through the data path, by the default settings, to their candidate pairs.

    Pairs that judgements settle are among them, proposed or not; what was judged outranks labels.
    """
    label_of = dict(rows)
    mentions, forms, pairs = proposed([*label_of.keys() | (judged.strings if judged else ())])
    raw = mentions.affiliations.affiliation
    number = {label: i for i, label in enumerate(sorted(set(label_of.values())))}
    labels = (number.get(label_of.get(raw[i], ""), -1) for i in mentions.affiliation.tolist())
    label = np.fromiter(labels, np.int64, len(mentions))
    # The label tells nothing of mentions beside the main one.
    is_told = (label >= 0) & forms.is_main
    known = is_told[pairs.left] & is_told[pairs.right]
    left, right = pairs.left[known], pairs.right[known]
    features = PairFeatures(forms, vocabulary_of(forms, frequencies))
    found = Candidates(features, left, right, label[left] == label[right], "")
    return found if judged is None else _outranked(found, judged.settle(mentions, pairs), len(mentions))


def _outranked(found: Candidates, said: SettledPairs, n: int) -> Candidates:
    """Candidate pairs of `n` mentions, and those that were judged as they were judged."""
    is_open = ~np.isin(found.left * n + found.right, said.left * n + said.right)
    return Candidates(
        found.features,
        np.concatenate([found.left[is_open], said.left]),
        np.concatenate([found.right[is_open], said.right]),
        np.concatenate([found.is_match[is_open], said.is_match]),
        said.told,
    )


@dataclass(frozen=True)
class MinedPairs:
    """Candidate pairs between main mentions of labelled strings.

    Attributes:
        features: what is known of the mentions.
        left, right: mention numbers, shape (n,).
        values: features of the pairs, shape (n, len(NAMES)).
        logit: log-odds of the shipped feature model.
        is_match: whether both have one label, or were judged to be one.
        told: a line on what was judged, "" where nothing was.
    """

    features: PairFeatures
    left: Int64s
    right: Int64s
    values: npt.NDArray[np.float32]
    logit: Float64s
    is_match: npt.NDArray[np.bool_]
    told: str = ""

    def __len__(self) -> int:
        return len(self.left)

    @classmethod
    def of(cls, rows: Sequence[tuple[str, str]], judged: Judged | None = None) -> MinedPairs:
        """(string, label) rows and judgements to their pairs, see `candidates_among`."""
        found = candidates_among(rows, token_frequencies(None), judged)
        values = found.features.of(found.left, found.right)
        model = AdditiveModel.load(None, NAMES)
        logit = model.logits(values[:, [NAMES.index(f) for f in model.features]])
        return cls(found.features, found.left, found.right, values, logit, found.is_match, found.told)

    def ranked(self, logit: Float64s) -> RankingQuality:
        """Log-odds of the pairs to how well they order the candidates of each mention."""
        return ranking_quality(self.left, self.right, logit, self.is_match)

    def judged(self, logit: Float64s) -> Reliability:
        """Log-odds of the pairs to their average precision and log loss."""
        found = reliability(1 / (1 + np.exp(-np.clip(logit, -500, 500))), self.is_match)
        assert found is not None
        return found

    def quality(self, logit: Float64s) -> str:
        """Log-odds of the pairs to a line of figures."""
        judged, ranked = self.judged(logit), self.ranked(logit)
        return (
            f"average precision {judged.average_precision:.4f}, MAP {ranked.mean_average_precision:.4f},"
            f" MRR@10 {ranked.reciprocal_rank:.4f}, NDCG@10 {ranked.discounted_gain:.4f},"
            f" log loss {judged.log_loss:.4f}"
        )
