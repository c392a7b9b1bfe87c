"""Checkpoints of networks in training: weights, their running mean, the optimiser's means."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from pipeline.errors import UsageError

_AVERAGE, _MEAN, _SQUARE = "average ", "mean ", "square "


class Network(Protocol):
    """What is trained: PyTorch parameters by name, their running mean, and Adam."""

    weights: dict[str, Any]
    average: dict[str, Any]
    optimizer: Any


def save_state(network: Network, path: Path, values: Mapping[str, Any]) -> None:
    """Write a checkpoint: weights, their mean, the optimiser's means, and values about the run."""
    from safetensors.torch import save_file

    tensors = {name: weight.detach() for name, weight in network.weights.items()}
    tensors |= {_AVERAGE + name: weight for name, weight in network.average.items()}
    for name, weight in network.weights.items():
        state = network.optimizer.state[weight]
        tensors |= {_MEAN + name: state["exp_avg"], _SQUARE + name: state["exp_avg_sq"]}
        tensors["step"] = state["step"]
    temporary = path.with_name(f"{path.name}.part")
    save_file(tensors, temporary, {name: str(value) for name, value in values.items()})
    temporary.replace(path)


def take_state(network: Network, path: Path, recipe: str) -> dict[str, Any]:
    """Take up a checkpoint of the same recipe; gives the values about the run.

    Raises:
        UsageError: a file that is damaged, or of another recipe.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            metadata: dict[str, Any] = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise UsageError(f"{path} is damaged ({error}); remove it to start again") from error
    if metadata.get("recipe") != recipe:
        raise UsageError(f"{path} is of another recipe; remove it, or write to another folder")
    for name, weight in network.weights.items():
        weight.data.copy_(tensors[name])
        network.average[name].copy_(tensors[_AVERAGE + name])
        network.optimizer.state[weight] = {
            "step": tensors["step"].clone(),
            "exp_avg": tensors[_MEAN + name].to(weight.device),
            "exp_avg_sq": tensors[_SQUARE + name].to(weight.device),
        }
    return metadata
