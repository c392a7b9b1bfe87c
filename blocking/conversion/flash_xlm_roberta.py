"""XLM-RoBERTa in the layout of flash attention (Jina's rerankers) to the classifier of `transformers`."""

from __future__ import annotations

import re
from typing import Any

from blocking.conversion.plan import Checkpoint, Plan, renamed

_NUMBERS = (
    *("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"),
    *("max_position_embeddings", "type_vocab_size", "layer_norm_eps"),
)
#: What the native class computes in one way only; adapters, fused and rotary variants are other models.
_FIXED: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("gelu",),
    "position_embedding_type": ("absolute",),
    "emb_pooler": (None,),
    "lora_adaptations": (None,),
    "load_trained_adapters": (False,),
    "matryoshka_dimensions": (None,),
    "truncate_dim": (None,),
    "last_layer_subset": (False,),
    "pad_vocab_size_multiple": (1,),
}
#: How it was computed and trained, not what.
_FREE = (
    *("use_flash_attn", "fused_bias_fc", "fused_dropout_add_ln", "fused_mlp", "mlp_checkpoint_lvl"),
    *("lora_rank", "lora_dropout_p", "lora_alpha", "lora_main_params_trainable", "use_reentrant"),
)
_KEPT = (
    *("pad_token_id", "bos_token_id", "eos_token_id", "dtype", "torch_dtype", "initializer_range"),
    *("id2label", "label2id", "sentence_transformers"),
)
_LAYER = re.compile(r"roberta\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")
_PARTS = {
    "mixer.Wqkv": ("attention.self.query", "attention.self.key", "attention.self.value"),
    "mixer.out_proj": ("attention.output.dense",),
    "norm1": ("attention.output.LayerNorm",),
    "mlp.fc1": ("intermediate.dense",),
    "mlp.fc2": ("output.dense",),
    "norm2": ("output.LayerNorm",),
}


def matches(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint is in this format."""
    return any(_LAYER.match(name) and ".mixer." in name for name in checkpoint.spans)


def plan(checkpoint: Checkpoint) -> Plan:
    """A checkpoint in the flash layout in; its conversion to the native classifier out.

    Raises:
        BlockingError: the configuration asks for something that the native class does not compute.
    """
    checkpoint.require_known((*_NUMBERS, *_FREE), _FIXED)
    for key in _NUMBERS[:7]:
        checkpoint.number(key)
    checkpoint.number("layer_norm_eps", float)
    tensors = renamed(checkpoint.spans, _native_names, checkpoint.folder)
    kept = {key: checkpoint.config[key] for key in (*_NUMBERS, *_KEPT) if key in checkpoint.config}
    config = kept | {
        "model_type": "xlm-roberta",
        "architectures": ["XLMRobertaForSequenceClassification"],
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
    if "id2label" not in config:
        config["num_labels"] = checkpoint.config.get("num_labels", 1)
    return Plan("xlm-roberta", "XLMRobertaForSequenceClassification", config, tensors)


def _native_names(name: str) -> tuple[str, ...]:
    found = _LAYER.fullmatch(name)
    if found and found[2] in _PARTS:
        return tuple(f"roberta.encoder.layer.{found[1]}.{part}.{found[3]}" for part in _PARTS[found[2]])
    return (name.replace("roberta.emb_ln.", "roberta.embeddings.LayerNorm."),)
