"""The reranker as PyTorch trains it: the same sums as `pipeline.scoring.word_pair_model`, with gradients."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from pipeline.scoring.word_pair_model import EPSILON, FORBIDDEN, Shape, WordPairModel
from pipeline.scoring.word_pairs import Float32s, PairBatch
from pipeline.training.loop import AveragedNetwork


class Dropouts(Protocol):
    """What the network asks of a recipe, beside the schedule of its steps."""

    word_masking: float
    dropout: float


class WordPairModule(AveragedNetwork):
    """The reranker in training."""

    def __init__(self, recipe: Any, initial: WordPairModel, device: str = "cpu") -> None:
        """A recipe, the weights to start from, and where to train."""
        self.recipe: Dropouts = recipe
        self.shape, self.device = initial.shape, device
        super().__init__(recipe, initial.arrays, device)

    def step(self, batch: PairBatch, vectors: Any, is_match: Any, step: int) -> float:
        """One step down the log loss of a batch; gives the loss, nats a pair.

        Args:
            batch: the pairs.
            vectors: tensor, what the network reads of each word of the batch's vocabulary.
            is_match: whether each pair is of one institution, shape (n,).
            step: its number.
        """
        from torch.nn.functional import binary_cross_entropy_with_logits

        truth = self._tensor(np.asarray(is_match, np.float32))
        return self.descend(
            lambda: binary_cross_entropy_with_logits(self.logits(batch, vectors, is_training=True), truth),
            step,
        )

    def logits(self, batch: PairBatch, vectors: Any, is_training: bool = False) -> Any:
        """A batch and its words' vectors to log-odds, shape (n,)."""
        import torch
        from torch.nn.functional import dropout

        w, part = self.weights, self.recipe.dropout
        word, mark, place = (self._tensor(x) for x in (batch.word, batch.mark, batch.place))
        nearest, is_word, cosine = (self._tensor(x) for x in (batch.nearest, batch.is_word, batch.cosine))
        if is_training:
            # Hidden words are hidden on both sides: what is left is how the sides are alike.
            shown = torch.rand(len(vectors), 1, device=vectors.device) >= self.recipe.word_masking
            vectors = torch.cat([vectors[:, :-1] * shown, vectors[:, -1:]], 1)
        state = (vectors @ w["word"])[word] + w["mark"][mark] + w["place"][place]
        state = dropout(state + nearest[:, :, None] * w["nearest"], part, is_training)
        absent = torch.where(is_word, 0.0, float(FORBIDDEN))
        across = self._tensor(batch.is_across.astype(np.int64))
        for n in range(self.shape.n_layers):
            layer = {k.removeprefix(f"layer_{n}."): v for k, v in w.items() if k.startswith(f"layer_{n}.")}
            found = self._attended(_normed(state, layer["norm_1"]), cosine, across, absent, layer)
            state = state + dropout(found, part, is_training)
            wide = torch.relu(_normed(state, layer["norm_2"]) @ layer["widened"] + layer["widened_bias"])
            state = state + dropout(wide @ layer["narrowed"] + layer["narrowed_bias"], part, is_training)
        state = _normed(state, w["norm"])
        weight = state @ w["pooled"] + absent
        left, right = slice(batch.n_left), slice(batch.n_left, None)
        a, b = ((weight[:, side].softmax(1)[:, :, None] * state[:, side]).sum(1) for side in (left, right))
        both = torch.cat([a + b, (a - b).abs(), a * b, self._tensor(batch.features)], 1)
        hidden = torch.relu(dropout(both, part, is_training) @ w["head"] + w["head_bias"])
        return dropout(hidden, part, is_training) @ w["logit"] + w["logit_bias"]

    def _attended(self, state: Any, cosine: Any, across: Any, absent: Any, layer: Any) -> Any:
        n, n_words, c = state.shape
        heads = self.shape.n_heads
        parts = state @ layer["query_key_value"] + layer["query_key_value_bias"]
        query, key, value = parts.reshape(n, n_words, 3, heads, c // heads).permute(2, 0, 3, 1, 4)
        score = query @ key.transpose(2, 3) / np.sqrt(c // heads)
        score = score + layer["side"][across].permute(2, 0, 1)
        score = score + cosine[:, None] * layer["alike"][:, None, None] + absent[:, None, None, :]
        mixed = score.softmax(-1) @ value
        return mixed.transpose(1, 2).reshape(n, n_words, c) @ layer["joined"] + layer["joined_bias"]

    def _tensor(self, array: Any) -> Any:
        import torch

        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def model(self) -> WordPairModel:
        """The mean of the weights as NumPy runs it."""
        arrays = {name: weight.cpu().numpy().copy() for name, weight in self.average.items()}
        return WordPairModel(self.shape, arrays)


def _normed(state: Any, norm: Any) -> Any:
    import torch

    return torch.nn.functional.layer_norm(state, state.shape[-1:], norm[0], norm[1], float(EPSILON))


def random_model(shape: Shape, n_dimensions: int, n_features: int, seed: int) -> WordPairModel:
    """Sizes to a network that has learnt nothing."""
    random = np.random.default_rng(seed)
    arrays: dict[str, Float32s] = {}
    for name, own in shape.arrays(n_dimensions, n_features).items():
        kind = name.rpartition(".")[2]
        if kind.startswith("norm"):
            arrays[name] = np.stack([np.ones(own[1]), np.zeros(own[1])]).astype(np.float32)
        elif kind.endswith("bias") or kind in ("side", "alike", "logit"):
            arrays[name] = np.zeros(own, np.float32)
        else:
            # Tables of marks and places are looked up, not multiplied by: they start short.
            spread = 0.1 if kind in ("mark", "place", "nearest") else np.sqrt(1 / own[0])
            arrays[name] = (random.standard_normal(own) * spread).astype(np.float32)
    return WordPairModel(shape, arrays)
