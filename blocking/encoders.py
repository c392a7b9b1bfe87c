"""An encoder is found by its name: a built-in one, a folder (of n-gram vectors or a model), or a hub id."""

from __future__ import annotations

from blocking.errors import BlockingError
from blocking.hub import pinned
from blocking.protocols import AUTO, BUILT_IN, CorpusEncoder, Encoder

__all__ = ["AUTO", "BUILT_IN", "CorpusEncoder", "Encoder", "load_encoder"]


def load_encoder(
    name_or_path: str,
    *,
    truncate_dim: int | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    prompt: str | None = None,
    revision: str | None = None,
) -> Encoder:
    """An encoder's name in, the encoder out.

    Args:
        name_or_path: a name of `BUILT_IN`, "auto" for the first of them, a local folder (an n-gram
            encoder's or a model's), or a hub id (`owner/model` or `owner/model@revision`).
        truncate_dim: leading dimensions to keep; rows are normalised again afterwards.
        device: "auto", "cpu" or "cuda".
        batch_size: texts of usual length in one forward pass; None goes by the device.
        prompt: one of the model's prompt names, or a text to put before every string.
        revision: of a hub model, where its name does not say.

    Raises:
        BlockingError: no such name, folder or model; a model of the wrong kind; a setting it cannot follow.
    """
    if name_or_path == AUTO:
        name_or_path = "hashing"
    if name_or_path in BUILT_IN and revision is not None:
        raise BlockingError(f"{name_or_path} is built in and has no revisions, got {revision!r}")
    if name_or_path == "hashing":
        from blocking.hashing import HashingEncoder

        if prompt is not None:
            raise BlockingError(f"the hashing encoder takes no prompt, got {prompt!r}")
        return HashingEncoder() if truncate_dim is None else HashingEncoder(dimensions=truncate_dim)

    source = pinned(name_or_path, revision)

    from blocking.ngram_bag import NgramBagEncoder, read_config

    if read_config(name_or_path) is not None:
        if prompt is not None:
            raise BlockingError(f"an n-gram encoder takes no prompt, got {prompt!r}")
        return NgramBagEncoder.load(name_or_path, truncate_dim=truncate_dim)

    from blocking.sentence import SentenceSettings, SentenceTransformerEncoder

    settings = SentenceSettings(truncate_dim, prompt, batch_size, device)
    return SentenceTransformerEncoder(source, settings)
