"""The trained part of the parser: which tokens of a text name organisations. NumPy runs it.

Each token is the sum of the vectors of its hashed features; convolutions over the tokens of a text, wider
from layer to layer, give each token a logit for each tag; the best sequence of tags is found by the Viterbi
algorithm (a linear-chain conditional random field, Lafferty et al. 2001).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import UsageError
from pipeline.parsing.features import SEGMENTS, Tokens, name_features, segment_features, word_features
from pipeline.parsing.marking import NAMES

Float32s = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]

#: Tags of tokens: of no organisation, first of one, further ones of it, of a unit, of a place.
TAGS = ("other", "first", "inside", "unit", "place")
OTHER, FIRST, INSIDE, UNIT, PLACE = range(len(TAGS))
WEIGHTS_FILE = "model.safetensors"
_FORMAT = "affiliation-tagger-2"
#: Tokens beyond the first layer's two on either side are reached in steps of these.
DILATIONS = (2, 4, 8)
#: Stands for minus infinity: an organisation does not begin inside.
FORBIDDEN = -1e4
#: Tokens worked on at a time, those that fill short texts up to the length of the longest counted: what they
#: need fits the cache of a core.
_LOT = 4096
#: Words whose vectors are kept: 25 MB.
_KEPT_WORDS = 200_000


def allowed() -> tuple[Float32s, Float32s]:
    """What is added to transitions, shape (tags, tags), and to first tags: nothing, or `FORBIDDEN`."""
    between, start = np.zeros((len(TAGS), len(TAGS)), np.float32), np.zeros(len(TAGS), np.float32)
    between[[OTHER, UNIT, PLACE], INSIDE] = FORBIDDEN
    start[INSIDE] = FORBIDDEN
    return between, start


class Tagger:
    """Texts with the rules' readings in, the spans of organisations out. Make one with `load`."""

    def __init__(self, arrays: dict[str, npt.NDArray[Any]]) -> None:
        """The arrays of a model file, see `save`."""
        self.arrays = arrays
        table = arrays["table"].astype(np.float32) * arrays["scale"][:, None]
        self._table: Float32s = np.ascontiguousarray(table)
        self._layers = [(arrays[f"weight_{n}"], arrays[f"bias_{n}"]) for n in range(len(DILATIONS) + 1)]
        between, start = allowed()
        self._between: Float32s = arrays["between"] + between
        self._start: Float32s = arrays["start"] + start
        n = self.n_buckets
        self._segments = self._sums([segment_features(number, n) for number in range(len(SEGMENTS))])
        self._names = self._sums([name_features(number, n) for number in range(len(NAMES))])
        self._words: dict[str, Float32s] = {}

    @property
    def n_buckets(self) -> int:
        """How many rows the table of features has."""
        return len(self._table)

    @classmethod
    def load(cls, folder: str | Path | None = None) -> Tagger:
        """A folder with `model.safetensors`, by default the one in the package, to its tagger; read once.

        Raises:
            UsageError: a file that is missing, damaged or of another kind.
        """
        shipped = files("pipeline") / "models" / "parser"
        return _load(Path(str(shipped)) if folder is None else Path(folder).expanduser())

    def spans(self, tokens: Tokens) -> list[list[tuple[int, int]]]:
        """The tokens of texts to the organisations in each text: start and end, in order."""
        # The products are small: threads would wait for each other, and take twice the time.
        with _threads().limit(limits=1, user_api="blas"):
            return _spans(self._tags(tokens), tokens)

    def _tags(self, tokens: Tokens) -> Int64s:
        """The tag of each token, shape (n_tokens,)."""
        vectors, tags = self._vectors(tokens), np.zeros(len(tokens.word), np.int64)
        for texts in _lots(tokens.n_tokens):
            n_tokens = tokens.n_tokens[texts]
            at = tokens.first[texts][:, None] + np.arange(int(n_tokens[-1]))
            mask = np.arange(at.shape[1]) < n_tokens[:, None]
            # Behind the end of a text stand tokens of the next one, which the mask blots out.
            state = vectors[np.minimum(at, len(vectors) - 1)] * mask[:, :, None]
            logits = self._logits(state, mask[:, :, None].astype(np.float32))
            tags[at[mask]] = best_tags(logits, n_tokens, self._between, self._start)[mask]
        return tags

    def _vectors(self, tokens: Tokens) -> Float32s:
        """The sums of the vectors of each token's features, shape (n_tokens, dimensions)."""
        # Words come back in other texts. Threads that do this at once do some of it twice, and no harm.
        known = self._words if len(self._words) < _KEPT_WORDS else {}
        missing = [word for word in tokens.words if word not in known]
        known.update(
            zip(missing, self._sums([word_features(w, self.n_buckets) for w in missing]), strict=True)
        )
        self._words = known
        words = np.array([known[word] for word in tokens.words], np.float32).reshape(-1, self._table.shape[1])
        return words[tokens.word] + self._segments[tokens.segment] + self._names[tokens.name]

    def _sums(self, features: Sequence[Sequence[int]]) -> Float32s:
        """Numbers of features to the sums of their vectors."""
        sums = np.zeros((len(features), self._table.shape[1]), np.float32)
        filled = [n for n, numbers in enumerate(features) if numbers]
        if filled:
            starts = np.cumsum([0, *(len(features[n]) for n in filled[:-1])])
            flat = np.fromiter(chain.from_iterable(features), np.int64)
            sums[filled] = np.add.reduceat(self._table[flat], starts, axis=0)
        return sums

    def _logits(self, state: Float32s, mask: Float32s) -> Float32s:
        """Token vectors of texts to logits, shape (texts, tokens, tags).

        Args:
            state: shape (texts, tokens, dimensions), 0 behind the end of a text.
            mask: 1 for tokens, 0 behind the end of a text, shape (texts, tokens, 1).
        """
        weight, bias = self._layers[0]
        state = np.maximum(convolve(state, weight, 1) + bias, 0) * mask
        for (weight, bias), dilation in zip(self._layers[1:], DILATIONS, strict=True):
            state = (state + np.maximum(convolve(state, weight, dilation) + bias, 0)) * mask
        logits = state.reshape(-1, state.shape[2]) @ self.arrays["weight_out"] + self.arrays["bias_out"]
        return np.asarray(logits.reshape(*state.shape[:2], -1), np.float32)

    def save(self, folder: str | Path) -> None:
        """Write the model file: the table with one byte a number and a scale for each row."""
        from safetensors.numpy import save

        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        temporary = path / f"{WEIGHTS_FILE}.part"
        arrays = {name: np.ascontiguousarray(self.arrays[name]) for name in sorted(self.arrays)}
        temporary.write_bytes(save(arrays, {"format": _FORMAT}))
        temporary.replace(path / WEIGHTS_FILE)


