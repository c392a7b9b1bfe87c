"""A BERT whose vector is its hidden state at [MASK], projected: to a BERT, a Dense layer and a prompt."""

from __future__ import annotations

import re
from typing import Any

from blocking.conversion.plan import Checkpoint, Plan, renamed
from blocking.errors import BlockingError

#: The type that `modules.json` of a converted folder gives the pooling; `blocking.assembly` knows it.
MASK_POOLING = "blocking.mask_pooling.MaskPooling"
#: The sentence that the published model was trained with (card of maxwlnd/cl_mention_embedding).
TEMPLATE = "Social group of {} is: [MASK]."
_PROJECTOR = ("projector.0.weight", "projector.0.bias")
#: All BERT models of Google's release have heads of this size; needed where no configuration is shipped.
_HEAD_SIZE = 64
_KNOWN = (
    *("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"),
    *("max_position_embeddings", "type_vocab_size", "layer_norm_eps"),
)
_FIXED: dict[str, tuple[Any, ...]] = {
    "model_type": ("bert",),
    "hidden_act": ("gelu",),
    "position_embedding_type": ("absolute",),
}


def matches(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint is in this format."""
    return _PROJECTOR[0] in checkpoint.spans


def plan(checkpoint: Checkpoint) -> Plan:
    """A BERT with a projector in; its conversion to modules of Sentence Transformers out.

    Raises:
        BlockingError: the configuration or the projector is of another make.
    """
    own = {name: checkpoint.spans[name] for name in checkpoint.spans if not name.startswith("projector.")}
    tensors = renamed(own, _native_names, checkpoint.folder)
    others = [n for n in checkpoint.spans if n.startswith("projector.") and n not in _PROJECTOR]
    weight, bias = (checkpoint.spans.get(name) for name in _PROJECTOR)
    if weight is None or bias is None or others:
        raise BlockingError(
            f"{checkpoint.folder}: the projector must be {' and '.join(_PROJECTOR)}, got"
            f" {', '.join(sorted({*_PROJECTOR} & checkpoint.spans.keys()) + others)}"
        )
    if checkpoint.config:
        checkpoint.require_known(_KNOWN, _FIXED)
        config = {
            key: checkpoint.config[key] for key in (*_KNOWN, "pad_token_id") if key in checkpoint.config
        }
    else:
        config = _config_from_shapes(checkpoint, tensors)
    config |= {"model_type": "bert", "architectures": ["BertModel"]}
    dense = {"in_features": weight.shape[1], "out_features": weight.shape[0], "bias": True}
    more = {
        "modules.json": _modules(),
        "2_Dense/config.json": dense | {"activation_function": "torch.nn.modules.linear.Identity"},
        "config_sentence_transformers.json": {
            "prompts": {"mention": TEMPLATE},
            "similarity_fn_name": "cosine",
        },
    }
    layers = {"2_Dense/model.safetensors": {"linear.weight": weight, "linear.bias": bias}}
    return Plan("mask", "BertModel", config, tensors, more, layers)


def _native_names(name: str) -> tuple[str, ...]:
    # A buffer of numbers 0, 1, 2 … that older versions saved.
    if name.endswith("position_ids"):
        return ()
    return (re.sub(r"^(encoder|bert)\.(?=embeddings|encoder|pooler)", "", name),)


def _config_from_shapes(checkpoint: Checkpoint, tensors: dict[str, Any]) -> dict[str, Any]:
    """The published folder may hold no configuration of its own: the tensors tell all but the heads."""
    try:
        vocab_size, hidden_size = tensors["embeddings.word_embeddings.weight"].shape
        found = {
            "vocab_size": vocab_size,
            "hidden_size": hidden_size,
            "max_position_embeddings": tensors["embeddings.position_embeddings.weight"].shape[0],
            "type_vocab_size": tensors["embeddings.token_type_embeddings.weight"].shape[0],
            "intermediate_size": tensors["encoder.layer.0.intermediate.dense.weight"].shape[0],
        }
    except (KeyError, ValueError) as error:
        raise BlockingError(f"{checkpoint.folder}: a projector, but no BERT ({error} is missing)") from error
    layers = {name.split(".")[2] for name in tensors if name.startswith("encoder.layer.")}
    if hidden_size % _HEAD_SIZE:
        raise BlockingError(
            f"{checkpoint.folder}: no config.json, and {hidden_size} dimensions are not heads of {_HEAD_SIZE}"
        )
    return found | {"num_hidden_layers": len(layers), "num_attention_heads": hidden_size // _HEAD_SIZE}


def _modules() -> list[dict[str, Any]]:
    prefix = "sentence_transformers.models."
    modules = (("", f"{prefix}Transformer"), ("1_MaskPooling", MASK_POOLING), ("2_Dense", f"{prefix}Dense"))
    return [{"idx": n, "name": str(n), "path": path, "type": kind} for n, (path, kind) in enumerate(modules)]
