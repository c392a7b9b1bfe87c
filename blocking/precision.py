"""In which numbers a model computes: full ones on a CPU, half ones on a GPU that has them."""

from __future__ import annotations

from typing import Any

PRECISIONS = ("auto", "float32", "bfloat16", "float16")
#: Activations of these models leave float16's range.
_NEEDS_RANGE = ("gemma",)


def autocast(device: str, precision: str = "auto", model_type: str = "") -> Any:
    """A device, one of `PRECISIONS` and the model's type in; the context to run the model in out.

    Weights stay float32. "auto" is float32 on a CPU; on a GPU bfloat16, or float16 where the GPU has no
    bfloat16 and the model bears it.
    """
    import torch

    chosen = _automatic(device, model_type) if precision == "auto" else precision
    return torch.autocast(device, getattr(torch, chosen), enabled=chosen != "float32")


def _automatic(device: str, model_type: str) -> str:
    import torch

    if device != "cuda":
        return "float32"
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return "bfloat16"
    return "float32" if model_type.startswith(_NEEDS_RANGE) else "float16"
