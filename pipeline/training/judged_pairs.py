"""Judged pairs to learn from: what people said of strings, put through the data path as a run would."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.records import Int64s
from pipeline.scoring import PairFeatures, vocabulary_of
from pipeline.training.judged import Judged, SettledPairs
from pipeline.training.labelled_pairs import Frequencies, proposed
from pipeline.training.scorer import LabelledPairs


def judged_pairs(judged: Judged, frequencies: Frequencies) -> tuple[LabelledPairs, SettledPairs]:
    """Judgements, and what token weights are made of, to all features of the pairs that they settle."""
    mentions, forms, pairs = proposed(judged.strings)
    found = judged.settle(mentions, pairs)
    values = PairFeatures(forms, vocabulary_of(forms, frequencies)).of(found.left, found.right)
    return LabelledPairs(values, found.is_match), found


@dataclass(frozen=True)
class JudgedTexts:
    """Pairs of texts as an encoder sees them.

    Attributes:
        text: distinct texts.
        left, right: numbers of texts, shape (n,).
        is_match: whether they are one institution's.
        told: a line on what was said.
    """

    text: list[str]
    left: Int64s
    right: Int64s
    is_match: npt.NDArray[np.bool_]
    told: str

    @classmethod
    def of(cls, judged: Judged) -> JudgedTexts:
        """Judgements to pairs of whole strings, of their concept forms and of the organisations in them."""
        mentions, forms, pairs = proposed(judged.strings)
        found = judged.settle(mentions, pairs)
        views = (forms.context, forms.context_concept, forms.organization, forms.concept)
        number: dict[str, int] = {}
        rows: dict[tuple[int, int], bool] = {}
        for view in views:
            for a, b, is_match in zip(*(x.tolist() for x in found[:3]), strict=True):
                left, right = view[a], view[b]
                if left and right and left != right:
                    ends = sorted(number.setdefault(text, len(number)) for text in (left, right))
                    rows[ends[0], ends[1]] = is_match
        ends_of = np.array(list(rows), np.int64).reshape(-1, 2)
        is_one = np.fromiter(rows.values(), np.bool_, len(rows))
        return cls(list(number), ends_of[:, 0], ends_of[:, 1], is_one, found.told)
