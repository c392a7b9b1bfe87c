"""Train the built-in encoder: labelled strings and registry names in, a table of n-gram vectors out.

Two renderings of one organisation are pulled together and the other organisations of the batch pushed away.
The table starts as the untrained encoder (random directions, rare features longer), or as that of an encoder
to fine-tune. What is better is decided on the fold `tune`; `test` is not looked at.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from blocking.ngram_bag import NgramBagEncoder, quantised
from blocking.pairs import Float32s, Int64s
from pipeline.errors import UsageError
from pipeline.training.batches import Batches, Shares
from pipeline.training.encoder_recipe import EncoderRecipe, encoder_recipe, shape_of
from pipeline.training.judged import Judged
from pipeline.training.judged_pairs import JudgedTexts
from pipeline.training.labels import Columns, read_folds
from pipeline.training.loop import Training, Weights
from pipeline.training.recall import Lookout
from pipeline.training.recipe_files import refuse_other_shape
from pipeline.training.renderings import (
    Organization,
    Renderings,
    labelled_texts,
    organizations,
    read_left_out,
    render,
)

log = logging.getLogger(__name__)

#: The untrained encoder weighs features so: squared inverse document frequency.
_IDF_POWER = 2
#: What parts judged pairs: with the shipped encoder 94 % of the candidate pairs of one institution lie above,
#: and 95 % of the others below (6,000 strings of fold `train`).
_JUDGED_COSINE = 0.5
#: Stands in the name of an encoder that was fine-tuned, before what tells its weights from others.
_TUNED = " fine-tuned "


def train_encoder(
    labels_file: Path,
    output: Path,
    registry: Path | None = None,
    left_out: Path | None = None,
    recipe: EncoderRecipe | None = None,
    *,
    columns: Columns | None = None,
    start: Path | None = None,
    judgements: Path | None = None,
) -> Iterator[str]:
    """A labelled file and a registry to an encoder in `output`; yields a line a step.

    A run that was interrupted goes on where it last looked: its checkpoint lies in `output` until it ends.

    Args:
        labels_file: strings with labels, and folds where it has any, see `read_folds`; what is held out is
            never trained on.
        output: folder for the encoder.
        registry: JSONL of registry records, gzipped or not.
        left_out: TSV with ror_id and fold; names of the records of fold `names-test` are not read.
        recipe: how to train.
        columns: names of the columns.
        start: folder of an encoder to go on from; its features and dimensions are kept.
        judgements: a file of judgements to learn from, too; those about strings that are held out are left
            out.

    Raises:
        UsageError: no such file or column, a fold that has nothing to teach, the checkpoint of another
            recipe, or a recipe of another shape than the encoder to start from.
        BlockingError: there is no encoder to start from.
    """
    recipe = recipe or encoder_recipe(start=start)
    initial = NgramBagEncoder.load(start) if start else None
    if start and initial:
        if start.resolve() == output.resolve():
            raise UsageError(f"{output} holds the encoder to start from; write to another folder")
        refuse_other_shape(asdict(recipe), shape_of(initial), "recipe")
    folds = read_folds(labels_file, columns)
    train, tune = labelled_texts(folds["train"]), labelled_texts(folds["tune"])
    found = organizations(train, registry, read_left_out(left_out))
    units = sorted({unit for unit in train.units if unit})
    lookout = Lookout.of(tune.context, tune.label, train.context, recipe.n_neighbours)
    if not lookout.has_fellows:
        raise UsageError(f"{labels_file}: no two strings of fold 'tune', or held out, are of one cluster")
    judged = None
    if judgements:
        judged = JudgedTexts.of(Judged.read(judgements, frozenset(string for string, _ in folds["tune"])))
        yield judged.told
    yield from _train(found, units, lookout, output, recipe, initial, judged)


def train_on_names(
    registry: Path, output: Path, left_out: Path | None = None, recipe: EncoderRecipe | None = None
) -> Iterator[str]:
    """A registry alone to an encoder in `output`, trained to the last step; yields a line a step.

    What is trained on labelled strings afterwards then sees vectors that know no more of these than of
    others.

    Raises:
        UsageError: no such file, or the checkpoint of another recipe.
    """
    found = organizations(labelled_texts([]), registry, read_left_out(left_out))
    yield from _train(found, [], None, output, recipe or EncoderRecipe.read(), None)


def _train(
    found: Sequence[Organization],
    units: Sequence[str],
    lookout: Lookout | None,
    output: Path,
    recipe: EncoderRecipe,
    initial: NgramBagEncoder | None,
    judged: JudgedTexts | None = None,
) -> Iterator[str]:
    renderings = render(found, units, recipe.n_contexts, recipe.seed)
    if len(renderings.country) < 2:
        raise UsageError(
            "nothing to learn from: it takes two clusters of two distinct strings, or a registry"
        )
    n_labelled = int(renderings.is_labelled.sum())
    yield (
        f"{len(renderings.country):,} organisations ({n_labelled:,} with labelled strings),"
        f" {len(renderings.text):,} renderings, {len(units):,} departments"
    )
    output.mkdir(parents=True, exist_ok=True)
    yield from _Training(recipe, renderings, lookout, output, initial, judged).run()
    yield f"written: {output}"


class _Training(Training):
    """Batches in, the table after the best look out."""

    def __init__(
        self,
        recipe: EncoderRecipe,
        renderings: Renderings,
        lookout: Lookout | None,
        output: Path,
        initial: NgramBagEncoder | None,
        judged: JudgedTexts | None,
    ) -> None:
        import torch

        torch.set_num_threads(recipe.n_threads)
        torch.manual_seed(recipe.seed)
        self.recipe, self.lookout, self.output = recipe, lookout, output
        self.begun_as = initial.name.partition(_TUNED)[0] if initial else None
        start = f" from {_digest(initial.table)}" if initial else ""
        self.texts, self.matrix = renderings.text, recipe.features.of(renderings.text)
        shares = Shares(recipe.labelled_share, recipe.one_country_share, recipe.alike_share)
        self.batches = Batches(renderings, recipe.batch_size, shares)
        # Judgements that settle nothing teach nothing.
        self.judged = judged if judged and len(judged.is_match) else None
        self.judged_matrix = recipe.features.of(judged.text) if judged else None
        first = initial.table.copy() if initial else initial_table(self.matrix, recipe)
        self.table = torch.nn.Parameter(torch.from_numpy(first))
        self.optimizer = torch.optim.Adam([self.table], lr=recipe.learning_rate, fused=True)
        super().__init__(recipe, Weights({"table": self.table}, {}, self.optimizer), output, start=start)

    def step(self, number: int) -> float:
        """Take a step; gives its loss."""

        recipe = self.recipe
        # A generator of its own for each step: a run that is resumed draws what it would have drawn.
        random = np.random.default_rng([recipe.seed, number])
        left, right = self.batches.draw(random)
        warm = min(1.0, (number + 1) / max(1, recipe.n_warmup_steps))
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.learning_rate * warm * (1 - number / recipe.n_steps)
        self.optimizer.zero_grad()
        loss = contrastive_loss(self._summed(self.matrix, left, right, random), left, right, recipe)
        if self.judged:
            chosen = random.permutation(len(self.judged.is_match))[: recipe.batch_size]
            ends = self.judged.left[chosen], self.judged.right[chosen]
            summed = self._summed(self.judged_matrix, *ends, random)
            loss = loss + judged_loss(summed, self.judged.is_match[chosen], recipe)
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())

    def _summed(self, matrix: Any, left: Int64s, right: Int64s, random: np.random.Generator) -> Any:
        """The features of left and right texts, some left out, to the sums of their vectors."""
        import torch

        rows = matrix[np.concatenate([left, right])]
        rows.data *= random.random(rows.nnz, dtype=np.float32) >= self.recipe.dropout
        return torch.nn.functional.embedding_bag(
            torch.from_numpy(rows.indices),
            self.table,
            torch.from_numpy(rows.indptr[:-1]),
            mode="sum",
            per_sample_weights=torch.from_numpy(rows.data),
        )

    def look(self) -> str:
        """Measure the table on the tune fold, if there is one, and write it if it is the best so far."""
        encoder = self._encoder()
        self._see(encoder)
        if self.lookout is None:
            encoder.save(self.output)
            return "written"
        value = self.lookout.recall(encoder)
        if self.progress.is_best(value):
            encoder.save(self.output)
        return f"tune recall@{self.lookout.n_neighbours} {value:.4f} (best {self.progress.best:.4f})"

    def resumed(self) -> None:
        """The batches look at the table as they did at the last look."""
        self._see(self._encoder())

    def _encoder(self) -> NgramBagEncoder:
        table = self.table.detach().numpy()
        name = "built-in"
        if self.begun_as is not None:
            # An index tells encoders apart by their names: no two tables may share one.
            name = f"{self.begun_as}{_TUNED}{_digest(table)}"
        return NgramBagEncoder(table, self.recipe.features, name=name)

    def _see(self, encoder: NgramBagEncoder) -> None:
        """Tell the batches which organisations look alike by now."""
        if self.recipe.alike_share > 0:
            self.batches.see(encoder.encode([self.texts[n] for n in self.batches.first_texts.tolist()]))


def _digest(table: Float32s) -> str:
    """Eight letters that tell a table, as it is written, from others."""
    return hashlib.sha256(quantised(table)[0].tobytes()).hexdigest()[:8]


def initial_table(matrix: Any, recipe: EncoderRecipe) -> Float32s:
    """Features of all renderings in, the table to start from out: random directions, rare features longer."""
    n_texts_with = np.bincount(matrix.indices, minlength=matrix.shape[1])
    weight = (np.log((1 + matrix.shape[0]) / (1 + n_texts_with)) + 1) ** _IDF_POWER
    drawn = np.random.default_rng(recipe.seed).standard_normal(
        (matrix.shape[1], recipe.dimensions), dtype=np.float32
    )
    scaled: Float32s = (
        drawn * (weight / weight.mean() / np.sqrt(recipe.dimensions)).astype(np.float32)[:, None]
    )
    return scaled


def contrastive_loss(summed: Any, left: Any, right: Any, recipe: EncoderRecipe) -> Any:
    """Sums of n-gram vectors, left renderings before right ones, to the mean loss over the nested dimensions.

    Each rendering has to find its partner among those of the batch, in both directions. Where two
    organisations of the batch have a text in common, neither counts as the other's negative.
    """
    import torch

    n = len(left)
    is_same = (left[:, None] == right[None, :]) & ~np.eye(n, dtype=bool)
    mask = torch.from_numpy(is_same)
    truth = torch.arange(n)
    losses = []
    for dimensions in recipe.nested_dimensions:
        vectors = torch.nn.functional.normalize(summed[:, :dimensions], dim=1)
        logits = (vectors[:n] @ vectors[n:].T / recipe.temperature).masked_fill(mask, -1e4)
        losses += [torch.nn.functional.cross_entropy(way, truth) for way in (logits, logits.T)]
    return torch.stack(losses).mean()


def judged_loss(summed: Any, is_match: Any, recipe: EncoderRecipe) -> Any:
    """Sums of n-gram vectors, left texts of judged pairs before right ones, to the mean loss of the pairs.

    Logistic in the cosine: what is one institution has to lie above `_JUDGED_COSINE`, what is two below.
    Of others nothing is said: unlike labelled organisations, two judged pairs may be of one institution.
    """
    import torch

    n = len(is_match)
    sign = torch.from_numpy(np.where(is_match, 1, -1).astype(np.float32))
    losses = []
    for dimensions in recipe.nested_dimensions:
        vectors = torch.nn.functional.normalize(summed[:, :dimensions], dim=1)
        cosine = (vectors[:n] * vectors[n:]).sum(dim=1)
        margin = sign * (cosine - _JUDGED_COSINE) / recipe.temperature
        losses.append(torch.nn.functional.softplus(-margin).mean())
    return torch.stack(losses).mean()
