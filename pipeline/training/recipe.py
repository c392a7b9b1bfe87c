"""Recipes: how the published models were trained, every choice by name, read from TOML."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.training.recipe_files import read_recipe

#: Recipes in the package, by the name that the command line takes.
RECIPES = ("gte-triplet", "reranker-bce", "academic-infonce", "mention-triplet", "aspire-cocited")
_CHOICES = {
    "kind": ("encoder", "reranker"),
    "pooling": ("cls", "mean", "mask"),
    "loss": ("triplet", "info-nce", "binary-cross-entropy"),
    "distance": ("l2", "squared-l2"),
    "schedule": ("cosine", "linear"),
    "best": ("loss", "map"),
}
#: Where a stage takes its negatives from: the examples, the batch, or a search with the model as it is then.
NEGATIVES = ("given", "in-batch", "mined")


@dataclass(frozen=True)
class Recipe:
    """How a transformer is fine-tuned.

    Attributes:
        kind: "encoder" of texts or "reranker" of pairs.
        pooling: how tokens become one vector, where the folder that is started from does not say.
        projection: dimensions that a plain transformer with pooling "mask" is projected to; 0 keeps its own.
        max_length: tokens of a text, or of a pair.
        anchor_prompt, text_prompt: what is put around anchors, and around positives and negatives: one of the
            model's prompts by name, a text to put before, or a sentence with {} in it.
        loss: "triplet" (margin), "info-nce", or "binary-cross-entropy" on the logits of pairs.
        distance, is_unit_length, margin: of the triplet loss; vectors are scaled to length 1 before or not.
        temperature: cosines are divided by it in info-nce.
        nested_dimensions: leading dimensions that are trained to stand alone; none: the whole vector only.
        negatives: a stage each: "given" in the examples, "in-batch" (other rows' positives), "mined" by the
            model as it is when the stage begins.
        per_string: positives and negatives of a string, where the examples are mined from labels.
        batch_size: rows between two steps; info-nce compares all of them with each other.
        device_batch_size: rows in one forward pass. Gradients are accumulated, or cached by info-nce.
        n_epochs: of each stage.
        learning_rate, weight_decay: of AdamW, which without decay is Adam.
        n_warmup_steps, warmup_share: steps, or share of all steps, in which the rate rises; one of both.
        schedule: how it falls to nought: "cosine" or "linear".
        is_bfloat16: whether to compute in bfloat16 where the GPU has it; float32 elsewhere.
        test_share: share of the rows that is tested by, where the examples name no fold `tune`.
        steps_per_look: steps between two looks at the test rows.
        patience: looks without a better figure after which a stage ends; 0: never before its last step.
        best: what the kept model is best in: test "loss", or "map" of a reranker.
        at_k: depth of the mrr and ndcg of a reranker.
        seed: of everything random.
    """

    kind: str = "encoder"
    pooling: str = "mean"
    projection: int = 0
    max_length: int = 512
    anchor_prompt: str = ""
    text_prompt: str = ""
    loss: str = "triplet"
    distance: str = "l2"
    is_unit_length: bool = False
    margin: float = 1.0
    temperature: float = 0.05
    nested_dimensions: tuple[int, ...] = ()
    negatives: tuple[str, ...] = ("given",)
    per_string: int = 4
    batch_size: int = 32
    device_batch_size: int = 32
    n_epochs: int = 3
    learning_rate: float = 2e-5
    weight_decay: float = 0.0
    n_warmup_steps: int = 0
    warmup_share: float = 0.0
    schedule: str = "linear"
    is_bfloat16: bool = False
    test_share: float = 0.1
    steps_per_look: int = 100
    patience: int = 0
    best: str = "loss"
    at_k: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise _wrong(name, f"one of {', '.join(allowed)}", getattr(self, name))
        self._check_numbers()
        unknown = [kind for kind in self.negatives if kind not in NEGATIVES]
        if unknown or not self.negatives:
            raise _wrong("negatives", f"a list of {', '.join(NEGATIVES)}", list(self.negatives))
        if (self.kind == "reranker") != (self.loss == "binary-cross-entropy"):
            raise _wrong("loss", "binary-cross-entropy for a reranker, and for nothing else", self.loss)
        if self.kind == "encoder" and self.best == "map":
            raise _wrong("best", "loss for an encoder", self.best)
        if self.n_warmup_steps and self.warmup_share:
            raise UsageError("recipe: n_warmup_steps and warmup_share are two forms of one thing; give one")
        if self.batch_size % self.device_batch_size:
            wanted = f"a multiple of device_batch_size {self.device_batch_size}"
            raise _wrong("batch_size", wanted, self.batch_size)
        is_in_batch = self.loss == "triplet" and "in-batch" in self.negatives
        if is_in_batch and self.batch_size != self.device_batch_size:
            wanted = "batch_size, since the triplets' negatives are in-batch"
            raise _wrong("device_batch_size", wanted, self.device_batch_size)

    def _check_numbers(self) -> None:
        least_of = {"max_length": 2, "device_batch_size": 1, "n_epochs": 1, "steps_per_look": 1, "at_k": 1}
        least_of |= {"batch_size": 2, "projection": 0, "patience": 0, "n_warmup_steps": 0, "per_string": 1}
        for name, least in least_of.items():
            if getattr(self, name) < least:
                raise _wrong(name, f"{least} or more", getattr(self, name))
        for name in ("margin", "temperature", "learning_rate"):
            if getattr(self, name) <= 0:
                raise _wrong(name, "above 0", getattr(self, name))
        for name in ("warmup_share", "test_share", "weight_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise _wrong(name, "in [0, 1)", getattr(self, name))
        if any(d < 1 for d in self.nested_dimensions):
            raise _wrong("nested_dimensions", "1 or more each", list(self.nested_dimensions))

    @classmethod
    def read(cls, named: str) -> Recipe:
        """A name of `RECIPES` or a TOML file to a recipe; what the file leaves out has its default.

        Raises:
            UsageError: no such recipe, no valid TOML, or a value that is unknown or cannot be.
        """
        if named not in RECIPES and not Path(named).is_file():
            raise UsageError(f"no such recipe: {named} (known: {', '.join(RECIPES)}, or a TOML file)")
        found: Recipe = read_recipe(cls, named, None if named in RECIPES else Path(named))
        return found


#: Takes a line at each step worth telling.
Say = Callable[[str], None]


@dataclass(frozen=True)
class TrainingRun:
    """What all stages of a training share.

    Attributes:
        recipe: how.
        device: "cpu" or "cuda".
        is_bfloat16: whether the forward pass is in bfloat16.
        work: folder of the checkpoints.
        say: takes a line at each look.
    """

    recipe: Recipe
    device: str
    is_bfloat16: bool
    work: Path
    say: Say


def _wrong(name: str, wanted: str, got: object) -> UsageError:
    return UsageError(f"recipe: {name} must be {wanted}, got {got!r}")
