"""GTE's own format (`model_type` "new") to `GteModel`: packed projections split, static NTK RoPE kept."""

from __future__ import annotations

import re
from typing import Any

from blocking.conversion.plan import Checkpoint, Plan, renamed

#: Numbers that both configurations have by the same name.
_SAME = (
    *("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"),
    *("max_position_embeddings", "type_vocab_size", "layer_norm_eps"),
)
_KNOWN = (
    *_SAME,
    *("rope_theta", "rope_scaling", "pack_qkv", "unpad_inputs", "use_memory_efficient_attention"),
)
#: What the native class computes in one way only.
_FIXED: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("gelu",),
    "layer_norm_type": ("layer_norm",),
    "position_embedding_type": ("rope",),
    "logn_attention_scale": (False,),
    "logn_attention_clip1": (False,),
}
_KEPT = ("pad_token_id", "bos_token_id", "eos_token_id", "dtype", "torch_dtype", "initializer_range")
#: Heads of other tasks; the sparse weights of gte-multilingual-base are the classifier.
_HEADS = ("classifier.", "lm_head.", "pooler.")
_LAYER = re.compile(r"encoder\.layer\.(\d+)\.(.+)\.(weight|bias)")
_PARTS = {
    "attention.qkv_proj": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attention.q_proj": ("self_attn.q_proj",),
    "attention.k_proj": ("self_attn.k_proj",),
    "attention.v_proj": ("self_attn.v_proj",),
    "attention.o_proj": ("self_attn.o_proj",),
    "mlp.up_gate_proj": ("mlp.up_proj", "mlp.gate_proj"),
    "mlp.down_proj": ("mlp.down_proj",),
    "attn_ln": ("post_attention_layernorm",),
    "mlp_ln": ("post_mlp_layernorm",),
}
_MODULE = "sentence_transformers.models."


def matches(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint is in this format."""
    return checkpoint.config.get("model_type") == "new"


def plan(checkpoint: Checkpoint) -> Plan:
    """A checkpoint in GTE's own format in; its conversion to `GteModel` out.

    Raises:
        BlockingError: the configuration asks for something that the native class does not compute.
    """
    checkpoint.require_known(_KNOWN, _FIXED)
    tensors = renamed(checkpoint.spans, _native_names, checkpoint.folder)
    more = {} if (checkpoint.folder / "modules.json").is_file() else _modules(checkpoint)
    return Plan("gte", "GteModel", _config(checkpoint), tensors, more)


def _native_names(name: str) -> tuple[str, ...]:
    bare = name.removeprefix("new.")
    if bare.startswith(_HEADS):
        return ()
    found = _LAYER.fullmatch(bare)
    if not found or found[2] not in _PARTS:
        return (bare,)
    return tuple(f"layers.{found[1]}.{part}.{found[3]}" for part in _PARTS[found[2]])


def _config(checkpoint: Checkpoint) -> dict[str, Any]:
    # Defaults of the published configuration class, where a file leaves a key out.
    given = {"layer_norm_eps": 1e-12, "type_vocab_size": 1, **checkpoint.config}
    for key in _SAME[:6]:
        checkpoint.number(key)
    if given["hidden_size"] % given["num_attention_heads"]:
        raise checkpoint.refuse("'hidden_size' is no multiple of 'num_attention_heads'")
    kept = {key: given[key] for key in (*_SAME, *_KEPT) if key in given}
    return kept | {
        "model_type": "gte",
        "architectures": ["GteModel"],
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "rope_parameters": _rope(checkpoint, given["hidden_size"] // given["num_attention_heads"]),
    }


def _rope(checkpoint: Checkpoint, head_size: int) -> dict[str, Any]:
    """RoPE as `transformers` names it.

    Static NTK scaling by s raises the base to theta * s and divides all frequencies by s ** (2 / head size):
    in the words of `transformers`, "linear" scaling with another base.
    """
    theta = float(checkpoint.number("rope_theta", float) if "rope_theta" in checkpoint.config else 10_000)
    scaling = checkpoint.config.get("rope_scaling")
    if scaling is None:
        return {"rope_type": "default", "rope_theta": theta}
    if not isinstance(scaling, dict) or scaling.get("type") != "ntk":
        raise checkpoint.refuse(f"'rope_scaling' is {scaling}, and only the type \"ntk\" is understood")
    unknown = [k for k, v in scaling.items() if k not in ("type", "factor") and v is not None]
    if unknown:
        raise checkpoint.refuse(f"unknown key {unknown[0]!r} in 'rope_scaling'")
    factor = scaling.get("factor")
    if not isinstance(factor, int | float) or isinstance(factor, bool) or factor < 1:
        raise checkpoint.refuse(f"'factor' of 'rope_scaling' must be 1 or more, got {factor}")
    return {"rope_type": "linear", "rope_theta": theta * factor, "factor": float(factor) ** (2 / head_size)}


def _modules(checkpoint: Checkpoint) -> dict[str, Any]:
    """Every published model of this format pools the first token and scales to length 1."""
    names = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"{_MODULE}{name}"}
        for number, (path, name) in enumerate(names)
    ]
    pooling = {"word_embedding_dimension": checkpoint.config["hidden_size"], "pooling_mode_cls_token": True}
    return {"modules.json": modules, "1_Pooling/config.json": pooling | {"pooling_mode_mean_tokens": False}}
