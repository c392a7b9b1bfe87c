"""Cross-encoder rescoring: a transformer that reads both strings of a pair at once."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from blocking.assembly import longest_input
from blocking.engine import slices
from blocking.hub import split_revision
from blocking.precision import hold
from blocking.prompts import resolve
from blocking.tokens import ByTokens, batch_size_on
from blocking.torch_search import torch_device
from pipeline.errors import AffilError, UsageError
from pipeline.records import Combination, Int64s, Progress
from pipeline.scoring.reranker_folder import reranker_folder

if TYPE_CHECKING:
    from pipeline.scoring.features import PairFeatures

Float64s = npt.NDArray[np.float64]
#: Pairs that are held as tokens at a time.
_MOST_PAIRS = 1 << 15


class PairRescorer(Protocol):
    """What can judge pairs of mentions one by one, at a price.

    Attributes:
        name: names it in logs.
        combination: how its log-odds and those of the feature model become one; None leaves it to settings.
        band: feature probabilities between which it is worth asking, unless settings say another band.
    """

    name: str
    combination: Combination | None
    band: tuple[float, float]

    def rescore(
        self, features: PairFeatures, left: Int64s, right: Int64s, on_progress: Progress | None = None
    ) -> Float64s:
        """Mention numbers, shape (n,), to log-odds that both name one institution, shape (n,).

        Texts are in `features.forms`, and `features.of(left, right)` gives the features of the pairs.
        """
        ...


@runtime_checkable
class TextReranker(Protocol):
    """What can judge pairs of texts."""

    def logits(
        self, left: Sequence[str], right: Sequence[str], on_progress: Progress | None = None
    ) -> Float64s:
        """Two columns of texts to log-odds that both name one institution, shape (n,)."""
        ...


@dataclass
class CrossEncoderScorer:
    """Any sentence-transformers `CrossEncoder` with one output, from a folder or a hub id.

    A cross-encoder is not symmetric: both orders are asked and their logits averaged.
    Published models that need code of their own are converted; remote code is never run.
    """

    name: str
    device: str = "auto"
    batch_size: int | None = None
    max_length: int | None = None
    combination: Combination | None = None
    band: tuple[float, float] = (0.1, 0.9)

    def __post_init__(self) -> None:
        self._model = self._load()
        self._make_ready(self._model.device.type)

    def _load(self) -> Any:
        try:
            import torch
            from sentence_transformers import CrossEncoder
        except ImportError as error:
            raise AffilError(
                "a reranker needs transformers: pip install 'affiliation-resolver[models]'"
            ) from error
        name, revision = split_revision(self.name)
        #: The folder that the model was loaded from: its conversion where it needed one.
        self.folder = reranker_folder(name, revision)
        try:
            model = CrossEncoder(
                str(self.folder),
                device=_device(self.device),
                model_kwargs={"dtype": torch.float32},
                trust_remote_code=False,
                local_files_only=True,
            )
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise AffilError(f"cannot load reranker {self.name!r}: {reason}") from error
        model.max_length = longest_input(model[0].auto_model.config, model.max_length, self.max_length)
        if model.num_labels != 1:
            raise UsageError(f"reranker {self.name!r} has {model.num_labels} outputs; a reranker has one")
        return model

    @property
    def uses_gpu(self) -> bool:
        """Whether it runs faster where there is a GPU, and may."""
        return self.device != "cpu"

    def __getstate__(self) -> dict[str, Any]:
        """The model with its weights, on a CPU: where it is read there may be no GPU."""
        on_cpu = self._model.device.type == "cpu"
        model = self._model if on_cpu else copy.deepcopy(self._model).to("cpu")
        return {name: value for name, value in vars(self).items() if name != "_by_tokens"} | {"_model": model}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._make_ready(torch_device(self.device))

    def _make_ready(self, device: str) -> None:
        model = hold(self._model, device, model_type=self._model[0].auto_model.config.model_type)
        prompt = resolve(None, model.prompts or {}, model.default_prompt_name)
        self._by_tokens = ByTokens(model, prompt, is_pairwise=True)

    @property
    def _batch_size(self) -> int:
        return batch_size_on(self._model.device.type, self.batch_size)

    def rescore(
        self, features: PairFeatures, left: Int64s, right: Int64s, on_progress: Progress | None = None
    ) -> Float64s:
        """Mention numbers to the log-odds of their contexts, shape (n,)."""
        context = features.forms.context
        first, second = ([context[i] for i in side.tolist()] for side in (left, right))
        return self.logits(first, second, on_progress)

    def logits(
        self, left: Sequence[str], right: Sequence[str], on_progress: Progress | None = None
    ) -> Float64s:
        """Two columns of texts to log-odds averaged over both orders, shape (n,)."""
        total = np.empty(len(left), np.float64)
        step = min(self._batch_size * 64, _MOST_PAIRS)
        for start in range(0, len(left), step):
            one = list(zip(left[start : start + step], right[start : start + step], strict=True))
            both = self._predict(one), self._predict([(b, a) for a, b in one])
            total[start : start + step] = (both[0] + both[1]) / 2
            if on_progress:
                on_progress(min(start + step, len(left)), len(left))
        return total

    def describe(self) -> dict[str, Any]:
        """What was loaded, by the names of settings and of `transformers`."""
        inner = self._model[0].auto_model
        return {
            "architecture": type(inner).__name__,
            "n_layers": inner.config.num_hidden_layers,
            "n_parameters": sum(parameter.numel() for parameter in inner.parameters()),
            "longest pair": f"{self._model.max_length} tokens",
        }

    def directed_logits(self, left: Sequence[str], right: Sequence[str]) -> Float64s:
        """Two columns of texts to log-odds in this order only, shape (n,): how cards use rerankers."""
        return self._predict(list(zip(left, right, strict=True)))

    def _predict(self, pairs: list[tuple[str, str]]) -> Float64s:
        # The model's own outputs: the library's `predict` would squash them.
        parts = slices(len(pairs), _MOST_PAIRS)
        found = [self._by_tokens.outputs(pairs[part], self._batch_size, "scores") for part in parts]
        return np.concatenate([np.empty(0), *(own.reshape(-1) for own in found)])


def _device(device: str) -> str | None:
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: this machine has no GPU that torch can use; leave --device at auto")
    return None if device == "auto" else device
