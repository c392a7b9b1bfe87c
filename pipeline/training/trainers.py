"""The trainers of Sentence Transformers, set up as a recipe says; needs PyTorch."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets import Dataset, disable_progress_bars
from sentence_transformers import CrossEncoderTrainer, SentenceTransformerTrainer
from sentence_transformers.cross_encoder import CrossEncoderTrainingArguments
from sentence_transformers.cross_encoder.evaluation import CrossEncoderRerankingEvaluator
from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss
from sentence_transformers.sentence_transformer import SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MatryoshkaLoss,
)
from transformers import EarlyStoppingCallback, PrinterCallback, TrainerCallback, set_seed
from transformers.utils.logging import disable_progress_bar

from pipeline.errors import UsageError
from pipeline.training.curves import Look
from pipeline.training.examples import Pairs
from pipeline.training.losses import OneOfAGroup, TripletMargin
from pipeline.training.material import Material
from pipeline.training.recipe import Recipe, Say, TrainingRun

if TYPE_CHECKING:
    from pipeline.training.starting import Model


def prepare(seed: int) -> None:
    """Fix everything random (new layers, dropout, the order of the rows); lines are told, not bars drawn."""
    set_seed(seed)
    disable_progress_bars()
    disable_progress_bar()


def train_encoder(run: TrainingRun, model: Model, train: Material, test: Material, stage: str) -> list[Look]:
    """A stage of an encoder: the model has the best weights of it afterwards; the looks out.

    Raises:
        UsageError: negatives are to come from the batch, and all rows are of one thing.
    """
    recipe = run.recipe
    n_batches = math.ceil(len(train) / recipe.batch_size)
    group_of: dict[str, int] = {}
    if train.triplets.negative is None or recipe.loss == "info-nce":
        for side in (train, test):
            if side.n_groups() < 2:
                raise UsageError("negatives come from the batch, and all rows of a side are of one thing")
        groups = [train.group_of[a] for a in train.triplets.anchor]
        group_of = {text: group for own in (train, test) for text, group in _filled(model, own)}
        n_batches = len(OneOfAGroup(groups, recipe.batch_size, None, 0))
    is_cached = recipe.loss == "info-nce"
    size = recipe.batch_size if is_cached else recipe.device_batch_size
    settings = _arguments(run, stage, n_batches, size)
    settings |= {"metric_for_best_model": "eval_loss", "greater_is_better": False}
    trainer = _EncoderTrainer(
        model=model.inner,
        args=SentenceTransformerTrainingArguments(**settings),
        train_dataset=_dataset(model, train),
        eval_dataset=_dataset(model, test),
        loss=_loss(recipe, model.inner),
    )
    trainer.group_of = group_of
    return _run(trainer, run, stage)


class _Cardless:
    """A trainer without the library's own card, which quotes examples, and without pickled arguments."""

    model: Any
    args: Any

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Nothing is added."""

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        self.model.save_pretrained(output_dir or self.args.output_dir, create_model_card=False)


class _EncoderTrainer(_Cardless, SentenceTransformerTrainer):  # type: ignore[misc]
    """The library's trainer; with groups of anchors, no two rows of a batch are of one group."""

    group_of: Mapping[str, int]

    def get_batch_sampler(self, dataset: Any, batch_size: int, *args: Any, **more: Any) -> Any:
        """The batches of a dataset."""
        if not self.group_of:
            return super().get_batch_sampler(dataset, batch_size, *args, **more)
        groups = [self.group_of[anchor] for anchor in dataset["anchor"]]
        return OneOfAGroup(groups, batch_size, more.get("generator"), more.get("seed", 0))


def _filled(model: Model, own: Material) -> list[tuple[str, int]]:
    """Anchors as the model reads them, and their groups."""
    anchors = own.triplets.anchor
    return [(text, own.group_of[a]) for text, a in zip(model.anchor.fill(anchors), anchors, strict=True)]


def _dataset(model: Model, own: Material) -> Dataset:
    columns = own.triplets.columns()
    return Dataset.from_dict(
        {n: (model.anchor if n == "anchor" else model.other).fill(texts) for n, texts in columns.items()}
    )


def _loss(recipe: Recipe, model: Any) -> Any:
    if recipe.loss == "triplet":
        loss: Any = TripletMargin(
            model,
            is_squared=recipe.distance == "squared-l2",
            is_unit_length=recipe.is_unit_length,
            margin=recipe.margin,
        )
    else:
        loss = CachedMultipleNegativesRankingLoss(
            model, scale=1 / recipe.temperature, mini_batch_size=recipe.device_batch_size
        )
    if recipe.nested_dimensions:
        return MatryoshkaLoss(model, loss, matryoshka_dims=list(recipe.nested_dimensions))
    return loss


