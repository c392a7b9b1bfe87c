"""Pooling by one token: the hidden state at [MASK], as a module of Sentence Transformers."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from sentence_transformers.base.modules import Module


class MaskPooling(Module):  # type: ignore[misc]
    """Token vectors in; each text's vector at its last mask token out."""

    #: What the library writes into this module's configuration when the model is saved.
    config_keys: ClassVar[list[str]] = ["mask_token_id"]

    def __init__(self, mask_token_id: int) -> None:
        super().__init__()
        self.mask_token_id = mask_token_id

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        """Features with `input_ids` (n, tokens) and `token_embeddings` in; with `sentence_embedding` out."""
        is_mask = features["input_ids"] == self.mask_token_id
        if not bool(is_mask.any(1).all()):
            raise ValueError("a text without a mask token has no vector: the prompt must put one in")
        number = torch.arange(is_mask.shape[1], device=is_mask.device)
        at = (is_mask * number).argmax(1)
        rows = torch.arange(len(at), device=at.device)
        features["sentence_embedding"] = features["token_embeddings"][rows, at]
        return features

    def save(self, output_path: str, *_: Any, **__: Any) -> None:
        """A folder in; this module's configuration in it out."""
        self.save_config(output_path)
