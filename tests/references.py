"""Forward passes in plain PyTorch, from the tensors of a published file: what a conversion is held against.

They share no code with the library under test: one text at a time, no padding, no masks but the window.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import gelu, layer_norm, linear, normalize


class Published:
    """Tensors by their published names, as float32, and the configuration."""

    def __init__(self, folder: Path, prefix: str = "") -> None:
        from safetensors.torch import load_file
        from transformers import AutoTokenizer

        file = folder / "model.safetensors"
        found = (
            load_file(file) if file.exists() else torch.load(folder / "pytorch_model.bin", weights_only=True)
        )
        self.tensors = {name.removeprefix(prefix): value.float() for name, value in found.items()}
        path = folder / "config.json"
        self.config: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        self.tokenizer = AutoTokenizer.from_pretrained(folder)

    def ids(self, *texts: str, max_length: int = 8192) -> torch.Tensor:
        # As a list: of two texts alone, an empty second one is taken for none.
        batches = ([text] for text in texts)
        return torch.tensor(self.tokenizer(*batches, truncation=True, max_length=max_length)["input_ids"][0])

    def linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return linear(x, self.tensors[f"{name}.weight"], self.tensors.get(f"{name}.bias"))

    def norm(self, x: torch.Tensor, name: str, eps: float) -> torch.Tensor:
        return layer_norm(x, x.shape[-1:], self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"], eps)


def attend(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float, window: int | None = None
) -> torch.Tensor:
    """Softmax attention, shape (tokens, heads, size), a block of rows at a time; `window` bounds |i − j|."""
    found = torch.empty_like(q)
    for start in range(0, len(q), 1024):
        logits = torch.einsum("ihd,jhd->hij", q[start : start + 1024], k) * scale
        if window is not None:
            i, j = torch.arange(start, start + logits.shape[1]), torch.arange(len(k))
            logits = logits.masked_fill((i[:, None] - j[None, :]).abs() >= window, -math.inf)
        found[start : start + 1024] = torch.einsum("hij,jhd->ihd", logits.softmax(-1), v)
    return found


def rotate(x: torch.Tensor, frequencies: torch.Tensor) -> torch.Tensor:
    """Rotary positions on (tokens, heads, size): the first half of a head is paired with the second."""
    angles = torch.arange(len(x)).float()[:, None] * frequencies
    cos, sin = angles.cos()[:, None, :], angles.sin()[:, None, :]
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def gte(model: Published, text: str) -> torch.Tensor:
    """The first token's last hidden state, of length 1 (card of the model: `[:, 0]`, then L2)."""
    c, ids = model.config, model.ids(text)
    d, heads = c["hidden_size"], c["num_attention_heads"]
    x = model.tensors["embeddings.word_embeddings.weight"][ids]
    if c["type_vocab_size"]:
        x = x + model.tensors["embeddings.token_type_embeddings.weight"][0]
    x = model.norm(x, "embeddings.LayerNorm", c["layer_norm_eps"])
    size, scaling = d // heads, c["rope_scaling"]
    factor = scaling["factor"] if scaling else 1.0
    base = c["rope_theta"] * factor
    frequencies = 1.0 / (base ** (torch.arange(0, size, 2).float() / size)) / factor ** (2 / size)
    for n in range(c["num_hidden_layers"]):
        layer = f"encoder.layer.{n}."
        if c["pack_qkv"]:
            q, k, v = model.linear(x, f"{layer}attention.qkv_proj").chunk(3, -1)
        else:
            q, k, v = (model.linear(x, f"{layer}attention.{name}_proj") for name in "qkv")
        q, k, v = (part.reshape(len(ids), heads, size) for part in (q, k, v))
        mixed = attend(rotate(q, frequencies), rotate(k, frequencies), v, size**-0.5).reshape(len(ids), d)
        x = model.norm(
            x + model.linear(mixed, f"{layer}attention.o_proj"), f"{layer}attn_ln", c["layer_norm_eps"]
        )
        up, gate = model.linear(x, f"{layer}mlp.up_gate_proj").chunk(2, -1)
        inner = model.linear(gelu(gate) * up, f"{layer}mlp.down_proj")
        x = model.norm(x + inner, f"{layer}mlp_ln", c["layer_norm_eps"])
    return normalize(x[0], dim=0)


