"""Pooling by one token: the hidden state at [MASK], as a module of Sentence Transformers."""

from __future__ import annotations

from typing import Any

import torch


class MaskPooling(torch.nn.Module):
    """Token vectors in; each text's vector at its last mask token out."""

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
