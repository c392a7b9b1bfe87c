"""Train the built-in reranker: labelled strings in, a network over words and features of pairs out.

Pairs are candidates that the package's own blocking proposes, with an encoder that learnt from no string.
Word vectors are trained on registry names alone. What is better, and how the log-odds of both models become
one, is decided on strings that the reranker has not seen: a fifth of the clusters of `train`, and `tune`. The
fold `test` is not looked at.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from blocking.ngram_bag import NgramBagEncoder
from blocking.torch_search import torch_device
from pipeline.calibration import PlattScaling
from pipeline.errors import UsageError
from pipeline.records import Combination, Float64s, Int64s
from pipeline.scoring import NAMES, ScoringSettings, WordPairReranker
from pipeline.scoring.score import doubtful
from pipeline.scoring.word_pair_model import WORDS_FOLDER, Shape, Standard, WordVectors, longer_first
from pipeline.scoring.word_pairs import MentionWords, PairBatch
from pipeline.training.encoder import train_on_names
from pipeline.training.encoder_recipe import EncoderRecipe
from pipeline.training.judged import Judged
from pipeline.training.labelled_pairs import MinedPairs
from pipeline.training.labels import Columns, is_held_out, read_folds
from pipeline.training.loop import CHECKPOINT, Training
from pipeline.training.recipe_files import read_recipe
from pipeline.training.word_pair_module import WordPairModule, random_model

#: Batches that are drawn together and parted by length: so many steps draw once.
_N_TOGETHER = 8
#: Feature probabilities between which training looks, and fits how both models become one: beyond them lie
#: half of the pairs, and next to nothing to be gained (`benchmarks/rescoring.py`).
_BAND = (0.001, 0.999)


@dataclass(frozen=True)
class RerankerRecipe:
    """How the reranker is trained.

    Attributes:
        n_channels, n_layers, n_heads, n_hidden, n_places, max_words: sizes of the network, see `Shape`.
        word_bits, word_dimensions: size of the table of word vectors, 2 ** word_bits rows.
        n_word_steps: steps of its training.
        batch_size: pairs in a batch.
        doubtful_share: share of a batch drawn in proportion to the feature model's doubt; the rest is drawn
            from all pairs alike.
        word_masking: share of the vocabulary whose vectors a step hides: names are not learnt by heart.
        feature_dropout: share of the pairs whose features a step hides, so that words are read too.
        word_dropout: share of the words that a step leaves out.
        dropout: share of the numbers in a layer that a step leaves out.
        learning_rate, weight_decay, n_steps, n_warmup_steps: of AdamW; the rate falls to nought at the end.
        averaging: how much of the mean of the weights a step leaves as it is; the mean is what is kept.
        steps_per_look: steps between two looks at what training has not seen.
        patience: looks without a better figure after which training ends.
        n_threads: of PyTorch.
        seed: of everything random.
    """

    n_channels: int = 128
    n_layers: int = 2
    n_heads: int = 4
    n_hidden: int = 128
    n_places: int = 12
    max_words: int = 24
    word_bits: int = 15
    word_dimensions: int = 128
    n_word_steps: int = 800
    batch_size: int = 256
    doubtful_share: float = 0.7
    word_masking: float = 0.3
    feature_dropout: float = 0.3
    word_dropout: float = 0.1
    dropout: float = 0.2
    learning_rate: float = 0.001
    weight_decay: float = 0.05
    n_steps: int = 1000
    n_warmup_steps: int = 100
    averaging: float = 0.99
    steps_per_look: int = 200
    patience: int = 4
    n_threads: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        counts = ("n_channels", "n_layers", "n_heads", "n_hidden", "n_places", "max_words", "batch_size")
        for name in (*counts, "n_word_steps", "n_steps", "steps_per_look", "patience", "n_threads"):
            if getattr(self, name) < 1:
                raise UsageError(f"recipe: {name} must be 1 or more, got {getattr(self, name)}")
        for name in ("word_masking", "feature_dropout", "word_dropout", "dropout", "averaging"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"recipe: {name} must lie in [0, 1), got {getattr(self, name)}")
        if not 0 <= self.doubtful_share <= 1:
            raise UsageError(f"recipe: doubtful_share must lie in [0, 1], got {self.doubtful_share}")
        if self.n_channels % self.n_heads:
            raise UsageError(f"recipe: n_heads must divide n_channels, got {self.n_heads}, {self.n_channels}")

    @classmethod
    def read(cls, path: Path | None = None) -> RerankerRecipe:
        """A TOML file, by default the one in the package, to a recipe."""
        found: RerankerRecipe = read_recipe(cls, "reranker", path)
        return found

    @property
    def shape(self) -> Shape:
        """Sizes of the network."""
        return Shape(**{f.name: getattr(self, f.name) for f in dataclasses.fields(Shape)})

    @property
    def words(self) -> EncoderRecipe:
        """How the word vectors are trained."""
        return EncoderRecipe(
            bucket_bits=self.word_bits,
            dimensions=self.word_dimensions,
            nested_dimensions=(self.word_dimensions,),
            labelled_share=0.0,
            n_steps=self.n_word_steps,
            n_threads=self.n_threads,
            seed=self.seed,
        )


def train_reranker(
    labels_file: Path,
    output: Path,
    registry: Path | None = None,
    left_out: Path | None = None,
    columns: Columns | None = None,
    recipe: RerankerRecipe | None = None,
    start: Path | None = None,
    *,
    judgements: Path | None = None,
    device: str = "auto",
) -> Iterator[str]:
    """A labelled TSV or CSV to a reranker in `output`; yields a line a step.

    A run that was interrupted goes on where it last looked: its checkpoint lies in `output` until it ends.

    Args:
        labels_file: strings with labels, and folds where it has any, see `read_folds`.
        output: folder for the reranker.
        registry: JSONL of registry records to train word vectors on; without one the shipped ones are taken.
        left_out: TSV with ror_id and fold; names of the records of fold `names-test` are not read.
        columns: names of the columns.
        recipe: how to train.
        start: folder of a reranker to start from, of the same size; its word vectors are kept.
        judgements: a file of judgements to learn from, too; those about strings that training has not to see
            are left out.
        device: "auto", "cpu" or "cuda".

    Raises:
        UsageError: no such file or column, a fold that has nothing to teach, or the checkpoint of another
            recipe.
    """
    recipe = recipe or RerankerRecipe.read()
    if start and registry:
        raise UsageError("a reranker to start from brings its word vectors: leave the registry out")
    device = torch_device(device)
    folds = read_folds(labels_file, columns)
    initial = WordPairReranker.load(start) if start else None
    parts = _parts(folds)
    unseen_strings = frozenset(string for name in ("held out", "tune") for string, _ in parts[name])
    judged = Judged.read(judgements, unseen_strings) if judgements else None
    yield ", ".join(f"{name}: {len(rows):,} strings" for name, rows in parts.items())
    output.mkdir(parents=True, exist_ok=True)
    if registry:
        # A reranker in training has its word vectors.
        if not (output / CHECKPOINT).is_file():
            yield from train_on_names(registry, output / WORDS_FOLDER, left_out, recipe.words)
        words = NgramBagEncoder.load(output / WORDS_FOLDER)
    else:
        words = (initial or WordPairReranker.load()).words.encoder
    mined = {
        name: _fit_to_learn(labels_file, name, rows, judged if name == "train" else None)
        for name, rows in parts.items()
    }
    for name, pairs in mined.items():
        yield f"{name}: {len(pairs):,} candidate pairs, {pairs.is_match.mean():.1%} of one label"
    if judged:
        yield mined["train"].told
    begun = initial or _untrained(recipe, words, mined["train"])
    if begun.model.shape != recipe.shape:
        raise UsageError("the model to start from is of another size than the recipe asks for")
    train = mined.pop("train")
    unseen = Unseen.of(mined)
    yield from _Training(recipe, begun, train, unseen, output, device, initial is not None).run()
    yield from _combine(output, unseen)
    yield f"written: {output}"


def _parts(folds: dict[str, list[tuple[str, str]]]) -> dict[str, list[tuple[str, str]]]:
    """The fold `train` in two, by cluster, and the fold `tune`."""
    return {
        "train": [row for row in folds["train"] if not is_held_out(row[1])],
        "held out": [row for row in folds["train"] if is_held_out(row[1])],
        "tune": folds["tune"],
    }


def _fit_to_learn(
    path: Path, name: str, rows: Sequence[tuple[str, str]], judged: Judged | None
) -> MinedPairs:
    """The pairs of a part; UsageError where they are not of both kinds."""
    if not rows:
        raise UsageError(f"{path}: no string for the part {name!r}; more clusters are needed")
    pairs = MinedPairs.of(rows, judged)
    n_matches = int(pairs.is_match.sum())
    if n_matches in (0, len(pairs)):
        raise UsageError(
            f"{path}: the {len(pairs):,} candidate pairs of the part {name!r} hold {n_matches:,} of one"
            " label; a reranker needs pairs of one label and of two"
        )
    return pairs


def _untrained(recipe: RerankerRecipe, words: NgramBagEncoder, train: MinedPairs) -> WordPairReranker:
    model = random_model(recipe.shape, words.dimensions, len(NAMES), recipe.seed)
    return WordPairReranker(model, WordVectors(words), Standard.fit(train.values))


@dataclass(frozen=True)
class Unseen:
    """Pairs that training has not seen, and the numbers of those that the feature model leaves in doubt."""

    parts: dict[str, MinedPairs]
    doubtful: dict[str, Int64s]

    @classmethod
    def of(cls, parts: dict[str, MinedPairs]) -> Unseen:
        """Parts by name; only the doubtful pairs are rescored."""
        settings = ScoringSettings(rescoring_band=_BAND)
        return cls(parts, {name: doubtful(pairs.logit, settings) for name, pairs in parts.items()})

    def rescored(self, reranker: WordPairReranker) -> dict[str, Float64s]:
        """The reranker's log-odds of the doubtful pairs, by part."""
        return {
            name: reranker.rescore(pairs.features, pairs.left[own], pairs.right[own])
            for (name, pairs), own in zip(self.parts.items(), self.doubtful.values(), strict=True)
        }

    def combination(self, rescored: dict[str, Float64s]) -> Combination:
        """How both models' log-odds become one: of least log loss over the doubtful pairs of the tune fold.

        The calibration of the feature model is fitted there too, and the threshold of clustering chosen. The
        strings held out of `train` would trust the feature model too much, for it has seen them.
        """
        pairs, own = self.parts["tune"], self.doubtful["tune"]
        return fit_combination(pairs.logit[own], rescored["tune"], pairs.is_match[own])

    def combined(self, name: str, combination: Combination, rescored: Float64s) -> Float64s:
        """Calibrated log-odds of all pairs of a part: of both models where in doubt, else of the features."""
        logit = PlattScaling.load(None).apply(self.parts[name].logit)
        own = self.doubtful[name]
        logit[own] = combination.apply(self.parts[name].logit[own], rescored)
        return logit


