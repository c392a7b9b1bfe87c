"""Sentence-transformer models as encoders, from a folder or a hub; a model's own code is never run."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from blocking.checkpoints import check_encoder_source, not_found, split_revision
from blocking.errors import BlockingError
from blocking.pairs import Float32s
from blocking.protocols import normalise_rows
from blocking.settings import DEVICES, Progress, at_least, one_of
from blocking.torch_search import torch_device

log = logging.getLogger(__name__)

PRECISIONS = ("auto", "float32", "bfloat16")
#: Batches between two calls of the progress callback.
_BATCHES_PER_STEP = 16


@dataclass(frozen=True)
class SentenceSettings:
    """How a sentence-transformer model encodes.

    Attributes:
        truncate_dim: leading dimensions to keep (models trained for it lose little); None keeps all.
        prompt: one of the model's prompt names, or a text to put before every string; None: the
            model's own default.
        batch_size: texts in one forward pass.
        device: "auto", "cpu" or "cuda".
        precision: "float32"; "bfloat16" (two to three times as fast where the hardware has it, cosines to
            about 1e-3); "auto" is bfloat16 on a GPU that has it and float32 elsewhere.
    """

    truncate_dim: int | None = None
    prompt: str | None = None
    batch_size: int = 64
    device: str = "auto"
    precision: str = "auto"

    def __post_init__(self) -> None:
        one_of("device", self.device, DEVICES)
        one_of("precision", self.precision, PRECISIONS)
        at_least("batch_size", self.batch_size, 1)
        if self.truncate_dim is not None:
            at_least("truncate_dim", self.truncate_dim, 1)


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
        check_encoder_source(self.name, self.revision)
        self._device = torch_device(self.settings.device)
        self._model = _load(self.name, self.revision, self._device)
        full = int(self._model.get_embedding_dimension() or 0) or self._encode_batchwise([" "]).shape[1]
        self.dimensions = self.settings.truncate_dim or full
        if self.dimensions > full:
            raise BlockingError(f"truncate_dim is {self.dimensions}, but {self.name} has {full} dimensions")

    def encode(self, texts: Sequence[str], *, on_progress: Progress | None = None) -> Float32s:
        """Texts in; float32 vectors of length 1 out, shape (n, dimensions), zeros for blank texts."""
        vectors = np.zeros((len(texts), self.dimensions), np.float32)
        # Texts of one length share a batch, so that little of it is padding.
        order = sorted(
            (number for number, text in enumerate(texts) if text.strip()),
            key=lambda number: (-len(texts[number]), texts[number]),
        )
        n_blank, step = len(texts) - len(order), self.settings.batch_size * _BATCHES_PER_STEP
        for start in range(0, len(order), step):
            numbers = order[start : start + step]
            found = self._encode_batchwise([texts[number] for number in numbers])
            vectors[numbers] = normalise_rows(found[:, : self.dimensions])
            if on_progress:
                on_progress(n_blank + start + len(numbers), len(texts))
        return vectors

    def _encode_batchwise(self, texts: list[str]) -> Any:
        import torch

        prompt = self.settings.prompt
        is_name = prompt is not None and prompt in (self._model.prompts or {})
        with torch.autocast(self._device, torch.bfloat16, enabled=self._is_bfloat16()):
            found = self._model.encode(
                texts,
                prompt_name=prompt if is_name else None,
                prompt=None if is_name else prompt,
                batch_size=self.settings.batch_size,
                show_progress_bar=False,
                convert_to_numpy=False,
                convert_to_tensor=True,
            )
        # NumPy has no bfloat16.
        return found.float().cpu().numpy()

    def _is_bfloat16(self) -> bool:
        if self.settings.precision != "auto":
            return self.settings.precision == "bfloat16"
        import torch

        return self._device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def _check_libraries(name: str) -> None:
    if any(importlib.util.find_spec(library) is None for library in ("torch", "sentence_transformers")):
        raise not_found(name, "models need PyTorch and more: pip install 'affiliation-resolver[models]'")


def _load(name: str, revision: str | None, device: str) -> Any:
    from safetensors import SafetensorError
    from sentence_transformers import SentenceTransformer

    # What loading raises depends on which of four libraries meets the flaw; all of it is about this model.
    flaws = (OSError, LookupError, ValueError, TypeError, RuntimeError, ImportError, AttributeError)
    try:
        model = SentenceTransformer(name, device=device, revision=revision, trust_remote_code=False)
    except (*flaws, SafetensorError) as error:
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise not_found(name, f"it could not be loaded ({first_line})") from error
    model.eval()
    log.info("loaded encoder %s (%s) on %s", name, revision or "latest revision", device)
    return model
