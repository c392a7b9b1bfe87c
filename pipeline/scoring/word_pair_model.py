"""The built-in reranker: a small transformer over the words of both mentions and the features of the pair.

A word is the vector that a trained bag of n-grams gives it, so that spellings and names never seen are near
those that were. Every word attends to the words of both sides (Vaswani et al. 2017), the more to those that
are alike; what is found on each side is put together so that left and right can be swapped. NumPy runs it.
Trained by `affil train reranker`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.resources import files
from os import cpu_count
from pathlib import Path
from typing import Any

import numpy as np

from blocking.errors import BlockingError
from blocking.ngram_bag import NgramBagEncoder
from pipeline.errors import UsageError
from pipeline.records import Combination, Float64s, Int64s, Progress
from pipeline.scoring.features import NAMES, PairFeatures
from pipeline.scoring.known import two_records
from pipeline.scoring.word_pairs import N_MARKS, Float32s, MentionWords, PairBatch

FORMAT, VERSION = "word-pair-reranker", 1
CONFIG_FILE, WEIGHTS_FILE, WORDS_FOLDER = "config.json", "model.safetensors", "words"
#: Stands for minus infinity: where there is no word, nothing attends.
FORBIDDEN = np.float32(-1e9)
#: Keeps a division by a spread of zero away, as in Ba et al. 2016.
EPSILON = np.float32(1e-5)
#: Standardised features beyond this are cut: outliers of small files.
_MOST = np.float32(4)
#: Pairs that the network takes at once, and pairs whose features are held at once.
_BATCH, _CHUNK = 256, 20_000


@dataclass(frozen=True)
class Shape:
    """Sizes of the network.

    Attributes:
        n_channels: numbers a word is described by.
        n_layers: rounds of attention.
        n_heads: attentions side by side; divides `n_channels`.
        n_hidden: width of the layers between.
        n_places: places that are told apart.
        max_words: words that are read of a mention.
    """

    n_channels: int = 128
    n_layers: int = 2
    n_heads: int = 4
    n_hidden: int = 128
    n_places: int = 12
    max_words: int = 24

    def arrays(self, n_dimensions: int, n_features: int) -> dict[str, tuple[int, ...]]:
        """The shapes of all weights, by name, for word vectors of so many dimensions and so many features."""
        c, h = self.n_channels, self.n_hidden
        found: dict[str, tuple[int, ...]] = {
            "word": (n_dimensions + 1, c),
            "mark": (N_MARKS, c),
            "place": (self.n_places, c),
            "nearest": (c,),
        }
        layer: dict[str, tuple[int, ...]] = {
            "norm_1": (2, c),
            "query_key_value": (c, 3 * c),
            "query_key_value_bias": (3 * c,),
            "side": (2, self.n_heads),
            "alike": (self.n_heads,),
            "joined": (c, c),
            "joined_bias": (c,),
            "norm_2": (2, c),
            "widened": (c, h),
            "widened_bias": (h,),
            "narrowed": (h, c),
            "narrowed_bias": (c,),
        }
        for n in range(self.n_layers):
            found |= {f"layer_{n}.{name}": shape for name, shape in layer.items()}
        return found | {
            "norm": (2, c),
            "pooled": (c,),
            "head": (3 * c + n_features, h),
            "head_bias": (h,),
            "logit": (h,),
            "logit_bias": (1,),
        }


@dataclass(frozen=True)
class Standard:
    """What brings features to mean 0 and spread 1; the scale of a feature that never varied is 0."""

    mean: Float32s
    scale: Float32s

    @classmethod
    def fit(cls, values: Float32s) -> Standard:
        """Features, shape (n, n_features), to their means and inverse spreads."""
        mean, spread = values.mean(axis=0, dtype=np.float64), values.std(axis=0, dtype=np.float64)
        scale = np.divide(1, spread, out=np.zeros_like(spread), where=spread > 1e-6)
        return cls(mean.astype(np.float32), scale.astype(np.float32))

    def apply(self, values: Float32s) -> Float32s:
        """Features to standardised ones."""
        standard: Float32s = np.clip((values - self.mean) * self.scale, -_MOST, _MOST)
        return standard


class WordVectors:
    """Words to what the network reads of them: a vector of length 1, and how long it was."""

    def __init__(self, encoder: NgramBagEncoder) -> None:
        self.encoder = encoder

    def of(self, words: list[str]) -> Float32s:
        """Words to shape (n, dimensions + 1); the last column is the logarithm of one plus the length."""
        sums = self.encoder.sums(words)
        length = np.linalg.norm(sums, axis=1, keepdims=True)
        unit = np.divide(sums, length, out=np.zeros_like(sums), where=length > 0)
        return np.concatenate([unit, np.log1p(length)], axis=1).astype(np.float32)


class WordPairModel:
    """Batches of pairs to log-odds: the network with its weights."""

    def __init__(self, shape: Shape, arrays: Mapping[str, Float32s]) -> None:
        """Sizes, and weights by the names of `Shape.arrays`."""
        self.shape, self.arrays = shape, arrays

    @property
    def n_parameters(self) -> int:
        """How many numbers were trained."""
        return sum(a.size for a in self.arrays.values())

    def project(self, vectors: Float32s) -> Float32s:
        """Word vectors to what the network holds of each word, shape (n_words, n_channels): once a word."""
        projected: Float32s = vectors @ self.arrays["word"]
        return projected

    def logits(self, batch: PairBatch, projected: Float32s) -> Float32s:
        """A batch and the projected words to log-odds, shape (n,)."""
        w = self.arrays
        state = projected[batch.word] + w["mark"][batch.mark] + w["place"][batch.place]
        state += batch.nearest[:, :, None] * w["nearest"]
        absent = np.where(batch.is_word, np.float32(0), FORBIDDEN)
        for n in range(self.shape.n_layers):
            layer = {k.removeprefix(f"layer_{n}."): v for k, v in w.items() if k.startswith(f"layer_{n}.")}
            state += self._attended(_normed(state, layer["norm_1"]), batch, absent, layer)
            wide = _normed(state, layer["norm_2"]) @ layer["widened"] + layer["widened_bias"]
            state += np.maximum(wide, 0, out=wide) @ layer["narrowed"] + layer["narrowed_bias"]
        state = _normed(state, w["norm"])
        weight = state @ w["pooled"] + absent
        left, right = slice(batch.n_left), slice(batch.n_left, None)
        a, b = (_pooled(state[:, side], weight[:, side]) for side in (left, right))
        both = np.concatenate([a + b, np.abs(a - b), a * b, batch.features], axis=1)
        hidden = np.maximum(both @ w["head"] + w["head_bias"], 0)
        logit: Float32s = hidden @ w["logit"] + w["logit_bias"]
        return logit

    def _attended(
        self, state: Float32s, batch: PairBatch, absent: Float32s, layer: Mapping[str, Float32s]
    ) -> Float32s:
        n, n_words, c = state.shape
        heads = self.shape.n_heads
        parts = state @ layer["query_key_value"] + layer["query_key_value_bias"]
        query, key, value = parts.reshape(n, n_words, 3, heads, c // heads).transpose(2, 0, 3, 1, 4)
        score = query @ key.transpose(0, 1, 3, 2)
        score *= np.float32(1 / np.sqrt(c // heads))
        score += layer["side"][batch.is_across.astype(np.int64)].transpose(2, 0, 1)
        score += batch.cosine[:, None] * layer["alike"][:, None, None]
        score += absent[:, None, None, :]
        mixed = _softmax(score) @ value
        mixed = mixed.transpose(0, 2, 1, 3).reshape(n, n_words, c) @ layer["joined"]
        joined: Float32s = mixed + layer["joined_bias"]
        return joined


def _normed(state: Float32s, norm: Float32s) -> Float32s:
    """Layer normalisation (Ba et al. 2016): gain and bias are the two rows of `norm`."""
    centred: Float32s = state - state.mean(axis=-1, keepdims=True)
    variance = np.einsum("...i,...i->...", centred, centred)[..., None] / np.float32(state.shape[-1])
    centred *= 1 / np.sqrt(variance + EPSILON)
    centred *= norm[0]
    centred += norm[1]
    return centred


def _softmax(score: Float32s) -> Float32s:
    score -= score.max(axis=-1, keepdims=True)
    np.exp(score, out=score)
    score /= score.sum(axis=-1, keepdims=True)
    return score


def _pooled(state: Float32s, weight: Float32s) -> Float32s:
    """Words, shape (n, n_words, c), to their weighted mean, shape (n, c)."""
    pooled: Float32s = np.einsum("nw,nwc->nc", _softmax(weight.copy()), state)
    return pooled


@dataclass
class WordPairReranker:
    """A rescorer of the kind that ships with the package. Make one with `load`."""

    model: WordPairModel
    words: WordVectors
    standard: Standard
    combination: Combination | None = None
    name: str = "built-in"
    #: By gain and time (`benchmarks/rescoring.py`). Probabilities before calibration are too low.
    band: tuple[float, float] = (0.01, 0.99)

    def rescore(
        self, features: PairFeatures, left: Int64s, right: Int64s, on_progress: Progress | None = None
    ) -> Float64s:
        """Mention numbers, shape (n,), to log-odds that both name one institution, shape (n,)."""
        if not len(left):
            return np.empty(0, np.float64)
        used, at = np.unique(np.concatenate([left, right]), return_inverse=True)
        words = MentionWords.of(features, used, self.model.shape.max_words)
        vectors = self.words.of(words.vocabulary)
        projected = self.model.project(vectors)
        rows = longer_first(words, at[: len(left)], at[len(left) :])
        found = np.empty(len(left), np.float64)

        def fill(part: Int64s, values: Float32s) -> None:
            own = (rows[0][part], rows[1][part])
            batch = PairBatch.of(words, vectors[:, :-1], own, values, self.model.shape.n_places)
            found[part] += self.model.logits(batch, projected)

        # NumPy lets go of the interpreter in its loops, so threads do use several cores.
        with ThreadPoolExecutor(cpu_count() or 1) as pool:
            for start in range(0, len(left), _CHUNK):
                chunk = np.arange(start, min(start + _CHUNK, len(left)))
                values = features.of(left[chunk], right[chunk])
                # What the network, too, could not learn from labels.
                found[chunk] = two_records(values, NAMES)
                values = self.standard.apply(values)
                # Pairs of like length together: a batch is as wide as the longest of them.
                order = np.lexsort([words.n_words[side[chunk]] for side in reversed(rows)])
                parts = [order[i : i + _BATCH] for i in range(0, len(order), _BATCH)]
                list(pool.map(fill, [chunk[part] for part in parts], [values[part] for part in parts]))
                if on_progress:
                    on_progress(int(chunk[-1]) + 1, len(left))
        return found

    def describe(self) -> dict[str, Any]:
        """What was loaded, in words and numbers."""
        return {
            "architecture": f"transformer over words, {self.model.shape.n_layers} layers",
            "n_parameters": self.model.n_parameters,
            "word vectors": f"{1 << self.words.encoder.features.bucket_bits:,} x"
            f" {self.words.encoder.dimensions}",
            "longest mention": f"{self.model.shape.max_words} words",
        }

    @classmethod
    def load(cls, folder: str | Path | None = None) -> WordPairReranker:
        """A folder with `config.json`, `model.safetensors` and `words/`, by default the one in the package.

        Raises:
            UsageError: a file that is missing, damaged, or of another version.
        """
        path = Path(folder).expanduser() if folder else Path(str(files("pipeline") / "models" / "reranker"))
        config = read_config(path)
        if config is None:
            raise UsageError(f"no reranker of the built-in kind in {path}; `affil train reranker` writes one")
        try:
            if config["version"] != VERSION:
                raise UsageError(f"{path} has version {config['version']}, this code reads {VERSION}")
            shape, combined = Shape(**config["shape"]), config.get("combination")
            combination = Combination(**combined) if combined else None
            if tuple(config["features"]) != NAMES:
                raise UsageError(f"{path} was trained on other features; train it again")
            words = NgramBagEncoder.load(path / WORDS_FOLDER)
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"{path / CONFIG_FILE} is damaged ({error})") from error
        except BlockingError as error:
            raise UsageError(str(error)) from error
        arrays = _read_arrays(path / WEIGHTS_FILE, shape.arrays(words.dimensions, len(NAMES)))
        standard = Standard(arrays.pop("feature_mean"), arrays.pop("feature_scale"))
        name = "built-in" if folder is None else str(folder)
        return cls(WordPairModel(shape, arrays), WordVectors(words), standard, combination, name)

    def save(self, folder: str | Path) -> None:
        """Write the files that `load` reads."""
        from safetensors.numpy import save

        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        self.words.encoder.save(path / WORDS_FOLDER)
        arrays = {name: np.ascontiguousarray(a) for name, a in sorted(self.model.arrays.items())}
        arrays |= {"feature_mean": self.standard.mean, "feature_scale": self.standard.scale}
        temporary = path / f"{WEIGHTS_FILE}.part"
        temporary.write_bytes(save(arrays))
        temporary.replace(path / WEIGHTS_FILE)
        config = {"format": FORMAT, "version": VERSION, "shape": asdict(self.model.shape), "features": NAMES}
        combined = {"combination": asdict(self.combination)} if self.combination else {}
        temporary = path / f"{CONFIG_FILE}.part"
        temporary.write_text(json.dumps(config | combined, indent=2) + "\n", encoding="utf-8")
        temporary.replace(path / CONFIG_FILE)


def longer_first(words: MentionWords, left: Int64s, right: Int64s) -> tuple[Int64s, Int64s]:
    """Pairs of rows with the side of more words first: batches waste less room, and order does not matter."""
    swap = words.n_words[left] < words.n_words[right]
    return np.where(swap, right, left), np.where(swap, left, right)


def read_config(folder: str | Path) -> dict[str, Any] | None:
    """A folder in; what its `config.json` says of a reranker of this format out, None for anything else."""
    path = Path(folder).expanduser() / CONFIG_FILE
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError:
        return None
    return found if isinstance(found, dict) and found.get("format") == FORMAT else None


def _read_arrays(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Float32s]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if not path.is_file():
        raise UsageError(f"no such file: {path}; `affil train reranker` writes it")
    try:
        found = load(path.read_bytes())
    except (SafetensorError, ValueError) as error:
        raise UsageError(f"{path} is damaged: {error}") from error
    expected = dict(shapes) | dict.fromkeys(("feature_mean", "feature_scale"), (len(NAMES),))
    if {name: a.shape for name, a in found.items()} != expected:
        raise UsageError(f"{path} is damaged: its arrays are not those of {CONFIG_FILE}")
    return {name: np.asarray(a, np.float32) for name, a in found.items()}
