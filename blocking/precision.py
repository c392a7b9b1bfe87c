"""In which numbers a model's weights are held: full ones on a CPU, half ones on a GPU that has them."""

from __future__ import annotations

from typing import Any

PRECISIONS = ("auto", "float32", "bfloat16", "float16")
#: Activations of these models leave float16's range.
_NEEDS_RANGE = ("gemma",)


def chosen_precision(device: str, precision: str = "auto", model_type: str = "") -> str:
    """A device, one of `PRECISIONS` and the model's type in, the numbers to hold its weights in out.

    "auto" is float32 on a CPU; on a GPU bfloat16, or float16 where the GPU has no bfloat16 and the model
    bears it.
    """
    if precision != "auto":
        return precision
    if device != "cuda":
        return "float32"
    import torch

    if torch.cuda.is_bf16_supported(including_emulation=False):
        return "bfloat16"
    return "float32" if model_type.startswith(_NEEDS_RANGE) else "float16"


def hold(model: Any, device: str, precision: str = "auto", model_type: str = "") -> Any:
    """A model in, the same one on the device with weights as `chosen_precision` says out.

    Weights alone: buffers, such as the frequencies of rotary positions, keep their numbers, since half ones
    would turn far positions by another angle.
    """
    import torch

    dtype = getattr(torch, chosen_precision(device, precision, model_type))
    for weight in model.parameters():
        if weight.is_floating_point():
            weight.data = weight.data.to(dtype)
    return model.to(device)
