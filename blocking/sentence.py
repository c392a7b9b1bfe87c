"""Sentence-transformer models as encoders, from a folder or a hub; a model's own code is never run."""

from __future__ import annotations

import copy
import importlib.util
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from blocking.assembly import assemble, longest_input
from blocking.checkpoints import encoder_folder, not_found
from blocking.errors import BlockingError
from blocking.hub import split_revision
from blocking.pairs import Float32s
from blocking.precision import PRECISIONS, hold
from blocking.prompts import Template, is_template, resolve
from blocking.protocols import normalise_rows
from blocking.settings import DEVICES, Progress, at_least, one_of
from blocking.tokens import ByTokens, batch_size_on
from blocking.torch_search import torch_device

log = logging.getLogger(__name__)

POOLINGS = ("cls", "mean")
#: Batches that are tokenised at once, between two calls of the progress callback.
_BATCHES_PER_STEP = 16


@dataclass(frozen=True)
class SentenceSettings:
    """How a sentence-transformer model encodes.

    Attributes:
        truncate_dim: leading dimensions to keep (models trained for it lose little); None keeps all.
        prompt: one of the model's prompt names, a text to put before every string, or a sentence with {}
            where the string goes; None: the model's own default.
        batch_size: texts of usual length in one forward pass, fewer long ones and more short ones; None goes
            by the device.
        device: "auto", "cpu" or "cuda".
        precision: numbers that the weights are held in: "float32"; "bfloat16" or "float16" (quicker where
            the hardware has them, vectors are less exact); "auto" is one of them on a GPU and float32
            elsewhere.
        pooling: "cls" or "mean", for a folder that holds a transformer alone and does not say.
        max_length: tokens that are read of a text; None: the model's own bound.
    """

    truncate_dim: int | None = None
    prompt: str | None = None
    batch_size: int | None = None
    device: str = "auto"
    precision: str = "auto"
    pooling: str | None = None
    max_length: int | None = None

    def __post_init__(self) -> None:
        one_of("device", self.device, DEVICES)
        one_of("precision", self.precision, PRECISIONS)
        if self.batch_size is not None:
            at_least("batch_size", self.batch_size, 1)
        if self.truncate_dim is not None:
            at_least("truncate_dim", self.truncate_dim, 1)
        if self.pooling is not None:
            one_of("pooling", self.pooling, POOLINGS)
        if self.max_length is not None:
            at_least("max_length", self.max_length, 1)


