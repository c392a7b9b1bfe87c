"""The loop that the trainings of networks share: steps, looks at what was not learned from, checkpoints."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pipeline.errors import UsageError

CHECKPOINT = "checkpoint.safetensors"
_AVERAGE, _MEAN, _SQUARE = "average ", "mean ", "square "


class Pace(Protocol):
    """What the loop asks of a recipe, which is frozen: how long to train, when to look and to give up."""

    @property
    def n_steps(self) -> int:
        """Steps in all."""
        ...

    @property
    def steps_per_look(self) -> int:
        """Steps between two looks."""
        ...

    @property
    def patience(self) -> int:
        """Looks without a better figure after which training ends."""
        ...


class Schedule(Protocol):
    """What a step of `AveragedNetwork` asks of a recipe."""

    learning_rate: float
    weight_decay: float
    n_steps: int
    n_warmup_steps: int
    averaging: float
    n_threads: int
    seed: int


@dataclasses.dataclass
class Weights:
    """PyTorch parameters by name, their running mean (none where it is not kept), and Adam."""

    weights: dict[str, Any]
    average: dict[str, Any]
    optimizer: Any


class AveragedNetwork(Weights):
    """Weights that go down the gradient of a loss by AdamW, and their running mean, which is what is kept."""

    def __init__(self, recipe: Any, arrays: Mapping[str, np.ndarray[Any, Any]], device: str = "cpu") -> None:
        """A recipe, the weights to start from, and where to train."""
        import torch

        torch.set_num_threads(recipe.n_threads)
        self._schedule: Schedule = recipe
        weights = {n: torch.nn.Parameter(torch.from_numpy(a.copy()).to(device)) for n, a in arrays.items()}
        average = {name: w.detach().clone() for name, w in weights.items()}
        optimizer = torch.optim.AdamW(
            list(weights.values()), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        super().__init__(weights, average, optimizer)

    def descend(self, loss_of: Callable[[], Any], step: int) -> float:
        """One step down a loss; gives the loss. The rate rises first, and is nought after the last step."""
        import torch

        recipe = self._schedule
        # Dropout draws from PyTorch's own generator: seeded by the step, so that a resumed run draws alike.
        torch.manual_seed(recipe.seed * 1_000_003 + step)
        rate = min(1.0, (step + 1) / max(1, recipe.n_warmup_steps)) * (1 - step / recipe.n_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.learning_rate * rate
        self.optimizer.zero_grad()
        loss = loss_of()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(self.weights.values()), 1.0)
        self.optimizer.step()
        for name, weight in self.weights.items():
            self.average[name].mul_(recipe.averaging).add_(weight.detach(), alpha=1 - recipe.averaging)
        return float(loss.detach())


@dataclasses.dataclass
class Progress:
    """Where training is: what a checkpoint holds beside the weights and the optimiser's means."""

    step: int = 0
    best: float = -1.0
    n_looks_since: int = 0

    def is_best(self, value: float) -> bool:
        """Count a look at which a figure had this value; whether none was better before."""
        self.n_looks_since += 1
        if value <= self.best:
            return False
        self.best, self.n_looks_since = value, 0
        return True


class Training(ABC):
    """Steps to the end, a look every few of them; what is best is written at the look that finds it.

    A training that was interrupted goes on from the checkpoint of its last look, as if nothing had been.
    """

    def __init__(
        self, recipe: Pace, trained: Weights, output: Path, *, looks_first: bool = True, start: str = ""
    ) -> None:
        """How to train what, and where; `start` tells the weights begun with from others, for checkpoints."""
        self.told = repr(recipe) + start
        self.pace, self.trained, self.progress = recipe, trained, Progress()
        self.checkpoint, self.looks_first = output / CHECKPOINT, looks_first

    @abstractmethod
    def step(self, number: int) -> float:
        """Take a step; gives its loss. It must draw from a generator that its number alone seeds."""

    @abstractmethod
    def look(self) -> str:
        """Measure, write what is best so far, and say how good it is."""

    def run(self) -> Iterator[str]:
        """Train to the end; yields a line a look."""
        if self.checkpoint.is_file():
            self._resume()
            yield f"resumed at step {self.progress.step}"
        elif self.looks_first:
            yield f"step 0: {self.look()}"
        progress, pace = self.progress, self.pace
        losses: list[float] = []
        while progress.step < pace.n_steps and progress.n_looks_since < pace.patience:
            losses.append(self.step(progress.step))
            progress.step += 1
            if progress.step % pace.steps_per_look == 0 or progress.step == pace.n_steps:
                line = self.look()
                # Before the line: whoever stops at it can go on from here.
                self._keep()
                yield f"step {progress.step}: loss {np.mean(losses):.4f}, {line}"
                losses.clear()
        self.checkpoint.unlink(missing_ok=True)

    def resumed(self) -> None:  # noqa: B027 - most trainings have nothing to do here
        """Called once a checkpoint was taken up."""

    def _keep(self) -> None:
        from safetensors.torch import save_file

        trained = self.trained
        tensors = {name: weight.detach() for name, weight in trained.weights.items()}
        tensors |= {_AVERAGE + name: weight for name, weight in trained.average.items()}
        for name, weight in trained.weights.items():
            state = trained.optimizer.state[weight]
            tensors |= {_MEAN + name: state["exp_avg"], _SQUARE + name: state["exp_avg_sq"]}
            tensors["step"] = state["step"]
        values = dataclasses.asdict(self.progress) | {"recipe": self.told}
        temporary = self.checkpoint.with_name(f"{CHECKPOINT}.part")
        save_file(tensors, temporary, {name: str(value) for name, value in values.items()})
        temporary.replace(self.checkpoint)

    def _resume(self) -> None:
        """Take up the checkpoint; UsageError where it is damaged, or of another recipe."""
        from safetensors import SafetensorError, safe_open

        path, trained = self.checkpoint, self.trained
        try:
            with safe_open(path, "pt") as file:
                metadata: dict[str, Any] = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise UsageError(f"{path} is damaged ({error}); remove it to start again") from error
        if metadata.get("recipe") != self.told:
            raise UsageError(f"{path} is of another recipe or start; remove it, or write to another folder")
        for name, mean in trained.average.items():
            mean.copy_(tensors[_AVERAGE + name])
        for name, weight in trained.weights.items():
            weight.data.copy_(tensors[name])
            trained.optimizer.state[weight] = {
                "step": tensors["step"].clone(),
                "exp_avg": tensors[_MEAN + name].to(weight.device),
                "exp_avg_sq": tensors[_SQUARE + name].to(weight.device),
            }
        self.progress = Progress(
            int(metadata["step"]), float(metadata["best"]), int(metadata["n_looks_since"])
        )
        self.resumed()
