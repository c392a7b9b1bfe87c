"""What a caller can choose about blocking, validated where it is written down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from blocking.errors import BlockingError

#: Called with (items done, items in all) by long steps.
Progress = Callable[[int, int], None]

INDEXES = ("auto", "exact", "quantised", "hnsw", "ivf")
BACKENDS = ("auto", "faiss", "torch")
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class BlockingSettings:
    """Settings of `block`.

    Attributes:
        encoder: built-in encoder name, "auto", local path or hub id, optionally `id@revision`.
        truncate_dim: keep this many leading dimensions of each vector (None: all of them).
        prompt: prompt name of the model, a text to put before every string, or a sentence with {} in it.
        batch_size: strings of usual length a forward pass takes at once (model encoders only); None goes by
            the device.
        revision: revision of a hub model; None takes the newest, or the one behind its name.
        n_neighbours: neighbours asked for each distinct text.
        min_similarity: neighbours below this cosine are not proposed; key rules do not look at it.
        index: how neighbours are searched; "auto" chooses by the number of texts.
        recall_target: share of the true neighbours, on a sample, that a "quantised" index is tuned to find.
        backend: the library that searches; "auto" is FAISS unless only PyTorch sees a large search's GPU, or
            FAISS is missing and PyTorch sees a GPU.
        device: "auto" takes a GPU where there is one, "cuda" insists on it.
        max_block: items that may all be paired with each other because they share a key; in a larger
            block every item meets at most this many others.
        n_group_neighbours: second pass: groups asked for each group of items; 0 leaves the pass out.
        n_representatives: second pass: at most so many items of a group meet another group's.
        hnsw_ef_search: breadth of an HNSW search: higher finds more true neighbours and takes longer.
        ivf_n_probe: cells that an IVF search looks into.
    """

    encoder: str = "auto"
    truncate_dim: int | None = None
    prompt: str | None = None
    batch_size: int | None = None
    revision: str | None = None
    n_neighbours: int = 30
    min_similarity: float = 0.0
    index: str = "auto"
    recall_target: float = 0.9
    backend: str = "auto"
    device: str = "auto"
    max_block: int = 100
    n_group_neighbours: int = 10
    n_representatives: int = 10
    hnsw_ef_search: int = 128
    ivf_n_probe: int = 32

    def __post_init__(self) -> None:
        one_of("index", self.index, INDEXES)
        one_of("backend", self.backend, BACKENDS)
        one_of("device", self.device, DEVICES)
        at_least("n_neighbours", self.n_neighbours, 1)
        at_least("max_block", self.max_block, 2)
        at_least("n_group_neighbours", self.n_group_neighbours, 0)
        at_least("n_representatives", self.n_representatives, 1)
        at_least("hnsw_ef_search", self.hnsw_ef_search, 1)
        at_least("ivf_n_probe", self.ivf_n_probe, 1)
        if self.batch_size is not None:
            at_least("batch_size", self.batch_size, 1)
        if self.truncate_dim is not None:
            at_least("truncate_dim", self.truncate_dim, 1)
        if not 0 < self.recall_target <= 1:
            raise BlockingError(f"recall_target must be above 0 and at most 1, got {self.recall_target}")
        if not -1 <= self.min_similarity <= 1:
            raise BlockingError(f"min_similarity must lie in [-1, 1], got {self.min_similarity}")
        if not self.encoder:
            raise BlockingError("encoder must be a built-in name, a path or a hub id, got an empty string")


def one_of(name: str, value: str, valid: tuple[str, ...]) -> None:
    """A setting's name, its value and the valid ones in; nothing out, `BlockingError` otherwise."""
    if value not in valid:
        raise BlockingError(f"{name} must be one of {', '.join(valid)}, got {value!r}")


def at_least(name: str, value: int, least: int) -> None:
    """A setting's name, its value and the least valid one in; nothing out, `BlockingError` below it."""
    if value < least:
        raise BlockingError(f"{name} must be {least} or more, got {value}")