def _combine(output: Path, unseen: Unseen) -> Iterator[str]:
    """Fit how both models' log-odds become one, and write it beside the weights."""
    reranker = WordPairReranker.load(output)
    rescored = unseen.rescored(reranker)
    reranker.combination = unseen.combination(rescored)
    reranker.save(output)
    yield f"combination: {reranker.combination}"
    for name, pairs in unseen.parts.items():
        yield f"{name}, features: {pairs.quality(PlattScaling.load(None).apply(pairs.logit))}"
        yield f"{name}, both: {pairs.quality(unseen.combined(name, reranker.combination, rescored[name]))}"


def fit_combination(logit: Float64s, rescored: Float64s, is_match: npt.NDArray[Any]) -> Combination:
    """Log-odds of both models and truth (0 or 1), shape (n,), to the weights of least log loss."""
    from sklearn.linear_model import LogisticRegression

    found = LogisticRegression(C=np.inf, max_iter=1000).fit(np.stack([logit, rescored], axis=1), is_match)
    features, reranker = found.coef_[0].round(5).tolist()
    return Combination(features, reranker, round(float(found.intercept_[0]), 5))


class _Training(Training):
    """Batches in, the weights after the best look out."""

    def __init__(
        self,
        recipe: RerankerRecipe,
        initial: WordPairReranker,
        train: MinedPairs,
        unseen: Unseen,
        output: Path,
        device: str,
        is_begun: bool,
    ) -> None:
        import torch

        self.recipe, self.unseen, self.output = recipe, unseen, output
        self.initial, self.module = initial, WordPairModule(recipe, initial.model, device)
        used, at = np.unique(np.concatenate([train.left, train.right]), return_inverse=True)
        self.words = MentionWords.of(train.features, used, recipe.max_words)
        self.rows = longer_first(self.words, at[: len(train)], at[len(train) :])
        self.vectors = initial.words.of(self.words.vocabulary)
        self.vectors_there = torch.from_numpy(self.vectors).to(device)
        self.values, self.is_match = initial.standard.apply(train.values), train.is_match
        probability = 1 / (1 + np.exp(-train.logit))
        # Drawn by what features say, never by the label: else the log-odds would be off.
        doubt = np.cumsum(probability * (1 - probability))
        self.doubt = doubt / doubt[-1]
        super().__init__(recipe, self.module, output, looks_first=is_begun)

    def step(self, number: int) -> float:
        """Take a step; gives its loss."""
        batch, drawn = self._batch(number)
        return self.module.step(batch, self.vectors_there, self.is_match[drawn], number)

    def _batch(self, step: int) -> tuple[PairBatch, Int64s]:
        """The pairs of a step, and their numbers."""
        size = self.recipe.batch_size
        # A generator for each few steps: a run that is resumed draws what it would have drawn.
        random = np.random.default_rng([self.recipe.seed, step // _N_TOGETHER])
        n_doubtful = round(size * _N_TOGETHER * self.recipe.doubtful_share)
        drawn = np.concatenate(
            [
                np.searchsorted(self.doubt, random.random(n_doubtful)),
                random.integers(len(self.doubt), size=size * _N_TOGETHER - n_doubtful),
            ]
        )
        drawn = drawn[np.lexsort([self.words.n_words[side[drawn]] for side in reversed(self.rows)])]
        own = random.permutation(_N_TOGETHER)[step % _N_TOGETHER]
        drawn = drawn[own * size : (own + 1) * size]
        rows = (self.rows[0][drawn], self.rows[1][drawn])
        random = np.random.default_rng([self.recipe.seed, step, 1])
        kept = [self._kept(len(drawn), random) for _ in rows]
        is_shown = random.random((len(drawn), 1)) >= self.recipe.feature_dropout
        values = self.values[drawn] * is_shown.astype(np.float32)
        batch = PairBatch.of(self.words, self.vectors[:, :-1], rows, values, self.recipe.n_places, kept)
        return batch, drawn

    def _kept(self, n: int, random: np.random.Generator) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """Which words are not left out; the first always stays, so that no side is empty."""
        kept = random.random((n, self.words.number.shape[1])) >= self.recipe.word_dropout
        kept[:, 0] = True
        return kept

    def look(self) -> str:
        """Measure the reranker beside the feature model and write it if it is the best so far."""
        reranker = WordPairReranker(self.module.model(), self.initial.words, self.initial.standard)
        rescored = self.unseen.rescored(reranker)
        combination = self.unseen.combination(rescored)
        judged = {
            name: self.unseen.parts[name].judged(self.unseen.combined(name, combination, own))
            for name, own in rescored.items()
        }
        value = float(np.mean([found.average_precision or 0.0 for found in judged.values()]))
        if self.progress.is_best(value):
            reranker.save(self.output)
        figures = (
            f"{name} average precision {found.average_precision:.4f}, log loss {found.log_loss:.4f}"
            for name, found in judged.items()
        )
        return f"{'; '.join(figures)} (best mean {self.progress.best:.4f})"
