"""Exact nearest neighbours in PyTorch: the GPU's way where FAISS has no GPU build."""

from __future__ import annotations

import importlib.util
import logging
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from blocking.engine import current, slices
from blocking.errors import BlockingError
from blocking.pairs import Float32s, Int64s
from blocking.settings import Progress

log = logging.getLogger(__name__)

#: Cosines held at once: 256 MB of float32 on a CPU, 2 GB on a GPU.
_CPU_COSINES, _GPU_COSINES = 1 << 26, 1 << 29


def has_torch_gpu() -> bool:
    """Nothing in; whether PyTorch is installed and sees a CUDA GPU out."""
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return bool(torch.cuda.is_available())


def torch_device(device: str) -> str:
    """The `device` setting in, "cpu" or "cuda" out; `BlockingError` for "cuda" where PyTorch sees no GPU."""
    if device == "cpu":
        return device
    if has_torch_gpu():
        return "cuda"
    if device == "cuda":
        raise BlockingError("device 'cuda' was asked for, but PyTorch sees no GPU; use 'auto' or 'cpu'")
    return "cpu"


def search_torch(
    vectors: Float32s, n_results: int, device: str, on_progress: Progress | None = None
) -> tuple[Int64s, Float32s]:
    """Vectors in, shape (n, d); ids and inner products of each row's best `n_results` rows (self too) out.

    `n_results` is at most n. Raises `BlockingError` where PyTorch is missing or sees no GPU.
    """
    if importlib.util.find_spec("torch") is None:
        raise BlockingError("backend 'torch' needs PyTorch: pip install 'affiliation-resolver[models]'")
    place = torch_device(device)
    log.info("searching %d rows: PyTorch exact search on %s", len(vectors), place)
    chunk = max(1, (_GPU_COSINES if place == "cuda" else _CPU_COSINES) // len(vectors))
    found = np.empty((len(vectors), n_results), np.int64)
    cosines = np.empty((len(vectors), n_results), np.float32)
    parts = slices(len(vectors), chunk)
    answers = current().map(
        *(_best, _Table(np.ascontiguousarray(vectors), n_results, device), parts, lambda part: part),
        on_gpu=device != "cpu",
        on_progress=on_progress,
    )
    for part, own in zip(parts, answers, strict=True):
        found[part], cosines[part] = own
    return found, cosines


@dataclass
class _Table:
    vectors: Float32s
    n_results: int
    device: str

    @cached_property
    def rows(self) -> Any:
        """The vectors where PyTorch searches them."""
        import torch

        return torch.from_numpy(self.vectors).to(torch_device(self.device))


def _best(table: _Table, part: slice, _: Progress | None) -> tuple[Int64s, Float32s]:
    import torch

    with torch.inference_mode():
        best = torch.topk(table.rows[part] @ table.rows.T, table.n_results, dim=1)
        return best.indices.cpu().numpy(), best.values.cpu().numpy()
