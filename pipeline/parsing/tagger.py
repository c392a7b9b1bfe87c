"""The trained part of the parser: which tokens of a text name organisations. NumPy runs it.

Each token is the sum of the vectors of its hashed features; convolutions over the tokens of a text, wider
from layer to layer, give each token a logit for each tag; the best sequence of tags is found by the Viterbi
algorithm (a linear-chain conditional random field, Lafferty et al. 2001).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from pipeline.errors import UsageError
from pipeline.parsing.features import Tokens, name_features, segment_features, word_features

Float32s = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]

#: Tags of tokens: of no organisation, first of one, further ones of it, of a unit, of a place.
TAGS = ("other", "first", "inside", "unit", "place")
OTHER, FIRST, INSIDE, UNIT, PLACE = range(len(TAGS))
WEIGHTS_FILE = "model.safetensors"
_FORMAT = "affiliation-tagger-2"
#: Tokens beyond the first layer's two on either side are reached in steps of these.
DILATIONS = (2, 4, 8)
_FIRST_REACH = 2
#: Rows of zeros between two texts: as far as any layer reaches.
GAP = max(DILATIONS)
#: Stands for minus infinity: an organisation does not begin inside.
FORBIDDEN = -1e4
_CHUNK = 512


def allowed() -> tuple[Float32s, Float32s]:
    """What is added to transitions, shape (tags, tags), and to first tags: nothing, or `FORBIDDEN`."""
    between, start = np.zeros((len(TAGS), len(TAGS)), np.float32), np.zeros(len(TAGS), np.float32)
    between[[OTHER, UNIT, PLACE], INSIDE] = FORBIDDEN
    start[INSIDE] = FORBIDDEN
    return between, start


@dataclass(frozen=True)
class Layout:
    """Texts one after the other with `GAP` rows of zeros around each.

    Attributes:
        first, n_tokens: row and number of the tokens of each text, int64.
        mask: 1 for rows of tokens, 0 between, float32, shape (n_rows, 1).
    """

    first: Int64s
    n_tokens: Int64s
    mask: Float32s

    @classmethod
    def of(cls, n_tokens: Sequence[int]) -> Layout:
        """Numbers of tokens to where they lie."""
        counts = np.array(n_tokens, np.int64)
        first = GAP + np.concatenate([[0], np.cumsum(counts + GAP)[:-1]]).astype(np.int64)
        mask = np.zeros((int(counts.sum()) + GAP * (len(counts) + 1), 1), np.float32)
        mask[_rows(first, counts)] = 1
        return cls(first, counts, mask)

    @property
    def rows(self) -> Int64s:
        """The rows of all tokens, in order."""
        return _rows(self.first, self.n_tokens)


def _rows(first: Int64s, counts: Int64s) -> Int64s:
    starts = np.repeat(first - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts)
    return np.asarray(starts + np.arange(int(counts.sum())), np.int64)


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

    def spans(self, texts: Sequence[Tokens]) -> list[list[tuple[int, int]]]:
        """Texts' tokens to the organisations in each: start and end, in order."""
        found: list[list[tuple[int, int]]] = [[] for _ in texts]
        # Texts of like length together: the search for the best tags runs as long as the longest of them.
        order = sorted((n for n, t in enumerate(texts) if t.span), key=lambda n: len(texts[n].span))
        for chunk in _chunks(order):
            for n, tags in zip(chunk, self._tags([texts[n] for n in chunk]), strict=True):
                found[n] = _spans(tags, texts[n].span)
        return found

    def _tags(self, texts: Sequence[Tokens]) -> list[list[int]]:
        layout = Layout.of([len(t.span) for t in texts])
        logits = self._logits(self._vectors(texts), layout)
        width = int(layout.n_tokens.max())
        at = np.minimum(np.arange(width), layout.n_tokens[:, None] - 1) + layout.first[:, None]
        tags = best_tags(logits[at], layout.n_tokens, self._between, self._start)
        return [row[:n] for row, n in zip(tags.tolist(), layout.n_tokens.tolist(), strict=True)]

    def _vectors(self, texts: Sequence[Tokens]) -> Float32s:
        """The sums of the vectors of each token's features, shape (n_tokens, dimensions)."""
        n = self.n_buckets
        words = self._look_up([w for t in texts for w in t.word], lambda key: word_features(key, n))
        segments = self._look_up([s for t in texts for s in t.segment], lambda key: segment_features(key, n))
        names = self._look_up([k for t in texts for k in t.name], lambda key: name_features(key, n))
        return words + segments + names

    def _look_up(self, keys: Sequence[Any], features: Any) -> Float32s:
        """Keys to the sums of their features' vectors, each distinct key summed once."""
        number = {key: n for n, key in enumerate(dict.fromkeys(keys))}
        lists = [features(key) for key in number]
        sums = np.zeros((len(lists), self._table.shape[1]), np.float32)
        filled = [n for n, values in enumerate(lists) if values]
        if filled:
            starts = np.cumsum([0, *(len(lists[n]) for n in filled[:-1])])
            flat = np.concatenate([lists[n] for n in filled])
            sums[filled] = np.add.reduceat(self._table[flat], starts, axis=0)
        return sums[[number[key] for key in keys]]

    def _logits(self, vectors: Float32s, layout: Layout) -> Float32s:
        """Token vectors to logits, shape (n_rows, tags); rows between texts hold nothing of use."""
        state = np.zeros((len(layout.mask), vectors.shape[1]), np.float32)
        state[layout.rows] = vectors
        weight, bias = self._layers[0]
        state = np.maximum(convolve(state, weight, 1) + bias, 0) * layout.mask
        for (weight, bias), dilation in zip(self._layers[1:], DILATIONS, strict=True):
            state = (state + np.maximum(convolve(state, weight, dilation) + bias, 0)) * layout.mask
        logits: Float32s = state @ self.arrays["weight_out"] + self.arrays["bias_out"]
        return logits

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
    """Rows to the sums of their neighbours' products, weight of shape (width, inputs, outputs)."""
    reach = len(weight) // 2 * dilation
    padded = np.pad(state, ((reach, reach), (0, 0)))
    window = sliding_window_view(padded, 2 * reach + 1, axis=0)[:, :, ::dilation].swapaxes(1, 2)
    product: Float32s = window.reshape(len(state), -1) @ weight.reshape(-1, weight.shape[2])
    return product


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


def _chunks(order: Sequence[int]) -> Iterator[Sequence[int]]:
    return (order[start : start + _CHUNK] for start in range(0, len(order), _CHUNK))


def _spans(tags: Sequence[int], tokens: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for tag, (start, end) in zip(tags, tokens, strict=True):
        if tag == FIRST:
            found.append((start, end))
        elif tag == INSIDE and found:
            found[-1] = (found[-1][0], end)
    return found


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