class SentenceTransformerEncoder:
    """A sentence-transformer model; pooling and default prompt are the model's own."""

    def __init__(self, source: str, settings: SentenceSettings | None = None) -> None:
        """Load a model.

        Args:
            source: a local folder, or a hub id with `@revision` or without.
            settings: how to encode.

        Raises:
            BlockingError: no such model, one of the wrong kind, or a setting that it cannot follow.
        """
        self.settings = settings or SentenceSettings()
        self.name, self.revision = split_revision(source)
        _check_libraries(self.name)
        #: The folder that the model was loaded from: its conversion where it needed one.
        self.folder = encoder_folder(self.name, self.revision)
        self._device = torch_device(self.settings.device)
        self._model = _load(self.name, self.folder, self._device, self.settings.pooling)
        self.max_length = self._bounded(self.settings.max_length)
        self._template, self._prompt = self._read_prompt(self.settings.prompt)
        self._make_ready()
        full = int(self._model.get_embedding_dimension() or 0) or self._vectors([" "]).shape[1]
        self.dimensions = self.settings.truncate_dim or full
        if self.dimensions > full:
            raise BlockingError(f"truncate_dim is {self.dimensions}, but {self.name} has {full} dimensions")

    @property
    def uses_gpu(self) -> bool:
        """Whether it runs faster where there is a GPU, and may."""
        return self.settings.device != "cpu"

    def __getstate__(self) -> dict[str, Any]:
        """The model with its weights, on a CPU: where it is read there may be no GPU."""
        model = self._model if self._device == "cpu" else copy.deepcopy(self._model).to("cpu")
        return {name: value for name, value in vars(self).items() if name != "_by_tokens"} | {"_model": model}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._device = torch_device(self.settings.device)
        self._make_ready()

    def _make_ready(self) -> None:
        # What looks vectors up computes nothing: half numbers would only make them coarse.
        precision = "float32" if self._config is None else self.settings.precision
        model = hold(self._model, self._device, precision, getattr(self._config, "model_type", ""))
        self._by_tokens = ByTokens(model, "" if self._template else self._prompt)

    @property
    def prompts(self) -> dict[str, str]:
        """The model's own prompts by name; empty ones are left out."""
        return {name: text for name, text in (self._model.prompts or {}).items() if text}

    @property
    def prompt(self) -> str:
        """What is put around every string, "" where nothing is."""
        return self._prompt

    def describe(self) -> dict[str, Any]:
        """What was loaded, by the names of settings and of `transformers`."""
        inner = getattr(self._model[0], "auto_model", self._model[0])
        return {
            "architecture": type(inner).__name__,
            "n_layers": getattr(self._config, "num_hidden_layers", 0),
            "n_parameters": sum(parameter.numel() for parameter in self._model.parameters()),
            "pooling": self._pooling(),
            "prompt": self._prompt,
            "prompts": self.prompts,
        }

    @property
    def _config(self) -> Any:
        """Of the transformer; None where vectors are looked up, not computed."""
        return getattr(getattr(self._model[0], "auto_model", None), "config", None)

    def _pooling(self) -> str:
        names = [str(getattr(m, "pooling_mode", "")) or type(m).__name__ for m in list(self._model)[1:]]
        return " + ".join(names)

    def _bounded(self, max_length: int | None) -> int | None:
        """The tokens that are read of a text, which the model and the caller may bound."""
        if self._config is None:
            return None
        found = longest_input(self._config, self._model.max_seq_length, max_length)
        if found is not None:
            self._model.max_seq_length = found
        return found

    def _read_prompt(self, prompt: str | None) -> tuple[Template | None, str]:
        is_mask = any(type(module).__name__ == "MaskPooling" for module in self._model)
        # The sentence of a mask model is no choice: without it there is no vector.
        default = next(iter(self.prompts), None) if is_mask else self._model.default_prompt_name
        text = resolve(prompt, self._model.prompts or {}, default)
        if not is_mask and not is_template(text):
            return None, text
        return Template(text, self._model.tokenizer, self.max_length, needs_mask=is_mask), text

    def encode(self, texts: Sequence[str], *, on_progress: Progress | None = None) -> Float32s:
        """Texts in; float32 vectors of length 1 out, shape (n, dimensions), zeros for blank texts."""
        vectors = np.zeros((len(texts), self.dimensions), np.float32)
        # Texts of like length are tokenised at once, so that batches of one length can be made of them.
        order = sorted(
            (number for number, text in enumerate(texts) if text.strip()),
            key=lambda number: (-len(texts[number]), texts[number]),
        )
        n_blank, step = len(texts) - len(order), self._batch_size * _BATCHES_PER_STEP
        for start in range(0, len(order), step):
            numbers = order[start : start + step]
            found = self._vectors([texts[number] for number in numbers])
            vectors[numbers] = normalise_rows(found[:, : self.dimensions])
            if on_progress:
                on_progress(n_blank + start + len(numbers), len(texts))
        return vectors

    @property
    def _batch_size(self) -> int:
        return batch_size_on(self._device, self.settings.batch_size)

    def _vectors(self, texts: list[str]) -> Float32s:
        filled = self._template.fill(texts) if self._template else texts
        return self._by_tokens.outputs(filled, self._batch_size, "sentence_embedding")


def _check_libraries(name: str) -> None:
    if any(importlib.util.find_spec(library) is None for library in ("torch", "sentence_transformers")):
        raise not_found(name, "models need PyTorch and more: pip install 'affiliation-resolver[models]'")


def _load(name: str, folder: Path, device: str, pooling: str | None) -> Any:
    from safetensors import SafetensorError

    # What loading raises depends on which of four libraries meets the flaw; all of it is about this model.
    flaws = (OSError, LookupError, ValueError, TypeError, RuntimeError, ImportError, AttributeError)
    try:
        model = assemble(folder, device, pooling)
    except BlockingError:
        raise
    except (*flaws, SafetensorError) as error:
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise not_found(name, f"it could not be loaded ({first_line})") from error
    log.info("loaded encoder %s from %s on %s", name, folder, device)
    return model
