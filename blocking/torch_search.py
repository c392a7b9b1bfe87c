"""Exact nearest neighbours in PyTorch: the GPU's way where FAISS has no GPU build."""

from __future__ import annotations

import importlib.util
import logging

import numpy as np

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
    import torch

    place = torch_device(device)
    log.info("searching %d rows: PyTorch exact search on %s", len(vectors), place)
    rows = torch.from_numpy(np.ascontiguousarray(vectors)).to(place)
    chunk = max(1, (_GPU_COSINES if place == "cuda" else _CPU_COSINES) // len(vectors))
    found = np.empty((len(vectors), n_results), np.int64)
    cosines = np.empty((len(vectors), n_results), np.float32)
    with torch.inference_mode():
        for start in range(0, len(vectors), chunk):
            end = min(start + chunk, len(vectors))
            best = torch.topk(rows[start:end] @ rows.T, n_results, dim=1)
            found[start:end] = best.indices.cpu().numpy()
            cosines[start:end] = best.values.cpu().numpy()
            if on_progress:
                on_progress(end, len(vectors))
    return found, cosines
