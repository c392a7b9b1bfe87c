"""How the encoder is trained, or fine-tuned: what a recipe can say."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from blocking.ngram_bag import BagFeatures, NgramBagEncoder
from pipeline.errors import UsageError
from pipeline.training.recipe_files import read_recipe


@dataclass(frozen=True)
class EncoderRecipe:
    """How the encoder is trained.

    Attributes:
        bucket_bits, gram_lengths, is_transliterated: features of a text, see `BagFeatures`.
        dimensions: length of a vector.
        nested_dimensions: leading dimensions that are trained to stand alone.
        batch_size: organisations in a batch, two renderings each.
        temperature: cosines are divided by it.
        labelled_share: share of a batch whose organisations have labelled strings.
        one_country_share: share of a batch that is of one country: negatives that are harder.
        alike_share: share of a batch that looks like others of it: the hardest negatives.
        dropout: share of the features of a rendering that a step leaves out, so that none is relied on alone.
        n_contexts: made-up contexts of each organisation of the registry.
        learning_rate, n_steps, n_warmup_steps: of Adam; the rate falls to nought at the last step.
        steps_per_look: steps between two looks at the tune fold.
        patience: looks without a better figure after which training ends.
        n_neighbours: how far down the list of neighbours a look seeks the fellows of a string.
        n_threads: of PyTorch; on a machine with other work one is faster than two.
        seed: of everything random.
    """

    bucket_bits: int = 15
    gram_lengths: tuple[int, ...] = (3, 4, 5)
    is_transliterated: bool = True
    dimensions: int = 256
    nested_dimensions: tuple[int, ...] = (256, 128, 64)
    batch_size: int = 1024
    temperature: float = 0.05
    labelled_share: float = 0.4
    one_country_share: float = 0.33
    alike_share: float = 0.2
    dropout: float = 0.2
    n_contexts: int = 3
    learning_rate: float = 0.004
    n_steps: int = 800
    n_warmup_steps: int = 100
    steps_per_look: int = 200
    patience: int = 4
    n_neighbours: int = 30
    n_threads: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        least_of = {"batch_size": 2, "n_steps": 1, "steps_per_look": 1, "patience": 1, "dimensions": 2}
        least_of |= {"n_neighbours": 1}
        for name, least in least_of.items():
            if getattr(self, name) < least:
                raise UsageError(f"recipe: {name} must be {least} or more, got {getattr(self, name)}")
        wrong = [d for d in self.nested_dimensions if not 1 <= d <= self.dimensions]
        if wrong or not self.nested_dimensions:
            raise UsageError(
                f"recipe: nested_dimensions must lie in 1 … {self.dimensions}, got {list(wrong)}"
            )
        if not 0 <= self.dropout < 1:
            raise UsageError(f"recipe: dropout must lie in [0, 1), got {self.dropout}")
        if self.temperature <= 0:
            raise UsageError(f"recipe: temperature must be above 0, got {self.temperature}")

    @classmethod
    def read(cls, path: Path | None = None) -> EncoderRecipe:
        """A TOML file, by default the one in the package, to a recipe."""
        found: EncoderRecipe = read_recipe(cls, "encoder", path)
        return found

    @property
    def features(self) -> BagFeatures:
        """What a text is made of."""
        return BagFeatures(self.bucket_bits, self.gram_lengths, self.is_transliterated)


@dataclass(frozen=True)
class TuningRecipe(EncoderRecipe):
    """How an encoder is fine-tuned: in small steps, few of them, for a few hundred strings or more.

    Attributes:
        nested_dimensions: as of `EncoderRecipe`; empty takes the whole, a half and a quarter.
    """

    nested_dimensions: tuple[int, ...] = ()
    learning_rate: float = 0.0001
    n_steps: int = 100
    n_warmup_steps: int = 20
    steps_per_look: int = 10
    n_neighbours: int = 5

    def __post_init__(self) -> None:
        if not self.nested_dimensions:
            parts = {max(1, self.dimensions // n) for n in (1, 2, 4)}
            object.__setattr__(self, "nested_dimensions", tuple(sorted(parts, reverse=True)))
        super().__post_init__()

    @classmethod
    def of(cls, start: NgramBagEncoder, path: Path | None = None) -> TuningRecipe:
        """An encoder and a TOML file, by default the one in the package, to a recipe of its shape."""
        found: TuningRecipe = read_recipe(cls, "encoder-fine-tuning", path, shape_of(start))
        return found


def encoder_recipe(path: Path | None = None, start: Path | None = None) -> EncoderRecipe:
    """A TOML file to a recipe; with the folder of an encoder to start from, for its fine-tuning.

    Raises:
        UsageError: as for `read_recipe`.
        BlockingError: there is no encoder to start from.
    """
    return TuningRecipe.of(NgramBagEncoder.load(start), path) if start else EncoderRecipe.read(path)


def shape_of(encoder: NgramBagEncoder) -> dict[str, Any]:
    """What an encoder settles of a recipe that goes on from it."""
    return asdict(encoder.features) | {"dimensions": encoder.dimensions}