def train_reranker(run: TrainingRun, model: Any, train: Pairs, test: Pairs) -> list[Look]:
    """A reranker: it has the best weights afterwards; the looks out.

    Raises:
        UsageError: no text of the test rows has a positive and a negative to rank.
    """
    recipe = run.recipe
    samples = [
        {"query": left, "positive": same, "negative": others}
        for left, (same, others) in test.by_left().items()
        if same and others
    ]
    if not samples:
        raise UsageError("no text of the test rows has pairs of both labels, which ranking needs")
    evaluator = CrossEncoderRerankingEvaluator(
        samples, at_k=recipe.at_k, always_rerank_positives=True, batch_size=64, write_csv=False
    )
    n_batches = math.ceil(len(train) / recipe.batch_size)
    settings = _arguments(run, "stage-1", n_batches, recipe.device_batch_size)
    best = "eval_map" if recipe.best == "map" else "eval_loss"
    settings |= {"metric_for_best_model": best, "greater_is_better": recipe.best == "map"}
    trainer = _RerankerTrainer(
        model=model,
        args=CrossEncoderTrainingArguments(**settings),
        train_dataset=_labelled(train),
        eval_dataset=_labelled(test),
        loss=BinaryCrossEntropyLoss(model),
        evaluator=evaluator,
    )
    return _run(trainer, run, "stage-1")


class _RerankerTrainer(_Cardless, CrossEncoderTrainer):  # type: ignore[misc]
    """The library's trainer."""


def _labelled(pairs: Pairs) -> Dataset:
    label = [float(own) for own in pairs.label]
    return Dataset.from_dict({"left": pairs.left, "right": pairs.right, "label": label})


def _arguments(run: TrainingRun, stage: str, n_batches: int, size: int) -> dict[str, Any]:
    """What all trainers are told; `size` rows go through the model (or its cache) at once."""
    recipe = run.recipe
    n_steps = max(1, n_batches * recipe.n_epochs)
    # A look at the last step at least: without one no model is the best.
    per_look = min(recipe.steps_per_look, n_steps)
    is_gathered = recipe.loss != "info-nce"
    return {
        "output_dir": str(run.work / stage),
        "num_train_epochs": recipe.n_epochs,
        "per_device_train_batch_size": size,
        "per_device_eval_batch_size": size,
        "gradient_accumulation_steps": recipe.batch_size // size if is_gathered else 1,
        "learning_rate": recipe.learning_rate,
        "weight_decay": recipe.weight_decay,
        "warmup_steps": recipe.n_warmup_steps or recipe.warmup_share,
        "lr_scheduler_type": recipe.schedule,
        "bf16": run.is_bfloat16,
        "use_cpu": run.device == "cpu",
        "eval_strategy": "steps",
        "eval_steps": per_look,
        "eval_on_start": True,
        "save_strategy": "steps",
        "save_steps": per_look,
        "save_total_limit": 2,
        "load_best_model_at_end": True,
        "logging_strategy": "steps",
        "logging_steps": per_look,
        "seed": recipe.seed,
        "data_seed": recipe.seed,
        "disable_tqdm": True,
        "report_to": "none",
        "dataloader_pin_memory": run.device == "cuda",
    }


def _run(trainer: Any, run: TrainingRun, stage: str) -> list[Look]:
    """Train from the last checkpoint, or from the beginning; the looks out, those before a stop too."""
    folder = run.work / stage
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(_Tell(run.say))
    if run.recipe.patience:
        trainer.add_callback(EarlyStoppingCallback(run.recipe.patience))
    trainer.train(resume_from_checkpoint=_last_checkpoint(folder))
    return looks_of(trainer.state.log_history)


def _last_checkpoint(folder: Path) -> str | None:
    """The last checkpoint that is whole; one that was cut off while it was written is removed."""
    steps = {path: path.name.rpartition("-")[2] for path in folder.glob("checkpoint-*")}
    for path in sorted(steps, key=lambda p: int(steps[p]), reverse=True):
        # The state is written last.
        if (path / "trainer_state.json").is_file():
            return str(path)
        shutil.rmtree(path)
    return None


class _Tell(TrainerCallback):  # type: ignore[misc]
    """A line a look."""

    def __init__(self, say: Say) -> None:
        self.say = say

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """After each look at the test rows."""
        look = looks_of(state.log_history)[-1]
        parts = [f"step {look.step} of {state.max_steps}:"]
        if look.train_loss is not None:
            parts.append(f"loss {look.train_loss:.4f},")
        parts.append("test " + ", ".join(f"{name} {value:.4f}" for name, value in look.test.items()))
        self.say(" ".join(parts))


def looks_of(history: Sequence[dict[str, Any]]) -> list[Look]:
    """The trainer's log to looks, in order of their steps."""
    losses = {entry["step"]: float(entry["loss"]) for entry in history if "loss" in entry}
    found: dict[int, Look] = {}
    for entry in history:
        if "eval_loss" in entry:
            names = ("eval_loss", *(n for n in entry if n == "eval_map" or "@" in n))
            test = {name.removeprefix("eval_"): round(float(entry[name]), 6) for name in names}
            step = int(entry["step"])
            found[step] = Look(step, losses.get(step), test)
    return [found[step] for step in sorted(found)]
