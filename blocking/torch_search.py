"""Exact nearest neighbours in PyTorch: the GPU's way where FAISS is missing or has no GPU build."""

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

#: Cosines held at once: 256 MB of float32 on a CPU, 1 GB of float16 on a GPU.
_CPU_COSINES, _GPU_COSINES = 1 << 26, 1 << 29
#: Values of candidates' rows held at once on a GPU: 1 GB.
_GPU_VALUES = 1 << 28
#: Rows of which the best is looked at first: of these few, those of the best groups are compared alone.
_GROUP = 64
#: Candidates beyond the results wanted, by cosines in half numbers.
_MORE = 96
#: How far a cosine in half numbers may be off: both rows are rounded to 11 bits, which is 2^-10 at the most,
#: then the sum, which is 2^-11, and a GPU may round the sums of a row's parts.
_ROUNDING = 2.0**-9


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
    corpus: Float32s,
    queries: Float32s,
    n_results: int,
    device: str,
    on_progress: Progress | None = None,
) -> tuple[Int64s, Float32s]:
    """The best rows of a table for each query, found by comparing all; on a GPU in half numbers first.

    Args:
        corpus: float32 of length 1, shape (m, d).
        queries: float32 of length 1, shape (n, d); the corpus itself where each row looks for others.
        n_results: rows wanted for each, at most m.
        device: "auto", "cpu" or "cuda".
        on_progress: called with (queries searched, queries).

    Returns:
        ids int64 and inner products float32, shape (n, n_results), the best first.

    Raises:
        BlockingError: PyTorch is missing or sees no GPU.
    """
    if importlib.util.find_spec("torch") is None:
        raise BlockingError("backend 'torch' needs PyTorch: pip install 'affiliation-resolver[models]'")
    place = torch_device(device)
    log.info("searching %d rows: PyTorch exact search on %s", len(corpus), place)
    chunk = _CPU_COSINES // len(corpus)
    if place == "cuda":
        n_candidates = min(n_results + _MORE, len(corpus))
        chunk = min(_GPU_COSINES // max(len(corpus), _GROUP), _GPU_VALUES // (n_candidates * corpus.shape[1]))
    found = np.empty((len(queries), n_results), np.int64)
    cosines = np.empty((len(queries), n_results), np.float32)
    parts = slices(len(queries), max(1, chunk))

    def cut(part: slice) -> slice | Float32s:
        # Rows of the table are wherever the table is.
        return part if queries is corpus else np.ascontiguousarray(queries[part], np.float32)

    answers = current().map(
        *(_best, _Table(np.ascontiguousarray(corpus, np.float32), n_results, device), parts, cut),
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

    @cached_property
    def halves(self) -> Any:
        """The vectors in half numbers, filled up to whole groups."""
        import torch

        return torch.nn.functional.pad(self.rows.half(), (0, 0, 0, -len(self.rows) % _GROUP))


def _best(table: _Table, asked: slice | Float32s, _: Progress | None) -> tuple[Int64s, Float32s]:
    import torch

    with torch.inference_mode():
        rows = table.rows
        queries = rows[asked] if isinstance(asked, slice) else torch.from_numpy(asked).to(rows.device)
        if rows.device.type == "cuda":
            ids, cosines = best_by_halves(rows, table.halves, queries, table.n_results)
        else:
            ids, cosines = best_of_all(rows, queries, table.n_results)
        return ids.cpu().numpy(), cosines.cpu().numpy()


def best_of_all(rows: Any, queries: Any, n_results: int) -> tuple[Any, Any]:
    """Rows (m, d) and queries (n, d) in; ids and inner products of the best for each, (n, n_results), out."""
    best = (queries @ rows.T).topk(n_results, dim=1)
    return best.indices, best.values


def best_by_halves(rows: Any, halves: Any, queries: Any, n_results: int) -> tuple[Any, Any]:
    """As `best_of_all`, with most of the work in half numbers, which a GPU multiplies many times as fast.

    They choose candidates, whose true inner products are then compared. A query whose last result is no
    better than what a row that is no candidate could have is compared with all rows.

    Args:
        rows: float32 of length 1, shape (m, d).
        halves: the same in float16, filled up to whole groups.
        queries: float32 of length 1, shape (n, d).
        n_results: rows wanted for each, at most m.
    """
    import torch

    candidates, rough = _candidates(halves, queries.half(), len(rows), min(n_results + _MORE, len(rows)))
    true = torch.einsum("qd,qcd->qc", queries, rows[candidates])
    best = true.topk(n_results, dim=1)
    ids, cosines = candidates.gather(1, best.indices), best.values
    if candidates.shape[1] < len(rows):
        is_open = cosines[:, -1] < rough[:, -1].float() + _ROUNDING
        again = is_open.nonzero()[:, 0]
        ids[again], cosines[again] = best_of_all(rows, queries[again], n_results)
    return ids, cosines


def _candidates(halves: Any, queries: Any, n_rows: int, n_wanted: int) -> tuple[Any, Any]:
    """The best rows by half numbers and their inner products, the best first, shape (n, n_wanted)."""
    rough = queries @ halves.T
    rough[:, n_rows:] = -float("inf")
    grouped = rough.view(len(queries), -1, _GROUP)
    # The best rows lie in as many groups at the most, and these are the groups of the best maxima.
    groups = grouped.amax(2).topk(min(n_wanted, grouped.shape[1]), dim=1).indices
    held = grouped.gather(1, groups[:, :, None].expand(-1, -1, _GROUP)).flatten(1)
    best = held.topk(n_wanted, dim=1)
    ids = groups.gather(1, best.indices // _GROUP) * _GROUP + best.indices % _GROUP
    return ids, best.values
