"""Pairs of mentions as words for the built-in reranker: which words, where they stand, how alike they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.records import Int64s
from pipeline.scoring.features import PairFeatures

Float32s = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

#: Number of a place in a row that no word fills.
NONE = -1
#: Of a word: whether it is of the organisation (else of its context), times whether the other side has it
#: not at all, in its context, or in its organisation.
N_MARKS = 6


@dataclass(frozen=True)
class MentionWords:
    """Mentions as rows of word numbers: the organisation's concept tokens, then those of the context alone.

    Attributes:
        vocabulary: the distinct words; the first is "", which stands for a mention without any.
        number: int64, shape (n_mentions, at most max_words), `NONE` behind a row's last word.
        n_organization: how many words of each row are of the organisation.
        n_words: how many there are.
    """

    vocabulary: list[str]
    number: Int64s
    n_organization: Int64s
    n_words: Int64s

    @classmethod
    def of(cls, features: PairFeatures, mentions: Int64s, max_words: int) -> MentionWords:
        """Some mentions to their words; of long contexts the end is left out."""
        known: dict[str, int] = {"": 0}
        rows, n_organization = [], []
        for i in mentions.tolist():
            own = dict.fromkeys(features.forms.concept[i].split())
            n = min(len(own), max_words)
            words = list(own | dict.fromkeys(features.context[i].split()))[:max_words] or [""]
            rows.append([known.setdefault(word, len(known)) for word in words])
            n_organization.append(n)
        n_words = np.array([len(row) for row in rows], np.int64)
        number = np.full((len(rows), int(n_words.max(initial=1))), NONE, np.int64)
        number[np.arange(number.shape[1]) < n_words[:, None]] = [n for row in rows for n in row]
        return cls(list(known), number, np.array(n_organization, np.int64), n_words)


@dataclass(frozen=True)
class PairBatch:
    """Pairs as rows of words, those of one side before those of the other; shapes (n_pairs, n_places, …).

    Attributes:
        word: int64, number of the word, 0 where there is none.
        mark: int64, which of `N_MARKS` the word has.
        place: int64, its place among the organisation's words, or among those of the context.
        is_word: whether there is one.
        n_left: places of the first side.
        cosine: float32, shape (n_pairs, n_places, n_places), of each two words' vectors.
        nearest: float32, the largest cosine with a word of the other side.
        features: float32, shape (n_pairs, n_features), standardised.
    """

    word: Int64s
    mark: Int64s
    place: Int64s
    is_word: Bools
    n_left: int
    cosine: Float32s
    nearest: Float32s
    features: Float32s

    @classmethod
    def of(
        cls,
        words: MentionWords,
        vectors: Float32s,
        pairs: tuple[Int64s, Int64s],
        features: Float32s,
        n_places: int,
        is_kept: Any = None,
    ) -> PairBatch:
        """Rows of `words` in pairs, and their features, to a batch.

        Args:
            words: the mentions' words.
            vectors: a vector of length 1 for each word of the vocabulary, zeros for "".
            pairs: row numbers, shape (n,) each.
            features: shape (n, n_features).
            n_places: places from which on all count as the last one.
            is_kept: for training, two arrays of the shape of `words.number[pairs[i]]`: words not left out.
        """
        rows = [words.number[p] for p in pairs]
        if is_kept is not None:
            rows = [np.where(kept, row, NONE) for row, kept in zip(rows, is_kept, strict=True)]
        rows = [row[:, : max(1, int(words.n_words[p].max()))] for row, p in zip(rows, pairs, strict=True)]
        n_own = [words.n_organization[p][:, None] for p in pairs]
        is_own = [np.arange(row.shape[1]) < n for row, n in zip(rows, n_own, strict=True)]
        number = np.concatenate(rows, axis=1)
        is_word, word = number != NONE, np.maximum(number, 0)
        cosine, n_left = _cosines(vectors[word]), rows[0].shape[1]
        across = cosine[:, :n_left, n_left:]
        is_present = is_word[:, :n_left, None] & is_word[:, None, n_left:]
        across = np.where(is_present, across, np.float32(-1))
        nearest = np.concatenate([across.max(2), across.max(1)], axis=1)
        return cls(
            word,
            np.concatenate(_marks(rows, is_own), axis=1),
            np.concatenate([_places(row, n, n_places) for row, n in zip(rows, n_own, strict=True)], axis=1),
            is_word,
            n_left,
            cosine,
            nearest * is_word,
            features,
        )

    @property
    def is_across(self) -> Bools:
        """Whether each two places are of two sides, shape (n_places, n_places)."""
        is_left = np.arange(self.word.shape[1]) < self.n_left
        return np.asarray(is_left[:, None] != is_left)


def _cosines(vectors: Float32s) -> Float32s:
    found: Float32s = np.matmul(vectors, vectors.transpose(0, 2, 1))
    return found


def _marks(rows: Sequence[Int64s], is_own: Sequence[Bools]) -> list[Int64s]:
    """Marks of the words of both sides: what each is in its own text, and what in the other."""
    (a, b), (own_a, own_b) = rows, is_own
    equal = (a[:, :, None] == b[:, None, :]) & (a[:, :, None] != NONE)
    in_b = np.where((equal & own_b[:, None, :]).any(2), 2, equal.any(2))
    in_a = np.where((equal & own_a[:, :, None]).any(1), 2, equal.any(1))
    return [3 * own_a + in_b, 3 * own_b + in_a]


def _places(row: Int64s, n_own: Int64s, n_places: int) -> Int64s:
    at = np.arange(row.shape[1])
    return np.asarray(np.minimum(np.where(at < n_own, at, at - n_own), n_places - 1), np.int64)
