"""A model run on batches by tokens: what shares a batch is of one length, so that little of it is padding.

The tokenizer itself is asked, and only numbers are taken from its answer: the Python that Transformers puts
around it makes lists of every feature of every text. Where that would give other features, the library's own
call is used.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from blocking.engine import slices
from blocking.pairs import Float32s, Int64s

log = logging.getLogger(__name__)

#: What a model reads at once: a text, or a pair of texts.
Item = str | tuple[str, str]
Features = dict[str, Any]

#: Tokens of a usual text: four of five affiliations have no more (`TOKENS` in benchmarks/gpu.py).
USUAL_TOKENS = 24
#: Texts of usual length in a batch, where nothing else is asked for. A GPU with fewer waits for its orders.
_ON_CPU, _ON_GPU = 64, 2048
#: What a tokenizer can give; a model that wants more is left to its library.
_KNOWN = {"input_ids", "attention_mask", "token_type_ids"}
#: Text that shows how a tokenizer reads: case, accents, scripts, spaces; often enough it is cut off.
_SAMPLE, _MOST_SAMPLES = " Universität  WIEN, 東京大学", 10_000


def batch_size_on(device: str, asked: int | None) -> int:
    """A device and the `batch_size` setting in, texts of usual length in a batch out."""
    if asked is not None:
        return asked
    return _ON_GPU if device == "cuda" else _ON_CPU


class ByTokens:
    """A model of Sentence Transformers that is run on batches of as many tokens, not of as many texts."""

    def __init__(self, model: Any, prompt: str = "", *, is_pairwise: bool = False) -> None:
        """Take a model.

        Args:
            model: a `SentenceTransformer` or `CrossEncoder`, where it is to run.
            prompt: put before every text, or before the first of each pair.
            is_pairwise: whether it reads pairs of texts.
        """
        self._model, self._prompt = model.eval(), prompt
        self._usual = USUAL_TOKENS * (2 if is_pairwise else 1)
        self._reader = _reader(model, prompt, is_pairwise)
        if self._reader is None:
            log.info("%s: tokens by the library's own call", type(model).__name__)

    def outputs(self, items: Sequence[Item], batch_size: int, name: str) -> Float32s:
        """What the model makes of each item.

        Args:
            items: at least one, all held in memory as tokens.
            batch_size: so many items of usual length a batch.
            name: of the output, such as "sentence_embedding".

        Returns:
            float32, as many rows as items.
        """
        import torch
        from sentence_transformers.util import batch_to_device

        order, rows = [], []
        with torch.inference_mode():
            for numbers, features in self.batches(items, batch_size):
                order.append(numbers)
                rows.append(self._model(batch_to_device(features, self._model.device))[name].float())
            # Only now is a GPU waited for.
            found = torch.cat(rows).cpu().numpy()
        in_order = np.empty_like(found)
        in_order[np.concatenate(order)] = found
        return in_order

    def batches(self, items: Sequence[Item], batch_size: int) -> Iterator[tuple[Int64s, Features]]:
        """Items in; batch by batch the numbers of its items and the features that the model reads out."""
        if self._reader is None:
            order = np.argsort([-sum(map(len, _texts(item))) for item in items], kind="stable")
            for part in slices(len(items), batch_size):
                batch = [items[i] for i in order[part].tolist()]
                yield order[part], self._model.preprocess(batch, prompt=self._prompt)
            return
        read = self._reader.read(items)
        lengths = np.array([len(encoding) for encoding in read])
        order = np.argsort(-lengths, kind="stable")
        for part in _parts(lengths[order], batch_size * self._usual):
            yield order[part], self._reader.features([read[i] for i in order[part].tolist()])


@dataclass(frozen=True)
class _Reader:
    """A tokenizer as its library uses it.

    Attributes:
        tokenizer: of Transformers, with one in Rust behind it.
        truncation: that the library asks it for, None for none.
        prompt: before every text.
        names: of the features.
        more: what the library adds to them.
    """

    tokenizer: Any
    truncation: dict[str, Any] | None
    prompt: str
    names: tuple[str, ...]
    more: Features

    def read(self, items: Sequence[Item]) -> list[Any]:
        """Items in, an encoding of each out, cut to what the model can read."""
        backend = self.tokenizer.backend_tokenizer
        # The library sets both anew at each of its calls.
        backend.no_padding()
        if self.truncation is None:
            backend.no_truncation()
        else:
            backend.enable_truncation(**self.truncation)
        prompted = [self._prompted(item) for item in items] if self.prompt else list(items)
        return list(backend.encode_batch_fast(prompted))

    def _prompted(self, item: Item) -> Item:
        return self.prompt + item if isinstance(item, str) else (self.prompt + item[0], item[1])

    def features(self, encodings: Sequence[Any]) -> Features:
        """Encodings in, padded to the longest out."""
        import torch

        lengths = np.array([len(encoding) for encoding in encodings])
        is_token = np.arange(lengths.max()) < lengths[:, None]
        if self.tokenizer.padding_side == "left":
            is_token = np.ascontiguousarray(is_token[:, ::-1])

        def padded(values: Iterator[list[int]], padding: int) -> Any:
            table = np.full(is_token.shape, padding, np.int64)
            table[is_token] = np.fromiter(chain.from_iterable(values), np.int64, int(lengths.sum()))
            return torch.from_numpy(table)

        found = {"input_ids": padded((e.ids for e in encodings), self.tokenizer.pad_token_id)}
        if "attention_mask" in self.names:
            found["attention_mask"] = torch.from_numpy(is_token.astype(np.int64))
        if "token_type_ids" in self.names:
            kinds = (e.type_ids for e in encodings)
            found["token_type_ids"] = padded(kinds, self.tokenizer.pad_token_type_id)
        return found | self.more


def _reader(model: Any, prompt: str, is_pairwise: bool) -> _Reader | None:
    """What reads samples as the library does, short ones and one to be cut off; None where nothing does."""
    import torch

    tokenizer: Any = getattr(model, "tokenizer", None)
    if not getattr(tokenizer, "is_fast", False):
        return None
    long = _SAMPLE * min(model.max_seq_length or 0, _MOST_SAMPLES)
    reader = None
    for one, other in ((_SAMPLE, "a"), ("a", long)):
        sample: list[Item] = [(one, other), (other, one)] if is_pairwise else [one, other]
        expected = model.preprocess(sample, prompt=prompt)
        more = {name: value for name, value in expected.items() if not isinstance(value, torch.Tensor)}
        names = tuple(name for name in expected if name not in more)
        if "input_ids" not in names or not _KNOWN.issuperset(names):
            return None
        reader = _Reader(tokenizer, tokenizer.backend_tokenizer.truncation, prompt, names, more)
        found = reader.features(reader.read(sample))
        if not all(torch.equal(found[name], expected[name]) for name in names):
            return None
    return reader


def _texts(item: Item) -> tuple[str, ...]:
    return (item,) if isinstance(item, str) else item


def _parts(lengths: Int64s, n_tokens: int) -> Iterator[slice]:
    """Lengths, the longest first, and tokens of a batch with its padding in; which items share one out."""
    start = 0
    while start < len(lengths):
        part = slice(start, start + max(1, n_tokens // int(lengths[start])))
        yield part
        start = part.stop
