"""OpenRefine's key collision: strings with one key are one cluster; written here from its documentation."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

from protocol import run

#: Letters that no decomposition takes apart, as OpenRefine writes them in ASCII.
_PLAIN = str.maketrans(
    {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "ł": "l", "ı": "i"}
)


def cluster(strings: Sequence[str], _: Sequence[str], method: str, size: int = 2) -> Iterator[str]:
    """Strings to their keys: `fingerprint`, or `ngram-fingerprint` of so many letters."""
    for string in strings:
        yield fingerprint(string) if method == "fingerprint" else ngram_fingerprint(string, size)


def fingerprint(string: str) -> str:
    """Without case, accents, punctuation and control characters; the distinct words, sorted."""
    text = _ascii(re.sub(r"[^\w\s]|_", "", re.sub(r"[\x00-\x08\x0e-\x1f\x7f]", "", string.strip().lower())))
    return " ".join(sorted(set(text.split())))


def ngram_fingerprint(string: str, size: int) -> str:
    """Without case, accents, punctuation and blanks; the distinct n-grams, sorted."""
    text = _ascii(re.sub(r"[\W_]", "", string.lower()))
    return "".join(sorted({text[n : n + size] for n in range(len(text) - size + 1)})) or text


def _ascii(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text.translate(_PLAIN))
    return "".join(c for c in decomposed if not unicodedata.combining(c))


if __name__ == "__main__":
    run(cluster)
