"""A trained bag of words, word pairs and character n-grams, hashed: a text is the sum of their vectors."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from anyascii import anyascii

from blocking.errors import BlockingError
from blocking.pairs import Float32s
from blocking.protocols import normalise_rows
from blocking.settings import Progress, at_least
from blocking.text_features import hashed_features
from blocking.workers import n_workers

FORMAT, VERSION = "ngram-bag", 1
CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
#: Texts that one thread turns into vectors at a time.
_CHUNK = 4096
#: Any letter outside the Latin blocks.
_OTHER_LETTER = re.compile(r"(?![\u0000-\u024f\u1e00-\u1eff])[^\W\d_]")


@dataclass(frozen=True)
class BagFeatures:
    """What a text is made of before any vector is looked up.

    Attributes:
        bucket_bits: two to the power of it are the rows of the table of vectors.
        gram_lengths: lengths of the character n-grams.
        is_transliterated: words in other scripts count a second time in Latin letters.
    """

    bucket_bits: int = 15
    gram_lengths: tuple[int, ...] = (3, 4, 5)
    is_transliterated: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.bucket_bits <= 24:
            raise BlockingError(f"bucket_bits must lie in 1 … 24, got {self.bucket_bits}")
        if not self.gram_lengths or min(self.gram_lengths) < 3:
            raise BlockingError(f"gram_lengths must be 3 or more each, got {list(self.gram_lengths)}")

    def of(self, texts: Sequence[str]) -> Any:
        """Texts in; a CSR matrix out, float32, shape (n, 2^bucket_bits)."""
        if self.is_transliterated:
            texts = [_with_latin(text) for text in texts]
        return hashed_features(texts, self.bucket_bits, self.gram_lengths)


def _with_latin(text: str) -> str:
    """A text with the words that other scripts write in once more in Latin letters."""
    if text.isascii() or not _OTHER_LETTER.search(text):
        return text
    return " ".join([text, *(anyascii(word) for word in text.split() if _OTHER_LETTER.search(word))])


class NgramBagEncoder:
    """Texts to vectors by a trained table of n-gram vectors; needs NumPy and SciPy alone.

    Leading dimensions can be kept alone (`truncate_dim`); how many of them were trained to stand alone is in
    the model's card.
    """

    def __init__(
        self,
        table: Float32s,
        features: BagFeatures | None = None,
        *,
        name: str = FORMAT,
        truncate_dim: int | None = None,
    ) -> None:
        """Wrap a table of vectors.

        Args:
            table: float32, shape (2^bucket_bits, dimensions): one vector a bucket.
            features: how texts are cut and hashed; must be what the table was trained with.
            name: names the encoder in reports.
            truncate_dim: leading dimensions to keep; None keeps all.

        Raises:
            BlockingError: a table of another shape, or fewer dimensions than are to be kept.
        """
        self.features = features or BagFeatures()
        self.name = name
        if table.ndim != 2 or len(table) != 1 << self.features.bucket_bits:
            wanted = 1 << self.features.bucket_bits
            raise BlockingError(f"the table of {name} must have {wanted} rows, got shape {table.shape}")
        full = table.shape[1]
        self.dimensions = full if truncate_dim is None else truncate_dim
        at_least("truncate_dim", self.dimensions, 1)
        if self.dimensions > full:
            raise BlockingError(f"truncate_dim is {self.dimensions}, but {name} has {full} dimensions")
        #: One vector a bucket, float32, shape (2^bucket_bits, dimensions).
        self.table: Float32s = np.ascontiguousarray(table[:, : self.dimensions], np.float32)

    def encode(self, texts: Sequence[str], *, on_progress: Progress | None = None) -> Float32s:
        """Texts in; float32 vectors of length 1 out, shape (n, dimensions), zeros for no words."""
        vectors = np.zeros((len(texts), self.dimensions), np.float32)
        starts = range(0, len(texts), _CHUNK)

        def fill(start: int) -> None:
            vectors[start : start + _CHUNK] = normalise_rows(self.sums(texts[start : start + _CHUNK]))

        # SciPy and NumPy let go of the interpreter in their loops, so threads do use several cores.
        with ThreadPoolExecutor(n_workers()) as pool:
            for start, _ in zip(starts, pool.map(fill, starts), strict=True):
                if on_progress:
                    on_progress(min(start + _CHUNK, len(texts)), len(texts))
        return vectors

    def sums(self, texts: Sequence[str]) -> Float32s:
        """Texts in; the sums of their features' vectors out, shape (n, dimensions), of any length."""
        summed: Float32s = self.features.of(texts) @ self.table
        return summed

    @classmethod
    def load(cls, folder: str | Path, *, truncate_dim: int | None = None) -> NgramBagEncoder:
        """A folder with `config.json` and `model.safetensors` in, the encoder out.

        Raises:
            BlockingError: a file that is missing, damaged, or of another version.
        """
        config = read_config(folder)
        if config is None:
            raise BlockingError(f"{folder} holds no {FORMAT} encoder: its {CONFIG_FILE} does not say so")
        if config.get("version") != VERSION:
            raise BlockingError(f"{folder} has version {config.get('version')}, this code reads {VERSION}")
        try:
            features = BagFeatures(
                int(config["bucket_bits"]),
                tuple(int(n) for n in config["gram_lengths"]),
                bool(config["is_transliterated"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise BlockingError(f"{Path(folder) / CONFIG_FILE}: {_reason(error)}") from error
        table = _read_table(Path(folder).expanduser() / WEIGHTS_FILE)
        return cls(table, features, name=str(config.get("name", FORMAT)), truncate_dim=truncate_dim)

    def save(self, folder: str | Path) -> None:
        """Write the encoder: one byte a number, with a scale for each row."""
        from safetensors.numpy import save

        values, scale = quantised(self.table)
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        (path / WEIGHTS_FILE).write_bytes(save({"vectors": values, "scale": scale}))
        config = {"format": FORMAT, "version": VERSION, "name": self.name, "dimensions": self.dimensions}
        text = json.dumps(config | asdict(self.features), indent=2)
        (path / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")


def quantised(table: Float32s) -> tuple[npt.NDArray[np.int8], Float32s]:
    """A table in; whole numbers of -127 … 127 of the same shape and each row's scale out."""
    scale = (np.abs(table).max(axis=1, initial=0) / 127).astype(np.float32)
    divisor = np.where(scale > 0, scale, np.float32(1))[:, None]
    return np.rint(table / divisor).astype(np.int8), scale


def read_config(folder: str | Path) -> dict[str, Any] | None:
    """A folder in; what its `config.json` says of an encoder of this format out, None for anything else."""
    path = Path(folder).expanduser() / CONFIG_FILE
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError:
        return None
    return found if isinstance(found, dict) and found.get("format") == FORMAT else None


def _read_table(path: Path) -> Float32s:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if not path.is_file():
        raise BlockingError(f"no such file: {path}; an encoder is {CONFIG_FILE} and {WEIGHTS_FILE}")
    try:
        arrays = load(path.read_bytes())
        values, scale = arrays["vectors"], arrays["scale"]
    except (SafetensorError, KeyError, ValueError) as error:
        raise BlockingError(f"{path} is damaged or not an encoder's table: {_reason(error)}") from error
    if values.dtype != np.int8 or values.ndim != 2 or scale.shape != (len(values),):
        raise BlockingError(f"{path} is not an encoder's table: {values.dtype} {values.shape}, {scale.shape}")
    table: Float32s = values.astype(np.float32) * scale.astype(np.float32)[:, None]
    return table


def _reason(error: Exception) -> str:
    line = (str(error).strip().splitlines() or [""])[0]
    return f"{line} is missing" if isinstance(error, KeyError) else line
