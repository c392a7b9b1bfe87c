"""The tagger as PyTorch trains it: the same sums as `pipeline.parsing.tagger`, with gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from blocking.ngram_bag import quantised
from pipeline.errors import UsageError
from pipeline.parsing.tagger import DILATIONS, FIRST, FORBIDDEN, TAGS, Tagger, allowed
from pipeline.training.loop import AveragedNetwork
from pipeline.training.tags import UNKNOWN, Lesson

Float32s = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]

#: Tokens on either side that the first layer sees, and that the others see.
_WIDTHS = (5, *(3 for _ in DILATIONS))
#: Rows of zeros between two texts: as far as any layer reaches.
GAP = max(DILATIONS)


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


class Shape(Protocol):
    """What the network asks of a recipe, beside the schedule of its steps."""

    bucket_bits: int
    dimensions: int
    n_channels: int
    feature_dropout: float
    dropout: float
    caution: float


class Network(AveragedNetwork):
    """The tagger in training."""

    def __init__(self, recipe: Any, initial: Tagger | None = None) -> None:
        """A recipe, and a tagger to start from.

        Raises:
            UsageError: a tagger of another size.
        """
        self.recipe: Shape = recipe
        arrays = _weights_of(initial) if initial else _random_weights(recipe)
        expected = {name: a.shape for name, a in _random_weights(recipe).items()}
        if {name: a.shape for name, a in arrays.items()} != expected:
            raise UsageError("the model to start from is of another size than the recipe asks for")
        super().__init__(recipe, arrays)

    def step(self, batch: Sequence[Lesson], step: int) -> float:
        """One step down the loss of a batch; gives the loss, nats a token."""
        return self.descend(lambda: self.loss(batch), step)

    def loss(self, batch: Sequence[Lesson]) -> Any:
        """Minus the log-probability of the known tags, a token: unknown ones may be anything."""
        import torch

        layout = Layout.of([len(x.tags) for x in batch])
        counts = torch.from_numpy(layout.n_tokens)
        width = int(layout.n_tokens.max())
        at = np.minimum(np.arange(width), layout.n_tokens[:, None] - 1) + layout.first[:, None]
        # Organisations look more probable to the loss than they are to be, so that fewer are found.
        favour = torch.from_numpy(
            np.eye(len(TAGS), dtype=np.float32)[FIRST] * np.float32(self.recipe.caution)
        )
        logits = self.logits(batch, layout, is_training=True)[torch.from_numpy(at)] + favour
        between, start = map(torch.from_numpy, allowed())
        between, start = self.weights["between"] + between, self.weights["start"] + start
        held = torch.from_numpy(_held([x.tags for x in batch], width))
        every = log_sum(logits, counts, between, start)
        known = log_sum(logits + held, counts, between, start)
        return (every - known).sum() / counts.sum()

    def logits(self, batch: Sequence[Lesson], layout: Layout, is_training: bool = False) -> Any:
        """Lessons to logits, shape (n_rows, tags)."""
        import torch
        from torch.nn.functional import dropout, embedding_bag

        offsets = np.concatenate([[0], np.cumsum([len(x.features) for x in batch])[:-1]])
        starts = np.concatenate([x.starts + o for x, o in zip(batch, offsets, strict=True)])
        features = torch.from_numpy(np.concatenate([x.features for x in batch]))
        kept = torch.ones(len(features))
        if is_training:
            kept = dropout(kept, self.recipe.feature_dropout)
        vectors = embedding_bag(
            features, self.weights["table"], torch.from_numpy(starts), mode="sum", per_sample_weights=kept
        )
        mask = torch.from_numpy(layout.mask)
        state = torch.zeros(len(mask), vectors.shape[1]).index_copy(0, torch.from_numpy(layout.rows), vectors)
        state = dropout(state, self.recipe.dropout, is_training)
        state = torch.relu(self._convolved(state, 0, 1)) * mask
        for n, dilation in enumerate(DILATIONS, 1):
            state = (state + torch.relu(self._convolved(state, n, dilation))) * mask
        state = dropout(state, self.recipe.dropout, is_training)
        return state @ self.weights["weight_out"] + self.weights["bias_out"]

    def _convolved(self, state: Any, n: int, dilation: int) -> Any:
        import torch

        weight = self.weights[f"weight_{n}"]
        reach = len(weight) // 2 * dilation
        padded = torch.nn.functional.pad(state, (0, 0, reach, reach))
        shifted = [padded[k * dilation :][: len(state)] for k in range(len(weight))]
        return torch.cat(shifted, 1) @ weight.reshape(-1, weight.shape[2]) + self.weights[f"bias_{n}"]

    def tagger(self) -> Tagger:
        """The mean of the weights as a tagger, its table in one byte a number."""
        arrays: dict[str, Any] = {name: w.numpy().copy() for name, w in self.average.items()}
        arrays["table"], arrays["scale"] = quantised(arrays["table"])
        return Tagger(arrays)


def log_sum(logits: Any, counts: Any, between: Any, start: Any) -> Any:
    """Logits, shape (texts, tokens, tags), to the log of the sum over all sequences of tags, one a text."""
    import torch

    total = start + logits[:, 0]
    for at in range(1, logits.shape[1]):
        following = torch.logsumexp(total[:, :, None] + between, 1) + logits[:, at]
        total = torch.where((counts > at)[:, None], following, total)
    return torch.logsumexp(total, 1)


def _held(tags: Sequence[Any], width: int) -> Any:
    """What is added to logits so that only known tags are left: `FORBIDDEN` for others, else nothing."""
    held = np.zeros((len(tags), width, len(TAGS)), np.float32)
    for row, own in zip(held, tags, strict=True):
        known = np.flatnonzero(own != UNKNOWN)
        row[known] = FORBIDDEN
        row[known, own[known]] = 0
    return held


def _random_weights(recipe: Any) -> dict[str, Any]:
    random = np.random.default_rng(recipe.seed)

    def drawn(*shape: int) -> Any:
        n_inputs = int(np.prod(shape[:-1]))
        return (random.standard_normal(shape) * np.sqrt(1 / n_inputs)).astype(np.float32)

    d, c = recipe.dimensions, recipe.n_channels
    table = random.standard_normal((1 << recipe.bucket_bits, d)).astype(np.float32) * np.float32(0.1)
    weights = {"table": table}
    for n, width in enumerate(_WIDTHS):
        weights[f"weight_{n}"] = drawn(width, d if n == 0 else c, c)
        weights[f"bias_{n}"] = np.zeros(c, np.float32)
    weights |= {"weight_out": drawn(c, len(TAGS)), "bias_out": np.zeros(len(TAGS), np.float32)}
    return weights | {
        "between": np.zeros((len(TAGS), len(TAGS)), np.float32),
        "start": np.zeros(len(TAGS), np.float32),
    }


def _weights_of(tagger: Tagger) -> dict[str, Any]:
    weights = {name: array for name, array in tagger.arrays.items() if name != "scale"}
    return weights | {"table": weights["table"].astype(np.float32) * tagger.arrays["scale"][:, None]}