def jina(model: Published, left: str, right: str) -> torch.Tensor:
    """The logit of one pair, in the order given."""
    c, ids = model.config, model.ids(left, right, max_length=64)
    d, heads, eps = c["hidden_size"], c["num_attention_heads"], c["layer_norm_eps"]
    t = {name.removeprefix("roberta.embeddings."): value for name, value in model.tensors.items()}
    # Positions begin behind that of the padding token.
    positions = torch.arange(len(ids)) + c["pad_token_id"] + 1
    x = t["word_embeddings.weight"][ids] + t["position_embeddings.weight"][positions]
    x = model.norm(x + t["token_type_embeddings.weight"][0], "roberta.emb_ln", eps)
    for n in range(c["num_hidden_layers"]):
        layer = f"roberta.encoder.layers.{n}."
        q, k, v = model.linear(x, f"{layer}mixer.Wqkv").reshape(len(ids), 3, heads, d // heads).unbind(1)
        mixed = attend(q, k, v, (d // heads) ** -0.5).reshape(len(ids), d)
        x = model.norm(x + model.linear(mixed, f"{layer}mixer.out_proj"), f"{layer}norm1", eps)
        inner = model.linear(gelu(model.linear(x, f"{layer}mlp.fc1")), f"{layer}mlp.fc2")
        x = model.norm(x + inner, f"{layer}norm2", eps)
    return model.linear(model.linear(x[0], "classifier.dense").tanh(), "classifier.out_proj")[0]


def bert(model: Published, ids: torch.Tensor, heads: int) -> torch.Tensor:
    """The last hidden states of a BERT, shape (tokens, dimensions)."""
    t = model.tensors
    x = t["embeddings.word_embeddings.weight"][ids] + t["embeddings.token_type_embeddings.weight"][0]
    x = x + t["embeddings.position_embeddings.weight"][: len(ids)]
    x = model.norm(x, "embeddings.LayerNorm", 1e-12)
    d = x.shape[1]
    for n in range(len({name.split(".")[2] for name in t if name.startswith("encoder.layer.")})):
        layer = f"encoder.layer.{n}."
        q, k, v = (
            model.linear(x, f"{layer}attention.self.{name}").reshape(len(ids), heads, d // heads)
            for name in ("query", "key", "value")
        )
        mixed = attend(q, k, v, (d // heads) ** -0.5).reshape(len(ids), d)
        x = x + model.linear(mixed, f"{layer}attention.output.dense")
        x = model.norm(x, f"{layer}attention.output.LayerNorm", 1e-12)
        inner = model.linear(gelu(model.linear(x, f"{layer}intermediate.dense")), f"{layer}output.dense")
        x = model.norm(x + inner, f"{layer}output.LayerNorm", 1e-12)
    return x


def aspire(model: Published, text: str) -> torch.Tensor:
    """The first token's last hidden state, of length 1."""
    return normalize(bert(model, model.ids(text, max_length=64), 2)[0], dim=0)


def mask(model: Published, sentence: str) -> torch.Tensor:
    """The hidden state at [MASK], projected, of length 1 (card of the model)."""
    ids = model.ids(sentence, max_length=64)
    at = int((ids == model.tokenizer.mask_token_id).nonzero()[-1])
    return normalize(model.linear(bert(model, ids, 2)[at], "projector.0"), dim=0)


def gemma(model: Published, text: str, dense: list[torch.Tensor]) -> torch.Tensor:
    """The mean over tokens, through Dense layers where there are any, of length 1."""
    c, t, ids = model.config, model.tensors, model.ids(text, max_length=2048)
    heads, groups, size = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
    x = t["embed_tokens.weight"][ids] * c["hidden_size"] ** 0.5

    def rms(x: torch.Tensor, name: str) -> torch.Tensor:
        scaled = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + c["rms_norm_eps"])
        return scaled * (1 + t[f"{name}.weight"])

    for n, kind in enumerate(c["layer_types"]):
        layer, is_local = f"layers.{n}.", kind == "sliding_attention"
        theta = c["rope_local_base_freq"] if is_local else c["rope_theta"]
        frequencies = 1.0 / (theta ** (torch.arange(0, size, 2).float() / size))
        h = rms(x, f"{layer}input_layernorm")
        q = model.linear(h, f"{layer}self_attn.q_proj").reshape(len(ids), heads, size)
        k, v = (model.linear(h, f"{layer}self_attn.{p}_proj").reshape(len(ids), groups, size) for p in "kv")
        q = rotate(rms(q, f"{layer}self_attn.q_norm"), frequencies)
        k = rotate(rms(k, f"{layer}self_attn.k_norm"), frequencies)
        k, v = (part.repeat_interleave(heads // groups, 1) for part in (k, v))
        # Half the window to either side, itself counted once.
        window = c["sliding_window"] // 2 + 1 if is_local else None
        mixed = attend(q, k, v, c["query_pre_attn_scalar"] ** -0.5, window).reshape(len(ids), heads * size)
        x = x + rms(model.linear(mixed, f"{layer}self_attn.o_proj"), f"{layer}post_attention_layernorm")
        h = rms(x, f"{layer}pre_feedforward_layernorm")
        inner = gelu(model.linear(h, f"{layer}mlp.gate_proj"), approximate="tanh") * model.linear(
            h, f"{layer}mlp.up_proj"
        )
        x = x + rms(model.linear(inner, f"{layer}mlp.down_proj"), f"{layer}post_feedforward_layernorm")
    pooled = rms(x, "norm").mean(0)
    for weight in dense:
        pooled = linear(pooled, weight)
    return normalize(pooled, dim=0)
