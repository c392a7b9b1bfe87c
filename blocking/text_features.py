"""Texts to hashed features (character n-grams, words, word pairs), with no Python object per feature."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

UInt64s = npt.NDArray[np.uint64]
Bools = npt.NDArray[np.bool_]
#: Hashes of one kind of feature, the text that each belongs to, and what tells the kind from the others.
_Hashes = tuple[UInt64s, npt.NDArray[np.int64], int]

N_BUCKET_BITS = 18
N_BUCKETS = 1 << N_BUCKET_BITS
#: Lengths of the character n-grams; adding 5 cost half a point of recall@30 and made a third more features.
GRAM_LENGTHS = (3, 4)
#: From here on lie Kana, Han and Hangul, written without spaces: words of two characters are common there.
FIRST_CJK = 0x2E80
_SEPARATOR = "\x1e"
_BASE = 0x9E3779B97F4A7C15  # 2^64 / golden ratio, odd: the base of the rolling hash
_MIXER = np.uint64(0xD6E8FEB86659FD93)  # odd 64-bit multiplier with well spread bits
_WORD_SEED, _PAIR_SEED = 100, 200
#: Latin letters that Unicode does not decompose.
_PLAIN_LATIN = {"ø": "o", "ł": "l", "đ": "d", "æ": "ae", "œ": "oe", "ð": "d", "þ": "th", "ı": "i", "ħ": "h"}


class _Folding(dict[int, str]):
    """Code point → casefolded letters without Latin accents, or a space; filled as characters turn up."""

    def __missing__(self, code: int) -> str:
        self[code] = folded = _fold_character(chr(code))
        return folded


def _fold_character(character: str) -> str:
    folded = character.casefold()
    if folded in _PLAIN_LATIN:
        return _PLAIN_LATIN[folded]
    if unicodedata.name(character, "").startswith("LATIN"):
        return "".join(c for c in unicodedata.normalize("NFKD", folded) if not unicodedata.combining(c))
    if character == _SEPARATOR:
        return character
    # Vowel signs are marks, not letters, and belong to the word in Devanagari, Thai, Arabic …
    is_word = character.isalnum() or unicodedata.category(character) in ("Mn", "Mc")
    return folded if is_word else " "


_FOLDING = _Folding()


def hashed_features(
    texts: Sequence[str], bits: int = N_BUCKET_BITS, gram_lengths: Sequence[int] = GRAM_LENGTHS
) -> Any:
    """Texts in; their features as a CSR matrix out, float32, shape (n, 2^`bits`), values 1 + ln(count).

    Args:
        texts: any texts; case, Latin accents and punctuation make no difference.
        bits: two to the power of it are the buckets that features are hashed into.
        gram_lengths: lengths of the character n-grams, from 3 up.
    """
    from scipy.sparse import csr_matrix

    codes, row = _fold(texts)
    is_space = (codes == 32) | (codes == ord(_SEPARATOR))
    mixed = _mix(np.where(is_space, 32, codes).astype(np.uint64) + np.uint64(1))
    hashes = [*_gram_hashes(mixed, codes, is_space, row, gram_lengths), *_word_hashes(mixed, is_space, row)]
    found = np.sort(np.concatenate([_keys(*own, bits) for own in hashes]))
    is_first = np.ones(len(found), bool)
    is_first[1:] = found[1:] != found[:-1]
    first = np.flatnonzero(is_first)
    counts = np.diff(np.append(first, len(found)))
    distinct = found[first]
    starts = np.searchsorted(distinct >> bits, np.arange(len(texts) + 1))
    values = (1 + np.log(counts)).astype(np.float32)
    columns = (distinct & ((1 << bits) - 1)).astype(np.int32)
    return csr_matrix((values, columns, starts), shape=(len(texts), 1 << bits))


def _fold(texts: Sequence[str]) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
    """Code points of all texts with separators around them, and the number of the text each belongs to."""
    inside = _SEPARATOR.join(text.replace(_SEPARATOR, " ") for text in texts)
    joined = unicodedata.normalize("NFKC", f"{_SEPARATOR}{inside}{_SEPARATOR}").translate(_FOLDING)
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)
    return codes, np.cumsum(codes == ord(_SEPARATOR), dtype=np.int64) - 1


def _gram_hashes(
    mixed: UInt64s,
    codes: npt.NDArray[np.uint32],
    is_space: Bools,
    row: npt.NDArray[np.int64],
    gram_lengths: Sequence[int],
) -> list[_Hashes]:
    """Hashes of character n-grams that lie inside a word with one space on either side."""
    found, n = [], len(mixed)
    rolling, power = mixed.copy(), 1
    is_inside = np.ones(n, bool)
    for length in range(2, max(gram_lengths) + 1):
        n_grams = max(n - length + 1, 0)
        power = power * _BASE % 2**64
        rolling = rolling[:n_grams] + mixed[length - 1 :] * np.uint64(power)
        if length == 2:
            is_cjk = codes >= FIRST_CJK
            wanted = is_cjk[:n_grams] & is_cjk[1:]
        else:
            # Only the two ends of an n-gram may be spaces.
            is_inside = is_inside[:n_grams] & ~is_space[length - 2 : n - 1]
            wanted = is_inside if length in gram_lengths else np.zeros(n_grams, bool)
        at = np.flatnonzero(wanted)
        # The second character is never a space, so its row is the n-gram's own.
        found.append((rolling[at], row[at + 1], length))
    return found


def _word_hashes(mixed: UInt64s, is_space: Bools, row: npt.NDArray[np.int64]) -> list[_Hashes]:
    """Hashes of whole words and of each two neighbouring words of one text."""
    starts = np.flatnonzero(is_space[:-1] & ~is_space[1:]) + 1
    if not len(starts):
        return []
    bounds = np.concatenate([[0], starts, [len(mixed)]])
    place = np.arange(len(mixed)) - np.repeat(bounds[:-1], np.diff(bounds))
    powers = np.cumprod(np.full(int(place.max()) + 1, _BASE, np.uint64))
    words = np.add.reduceat(np.where(is_space, np.uint64(0), mixed * powers[place]), starts)
    word_row = row[starts]
    is_same = word_row[1:] == word_row[:-1]
    pairs = (words[:-1] * np.uint64(_BASE) + words[1:] * _MIXER)[is_same]
    return [(words, word_row, _WORD_SEED), (pairs, word_row[1:][is_same], _PAIR_SEED)]


def _keys(hashes: UInt64s, row: npt.NDArray[np.int64], seed: int, bits: int) -> npt.NDArray[np.int64]:
    """Text number and bucket in one integer, so that sorting groups a text's equal features."""
    spread = _mix(hashes + np.uint64(seed)) * np.uint64(_BASE)
    return (row << bits) | (spread >> np.uint64(64 - bits)).astype(np.int64)


def _mix(values: UInt64s) -> UInt64s:
    mixed: UInt64s = values * _MIXER
    mixed ^= mixed >> np.uint64(29)
    return mixed
