"""Texts as weighted token sets: what two names share, and what one has that the other lacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from rapidfuzz import fuzz
from rapidfuzz.process import cpdist
from scipy import sparse

from blocking.keys import distinct_with_places
from pipeline.rows import list_of, text_array

Float32s = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]

#: A token that is found in the other text at this partial ratio (0–1) or above is a spelling of it. Low
#: enough for a typo or an inflection, high enough to part words of like endings; set by hand, not tuned.
SPELLING = 0.75


@dataclass(frozen=True)
class Vocabulary:
    """Tokens and their weights (inverse document frequency over the corpus and a shipped prior)."""

    number: dict[str, int]
    token: list[str]
    weight: Float32s

    @cached_property
    def tokens(self) -> npt.NDArray[np.object_]:
        """The tokens as an array, shape (n tokens,)."""
        return np.array(self.token, object)

    @cached_property
    def is_long(self) -> npt.NDArray[np.bool_]:
        """Whether a token is long enough to have other spellings, shape (n tokens,)."""
        return np.array([len(token) > 3 for token in self.token], bool)

    @classmethod
    def fit(
        cls, texts: Sequence[str], prior: Mapping[str, int] | None = None, n_prior: int = 0
    ) -> Vocabulary:
        """Weights from the concept texts at hand together with document frequencies counted before.

        The prior keeps weights sensible when a file has fifty strings, and fades as the corpus grows.
        """
        behind, count = prior or {}, frequencies(texts)
        return cls.weighing({t: c + behind.get(t, 0) for t, c in count.items()}, len(texts) + n_prior)

    @classmethod
    def weighing(cls, count: Mapping[str, int], n: int) -> Vocabulary:
        """Weights of tokens from in how many of `n` texts each stands."""
        tokens = sorted(count)
        frequency = np.array([count[t] for t in tokens], np.float64)
        weight = np.log((1 + n) / (0.5 + frequency)) / np.log(2 * (1 + n)) if tokens else np.empty(0)
        return cls({t: i for i, t in enumerate(tokens)}, tokens, weight.astype(np.float32))

    def table(self, texts: Sequence[str]) -> sparse.csr_array:
        """Concept texts to a binary matrix, shape (n texts, n tokens), without tokens that are not known."""
        row, code, tokens = _placed(texts)
        column = np.array([self.number.get(t, -1) for t in tokens], np.int64)[code]
        is_known = column >= 0
        shape = (len(texts), len(self.token))
        found = sparse.csr_array(
            (np.ones(int(is_known.sum()), np.float32), (row[is_known], column[is_known])), shape=shape
        )
        # A token that a text has twice was added up.
        found.sum_duplicates()
        found.data[:] = 1
        return found


def frequencies(texts: Sequence[str]) -> dict[str, int]:
    """Concept texts (`pipeline.concepts.concept_text`) to in how many of them each token stands."""
    row, code, tokens = _placed(texts)
    distinct = np.unique(row * max(len(tokens), 1) + code)
    counts = np.bincount(distinct % max(len(tokens), 1), minlength=len(tokens))
    return dict(zip(tokens, counts.tolist(), strict=True))


def _placed(texts: Sequence[str]) -> tuple[Int64s, Int64s, list[str]]:
    """Concept texts to all that stands in them: number of the text, number of the token, and the tokens."""
    import pyarrow.compute as pc

    words = pc.split_pattern(text_array(texts, is_large=True), " ")
    row = np.repeat(np.arange(len(texts)), pc.list_value_length(words).to_numpy())
    flat = words.flatten().dictionary_encode()
    tokens, code = list_of(flat.dictionary), flat.indices.to_numpy().astype(np.int64)
    # A text without a token is split into one that is empty.
    is_token = np.array([bool(t) for t in tokens], bool)[code] if len(tokens) else np.empty(0, bool)
    return row[is_token].astype(np.int64), code[is_token], tokens


def overlap(left: sparse.csr_array, right: sparse.csr_array, weight: Float32s) -> tuple[Float32s, Float32s]:
    """Rows of two binary tables to (summed weight of shared tokens, weight of the rarest shared token)."""
    shared = left.multiply(right).tocsr()
    return _row_sums(shared, weight), _row_maxima(shared, weight)


def _row_sums(rows: sparse.csr_array, weight: Float32s) -> Float32s:
    return np.asarray(rows @ weight, np.float32).ravel()


def _row_maxima(rows: sparse.csr_array, weight: Float32s) -> Float32s:
    return maxima_by_row(row_numbers(rows), weight[rows.indices] * (rows.data != 0), rows.shape[0])


def row_numbers(rows: sparse.csr_array) -> Int64s:
    """The row of every stored entry."""
    return np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))


def maxima_by_row(row: Int64s, value: Float32s, n_rows: int) -> Float32s:
    """Largest value of each row, 0 for a row without any; values are never negative."""
    found = np.zeros(n_rows, np.float32)
    np.maximum.at(found, row, value)
    return found


def lacking(
    own: sparse.csr_array, other: sparse.csr_array, text: Int64s, texts: Sequence[str], vocabulary: Vocabulary
) -> tuple[Float32s, Float32s]:
    """Tokens of one side that the other lacks: (summed weight, weight of the rarest), by row.

    A token that stands in the other text, `texts[text[row]]`, in another spelling (typo, inflection,
    transliteration) counts only for its difference.
    """
    missing = (own - own.multiply(other)).tocsr()
    missing.eliminate_zeros()
    row = row_numbers(missing)
    if not len(row):
        none = np.zeros(own.shape[0], np.float32)
        return none, none
    alike = np.zeros(len(row), np.float32)
    is_long = vocabulary.is_long[missing.indices]
    alike[is_long] = _spellings(missing.indices[is_long], text[row[is_long]], texts, vocabulary)
    weight = vocabulary.weight[missing.indices] * (1 - alike)
    total = np.bincount(row, weight, own.shape[0]).astype(np.float32)
    return total, maxima_by_row(row, weight, own.shape[0])


def _spellings(token: Int64s, text: Int64s, texts: Sequence[str], vocabulary: Vocabulary) -> Float32s:
    """Numbers of tokens, and of the text that each is sought in, to how alike it is found there, 0–1.

    Pairs of alike names repeat what one lacks of the other: each token is sought once in a text.
    """
    both, again = distinct_with_places(token.astype(np.int64) * len(texts) + text)
    tokens = vocabulary.tokens[both // len(texts)]
    sought = [texts[i] for i in (both % len(texts)).tolist()]
    alike = cpdist(tokens, sought, scorer=fuzz.partial_ratio, score_cutoff=100 * SPELLING, dtype=np.float32)
    return np.asarray((alike / 100)[again], np.float32)