def convolve(state: Float32s, weight: Float32s, dilation: int) -> Float32s:
    """Tokens of texts to the sums of their neighbours' products, weight of shape (width, inputs, outputs)."""
    n_texts, n_tokens, n_inputs = state.shape
    window = np.zeros((n_texts, n_tokens, len(weight), n_inputs), np.float32)
    for n in range(len(weight)):
        ahead = (n - len(weight) // 2) * dilation
        before, behind = max(-ahead, 0), max(ahead, 0)
        window[:, before : max(n_tokens - behind, 0), n] = state[:, behind : max(n_tokens - before, 0)]
    product: Float32s = window.reshape(n_texts * n_tokens, -1) @ weight.reshape(-1, weight.shape[2])
    return product.reshape(n_texts, n_tokens, -1)


def best_tags(logits: Float32s, n_tokens: Int64s, between: Float32s, start: Float32s) -> Int64s:
    """Logits, shape (texts, tokens, tags), to the most probable sequences of tags, shape (texts, tokens)."""
    n, width, _ = logits.shape
    best = start + logits[:, 0]
    came_from = np.zeros((width, n, len(TAGS)), np.int64)
    for at in range(1, width):
        ways = best[:, :, None] + between
        came_from[at] = ways.argmax(axis=1)
        is_inside = (n_tokens > at)[:, None]
        best = np.where(is_inside, ways.max(axis=1) + logits[:, at], best)
    tags = np.zeros((n, width), np.int64)
    tag = best.argmax(axis=1)
    for at in range(width - 1, -1, -1):
        tags[:, at] = tag
        tag = np.where(n_tokens > at, came_from[at][np.arange(n), tag], tag)
    return tags


def _lots(n_tokens: Int64s) -> Iterator[Int64s]:
    """Numbers of texts, those of like length together: shorter ones are filled up to the longest of a lot."""
    order = np.argsort(n_tokens, kind="stable")
    order = order[n_tokens[order] > 0]
    begin = 0
    for at, width in enumerate(n_tokens[order].tolist()):
        if at > begin and (at + 1 - begin) * width > _LOT:
            yield order[begin:at]
            begin = at
    if begin < len(order):
        yield order[begin:]


def _spans(tags: Int64s, tokens: Tokens) -> list[list[tuple[int, int]]]:
    """From each first token of an organisation to the last one inside it."""
    text_of = tokens.text_of
    first = np.flatnonzero(tags == FIRST)
    found: list[list[tuple[int, int]]] = [[] for _ in tokens.n_tokens]
    if not len(first):
        return found
    # Of the tokens up to the next organisation, or the end of the text.
    own = np.cumsum(tags == FIRST) - 1
    is_inside = (tags == INSIDE) & (own >= 0) & (text_of == text_of[first[own]])
    end = np.maximum.reduceat(np.where(is_inside | (tags == FIRST), tokens.end, 0), first)
    for text, *span in zip(text_of[first].tolist(), tokens.start[first].tolist(), end.tolist(), strict=True):
        found[text].append((span[0], span[1]))
    return found


@lru_cache(maxsize=1)
def _threads() -> Any:
    """What sets the number of threads of NumPy's products."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@lru_cache(maxsize=4)
def _load(folder: Path) -> Tagger:
    from safetensors import SafetensorError, safe_open

    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise UsageError(f"no parser in {folder}: {WEIGHTS_FILE} is missing; `affil train parser` writes one")
    try:
        with safe_open(path, "numpy") as file:
            if (file.metadata() or {}).get("format") != _FORMAT:
                raise UsageError(f"{path} is no parser of the kind {_FORMAT}")
            return Tagger({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except (SafetensorError, KeyError) as error:
        raise UsageError(f"{path} is damaged: {error}") from error
