"""How names stand in strings: word for word and where, in the organisation itself, or abbreviated."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse

from blocking.keys import ranges
from pipeline.lexicon import Lexicon
from pipeline.records import Forms, Int64s
from pipeline.scoring.tokens import Float32s, Vocabulary, overlap

#: In the order in which `standing` and `abbreviated` are documented.
NAMES = (
    *("stands_at", "stands_length", "stands_in_organization", "share_of_organization"),
    *("name_unabbreviated", "mention_unabbreviated", "mention_abbreviated_share"),
)
#: Letters that an abbreviation has at the least: `Inst`, `Med`, but no initials.
_SHORTEST = 3
#: Comes after every letter.
_LAST = "\U0010ffff"


def standing(forms: Forms, left: Int64s, right: Int64s) -> dict[str, Float32s]:
    """Where names stand whole in strings, their words in the same order; in concepts.

    stands_at: letters of the context before the name, -1 where it does not stand there.
    stands_length: letters of the name where it stands in the context, else 0.
    stands_in_organization: whether it stands in what the string calls its organisation, 1 or 0.
    share_of_organization: the part of that which it is, by letters; 0 where it does not stand there.

    Args:
        forms: mentions, and names behind them.
        left, right: a mention and a name, pair by pair, shape (n pairs,).
    """
    whole = [f" {text} " for text in forms.context_concept]
    own = [f" {text} " if text else "" for text in forms.concept]
    at = _found(whole, own, left, right)
    within = _found(own, own, left, right) >= 0
    length = np.array([len(text) for text in own], np.int64)
    share = length[right] / np.maximum(length[left], 1)
    found = {
        "stands_at": at,
        "stands_length": np.where(at >= 0, length[right] - 2, 0),
        "stands_in_organization": within,
        "share_of_organization": np.where(within, share, 0),
    }
    return {name: np.asarray(column, np.float32) for name, column in found.items()}


def _found(texts: Sequence[str], sought: Sequence[str], left: Int64s, right: Int64s) -> Int64s:
    """Where `sought[right]` begins in `texts[left]`, -1 where it does not, or is empty."""
    texts, names = [texts[i] for i in left.tolist()], [sought[i] for i in right.tolist()]
    at = np.fromiter(map(str.find, texts, names), np.int64, len(left))
    at[np.fromiter(map(len, names), np.int64, len(left)) == 0] = -1
    return at


def abbreviated(
    names: Any, contexts: Any, vocabulary: Vocabulary, left: Int64s, right: Int64s
) -> dict[str, Float32s]:
    """What names and organisations lack of each other where `Inst` may be `Institute`, by weight.

    name_unabbreviated: tokens of the name that are neither in the context nor begun by a token of the
        organisation.
    mention_unabbreviated: tokens of the organisation that are no token of the name, nor begin one.
    mention_abbreviated_share: the part of the organisation that is, or begins, tokens of the name.

    Args:
        names, contexts: tokens of the organisations and of the contexts of mentions, and of names behind
            them (`Vocabulary.table`).
        vocabulary: the tokens and their weights.
        left, right: a mention and a name, pair by pair, shape (n pairs,).
    """
    weight, begun = vocabulary.weight, _begun(vocabulary)
    spelt = _binary(names @ begun + contexts)
    beginnings = _binary(names @ begun.T)
    total = np.asarray(names @ weight, np.float32).ravel()
    there, _ = overlap(names[right], spelt[left], weight)
    own, _ = overlap(names[left], beginnings[right], weight)
    return {
        "name_unabbreviated": total[right] - there,
        "mention_unabbreviated": total[left] - own,
        "mention_abbreviated_share": np.divide(
            own, total[left], out=np.zeros_like(own), where=total[left] > 0
        ),
    }


def _begun(vocabulary: Vocabulary) -> Any:
    """Which tokens (columns) each token (row) is, or begins: binary, sparse, (n tokens, n tokens)."""
    tokens, n = vocabulary.token, len(vocabulary.token)
    first = np.arange(n)
    # Tokens are in order, so that those with one beginning stand together.
    after = np.array([bisect_right(tokens, token + _LAST, i) for i, token in enumerate(tokens)], np.int64)
    is_short = np.fromiter(map(len, tokens), np.int64, n) < _SHORTEST
    size = np.where(is_short, 1, np.maximum(after - first, 1))
    columns = np.repeat(first, size) + ranges(size)
    ends = np.concatenate([[0], np.cumsum(size)])
    return sparse.csr_array((np.ones(len(columns), np.float32), columns, ends), shape=(n, n))


def _binary(rows: Any) -> Any:
    rows = rows.tocsr()
    rows.data[:] = 1
    return rows


def classes_in(texts: Sequence[str]) -> Float32s:
    """Whether a hospital (1) and a university (2) are named anywhere in compare forms: their sum, (n,)."""
    lexicon = Lexicon.load()
    kinds = [{head.kind for head in lexicon.heads(text.split())} for text in texts]
    return np.array([("hospital" in k) + 2 * ("university" in k) for k in kinds], np.float32)
