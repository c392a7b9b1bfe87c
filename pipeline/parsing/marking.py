"""Which tokens of texts are names that a table of known names holds, and what it says of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain, product
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.concepts import concept_tokens
from pipeline.known_names import BUILT_IN, KnownNames, NameTable, hash_of, names_of
from pipeline.lexicon import keys_of
from pipeline.parsing.naming import MARK
from pipeline.text import compare

Int64s = npt.NDArray[np.int64]

#: What the table says of a token, () where it says nothing. Of one that alone is a name: whether it is in
#: capitals, how many records are called so, whether one is in the text's country. Of one in a run that is a
#: name: how many concept tokens the run has, whether a mark stands in it that parts organisations, the
#: records as before, and whether it begins and ends with the token.
NameKey = tuple[Any, ...]
_EITHER = (False, True)
_MOST_TOKENS, _MOST_RECORDS = 5, 3
_ABOUT = (range(1, _MOST_RECORDS + 1), ("unknown", "here", "elsewhere"))
#: By number all that the table can say of a token.
NAMES: list[NameKey] = [
    (),
    *product(("one",), _EITHER, *_ABOUT),
    *product(("run",), range(2, _MOST_TOKENS + 1), _EITHER, *_ABOUT, _EITHER, _EITHER),
]
_NUMBER = {key: n for n, key in enumerate(NAMES)}
#: What is added to the number of a run's inner tokens for its first and for its last one.
_BEGINS, _ENDS = 2, 1
#: Marks that part organisations more often than they stand in the name of one.
_PARTING = frozenset(",;:|()[]")
_CACHE_SIZE = 1 << 16


class NameMarks:
    """A table of known names, looked up for tokens and texts. Get it from `load`."""

    def __init__(self, names: KnownNames | None) -> None:
        """The table; None knows no name."""
        self._names = names
        self._single = lru_cache(200_000)(self._find_single)
        self._about = lru_cache(_CACHE_SIZE)(self._find_about)
        #: The records that a text as a whole is a name of.
        self.records = lru_cache(_CACHE_SIZE)(self._find_records)

    @staticmethod
    @lru_cache(maxsize=2)
    def load(source: str = BUILT_IN) -> NameMarks:
        """The table that settings call so, see `names_of`; the same object every time."""
        return NameMarks(names_of(source))

    def is_known(self, text: str) -> bool:
        """Whether a text as a whole is a name in the table."""
        return bool(self.records(text))

    def are_related(self, one: str, other: str) -> bool:
        """Whether two texts as a whole are known names of one record, or of two that the registry relates."""
        pairs = product(self.records(one), self.records(other))
        return any(self._are_related(*pair) for pair in pairs)

    def countries(self, text: str) -> frozenset[str]:
        """The countries of the records that a text as a whole is a name of."""
        return frozenset(filter(None, (self._country(record) for record in self.records(text))))

    def numbers(
        self, words: Sequence[str], word: Int64s, text_of: Int64s, country: Sequence[str | None]
    ) -> Int64s:
        """What the table says of tokens, by its number in `NAMES`; of names that overlap the longest.

        Args:
            words: distinct words.
            word, text_of: numbers of each token's word and text, shape (n,).
            country: country code of each text, None where it is unknown.
        """
        if self._names is None:
            return np.zeros(len(word), np.int64)
        found = self._singles(words, word, text_of, country)
        concepts = [concept_hashes(w) for w in words]
        counts = np.fromiter(map(len, concepts), np.int64, len(words))
        starts, n_of = np.cumsum(counts) - counts, counts[word]
        flat = np.fromiter(chain.from_iterable(concepts), np.uint64, int(counts.sum()))
        token_of = np.repeat(np.arange(len(word)), n_of)
        ahead = np.arange(len(token_of)) - np.repeat(np.cumsum(n_of) - n_of, n_of)
        hashes = flat[starts[word[token_of]] + ahead]
        n_parting = np.cumsum(np.array([w in _PARTING for w in words], np.int64)[word]).tolist()
        taken = bytearray(len(hashes))
        texts, tokens = text_of.tolist(), token_of.tolist()
        for at, n, row in self._names.runs(hashes, text_of[token_of]):
            if taken.find(1, at, at + n) >= 0:
                continue
            taken[at : at + n] = b"\x01" * n
            first, last = tokens[at], tokens[at + n - 1]
            about = self._about(True, row, country[texts[first]])
            crosses = last > first and n_parting[last - 1] > n_parting[first]
            found[first : last + 1] = _NUMBER["run", min(n, _MOST_TOKENS), crosses, *about, False, False]
            found[first] += _BEGINS
            found[last] += _ENDS
        return found

    def _singles(
        self, words: Sequence[str], word: Int64s, text_of: Int64s, country: Sequence[str | None]
    ) -> Int64s:
        """What the table says of tokens that alone are names."""
        found = np.zeros(len(word), np.int64)
        row = np.fromiter((self._single(w) for w in words), np.int64, len(words))
        is_upper = [w.isupper() for w in words]
        for token in np.flatnonzero(row[word] >= 0).tolist():
            own = int(word[token])
            about = self._about(False, int(row[own]), country[text_of[token]])
            found[token] = _NUMBER["one", is_upper[own], *about]
        return found

    def _find_single(self, word: str) -> int:
        """The row of the name that a token alone is, -1 where it is none."""
        assert self._names is not None
        own = concept_hashes(word)
        return self._names.single.row_of.get(own[0], -1) if len(own) == 1 else -1

    def _find_about(self, is_run: bool, row: int, country: str | None) -> tuple[int, str]:
        """How many records are called so (3 for more), and whether one of them is in the text's country."""
        assert self._names is not None
        table: NameTable = self._names.bag if is_run else self._names.single
        records = table.records(row)
        places = [*map(self._country, records)]
        where = "unknown" if country is None else "here" if country in places else "elsewhere"
        return min(len(records), _MOST_RECORDS), where

    def _country(self, record: int) -> str | None:
        assert self._names is not None
        place: tuple[str | None, str | None] = self._names.places[self._names.place[record]]
        return place[0]

    def _are_related(self, one: int, other: int) -> bool:
        assert self._names is not None
        return one == other or bool(self._names.related[one, other])

    def _find_records(self, text: str) -> tuple[int, ...]:
        tokens = concept_tokens(compare(text)) if self._names else []
        return self._names.named(tokens) if self._names and tokens else ()


@lru_cache(maxsize=200_000)
def concept_hashes(word: str) -> tuple[int, ...]:
    """One token to the hashes of its concept tokens."""
    return () if MARK.fullmatch(word) else tuple(map(hash_of, concept_tokens(" ".join(keys_of(word)))))
