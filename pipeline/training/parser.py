"""Train the parser's tagger: labelled strings and registry names in, weights out.

Names of the labelled records that stand in a string say which tokens are organisations; the labels say how
many there are. What is better is decided on the fold `tune`; `test` is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import UsageError
from pipeline.evaluation import read_gold
from pipeline.evaluation.gold import NothingLabelledError
from pipeline.parsing.features import Tokens, tokens_of
from pipeline.parsing.marking import NameMarks
from pipeline.parsing.parse import with_tagged
from pipeline.parsing.reading import Reading, read
from pipeline.parsing.tagger import Tagger
from pipeline.training.loop import Training
from pipeline.training.nameless import with_known_names
from pipeline.training.recipe_files import read_recipe
from pipeline.training.renderings import read_ids, read_left_out
from pipeline.training.spans import (
    Example,
    HeldNames,
    Name,
    SpanQuality,
    examples,
    registry_names,
    span_quality,
)
from pipeline.training.swapping import SpareNames, swapped
from pipeline.training.tagger_network import Network
from pipeline.training.tags import UNKNOWN, Lesson, lessons_of


@dataclass(frozen=True)
class ParserRecipe:
    """How the tagger is trained.

    Attributes:
        bucket_bits: features of tokens are hashed into 2 ** bucket_bits rows.
        dimensions: length of a row.
        n_channels: width of the convolutions.
        batch_size: texts in a batch.
        complete_share: share of a batch whose texts have all their organisations labelled.
        n_copies_of_one, n_copies_of_several: how often a completely labelled text of one label, and of
            several, is learned from with other names in it.
        bare_share: share of the completely labelled texts that are learned from once more without commas.
        max_tokens: longer texts are not learned from.
        feature_dropout: share of the features of a token that a step leaves out.
        dropout: share of the inputs, and of the last layer, that a step leaves out.
        caution: how much less probable an organisation is taken to be than the texts learned from have it,
            in the logarithm of the odds.
        learning_rate, weight_decay, n_steps, n_warmup_steps: of AdamW; the rate falls to nought at the end.
        averaging: how much of the mean of the weights a step leaves as it is; the mean is what is kept.
        steps_per_look: steps between two looks at the tune fold.
        patience: looks without a better figure after which training ends.
        n_threads: of PyTorch.
        seed: of everything random.
    """

    bucket_bits: int = 14
    dimensions: int = 32
    n_channels: int = 48
    batch_size: int = 192
    complete_share: float = 0.67
    n_copies_of_one: int = 3
    n_copies_of_several: int = 6
    bare_share: float = 0.25
    max_tokens: int = 120
    feature_dropout: float = 0.3
    dropout: float = 0.3
    caution: float = 0.3
    learning_rate: float = 0.004
    weight_decay: float = 0.01
    n_steps: int = 600
    n_warmup_steps: int = 50
    averaging: float = 0.98
    steps_per_look: int = 50
    patience: int = 5
    n_threads: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        positive = ("bucket_bits", "dimensions", "n_channels", "batch_size", "max_tokens", "n_steps")
        for name in (*positive, "steps_per_look", "patience", "n_threads"):
            if getattr(self, name) < 1:
                raise UsageError(f"recipe: {name} must be 1 or more, got {getattr(self, name)}")
        for name in ("n_copies_of_one", "n_copies_of_several", "caution"):
            if getattr(self, name) < 0:
                raise UsageError(f"recipe: {name} must be 0 or more, got {getattr(self, name)}")
        for name in ("feature_dropout", "dropout", "averaging"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"recipe: {name} must lie in [0, 1), got {getattr(self, name)}")
        for name in ("complete_share", "bare_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"recipe: {name} must lie in [0, 1], got {getattr(self, name)}")

    @classmethod
    def read(cls, path: Path | None = None) -> ParserRecipe:
        """A TOML file, by default the one in the package, to a recipe."""
        found: ParserRecipe = read_recipe(cls, "parser", path)
        return found


@dataclass(frozen=True)
class LabelFiles:
    """Labelled files of one form, with a fold for each row (train, tune).

    Attributes:
        complete: files in which every organisation of a string is labelled.
        single: files with one label a string, even where it names several organisations.
        affiliation_column, cluster_column, fold_column: names of the columns.
        separator: what parts several labels in one cell of a CSV; in JSONL they are lists.
    """

    complete: Sequence[Path]
    single: Sequence[Path] = ()
    affiliation_column: str = "affiliation"
    cluster_column: str = "cluster"
    fold_column: str = "fold"
    separator: str | None = None


def train_parser(
    labels: LabelFiles,
    registry: Path,
    output: Path,
    left_out: Path | None = None,
    recipe: ParserRecipe | None = None,
    start: Path | None = None,
) -> Iterator[str]:
    """Labelled files and a registry to a tagger in `output`; yields a line a step.

    A run that was interrupted goes on where it last looked: its checkpoint lies in `output` until it ends.

    Args:
        labels: what to learn from.
        registry: JSONL of registry records, gzipped or not; labels are ids of them.
        output: folder for the tagger.
        left_out: TSV with ror_id and fold; names of the records of fold `names-test` are not read.
        recipe: how to train.
        start: folder of a tagger to start from, of the same size.

    Raises:
        UsageError: no such file or column, nothing to learn from, or the checkpoint of another recipe.
    """
    recipe = recipe or ParserRecipe.read()
    initial = Tagger.load(start) if start else None
    unseen = read_left_out(left_out)
    names = registry_names(registry, unseen)
    held = HeldNames(names, read_ids(left_out, "tune", "test"))
    folds = {fold: _read(labels, fold, names, held) for fold in ("train", "tune")}
    n_own = len(folds["train"][0])
    folds["train"][0] = with_known_names(folds["train"][0], names)
    folds["train"][0] += _swapped(folds["train"][0], SpareNames.read(registry, unseen), recipe)
    lessons = [
        _lessons(found, recipe, kind) for found, kind in zip(folds["train"], (True, False), strict=True)
    ]
    if not lessons[0]:
        raise UsageError("no string of fold 'train' to learn from: are the labels ids of the registry?")
    if not folds["tune"][0]:
        raise UsageError("no string of fold 'tune' to measure by in the files of --labels")
    yield (
        f"train: {n_own:,} strings with all their organisations, {len(folds['train'][0]) - n_own:,} copies of"
        f" them with other names, {len(lessons[1]):,} strings with one label; tune: {len(folds['tune'][0]):,}"
    )
    output.mkdir(parents=True, exist_ok=True)
    yield from _Training(recipe, lessons, Lookout.of(folds["tune"][0]), output, initial).run()
    yield f"written: {output}"


def _swapped(found: Sequence[Example], names: SpareNames, recipe: ParserRecipe) -> list[Example]:
    """Examples with other names in place of their own; more of those with several labels, which are rarer."""
    several = [e for e in found if e.n_labels > 1]
    one = [e for e in found if e.n_labels == 1]
    # Any two numbers will do that are not those of the steps.
    randoms = [np.random.default_rng([recipe.seed, recipe.n_steps + 1, n]) for n in (0, 1)]
    copies = swapped(several, names, randoms[0], recipe.n_copies_of_several)
    return copies + swapped(one, names, randoms[1], recipe.n_copies_of_one)


def _read(
    labels: LabelFiles, fold: str, names: dict[str, list[Name]], held: HeldNames
) -> list[list[Example]]:
    """The examples of a fold: of the complete files, and of those with single labels; each text once."""
    seen: dict[str, tuple[bool, Example]] = {}
    for paths, is_complete in ((labels.complete, True), (labels.single, False)):
        for path in paths:
            for example in _examples(path, labels, fold, names, held):
                known = seen.setdefault(example.text, (is_complete, example))
                # The same string with other labels: those that can be found in it teach more.
                if known[0] == is_complete and len(example.spans) > len(known[1].spans):
                    seen[example.text] = (is_complete, example)
    ordered = [seen[text] for text in sorted(seen)]
    return [[e for kind, e in ordered if kind], [e for kind, e in ordered if not kind]]


def _examples(
    path: Path, labels: LabelFiles, fold: str, names: dict[str, list[Name]], held: HeldNames
) -> list[Example]:
    columns = (labels.affiliation_column, labels.cluster_column, fold, labels.fold_column)
    try:
        return examples(read_gold(path, *columns, separator=labels.separator), names, held)
    except NothingLabelledError:
        # A set may lie in one fold as a whole; what is missing from all of them is refused later.
        return []


def _lessons(found: Sequence[Example], recipe: ParserRecipe, is_complete: bool) -> list[Lesson]:
    random = np.random.default_rng([recipe.seed, recipe.n_steps + 1, 2])
    is_bare = random.random(len(found)) < recipe.bare_share * is_complete
    lessons = lessons_of(found, 1 << recipe.bucket_bits, is_complete, is_bare)
    return [x for x in lessons if len(x.tags) <= recipe.max_tokens and np.any(x.tags != UNKNOWN)]


@dataclass(frozen=True)
class Lookout:
    """Examples with the rules' readings of them: the look that training takes at the tune fold."""

    examples: list[Example]
    readings: list[Reading | None]
    tokens: Tokens

    @classmethod
    def of(cls, found: Sequence[Example]) -> Lookout:
        """Examples to a lookout."""
        readings = [read(e.text) for e in found]
        return cls(list(found), readings, tokens_of([r for r in readings if r]))

    def quality(self, tagger: Tagger) -> SpanQuality:
        """How well a tagger parses the examples."""
        spans, marks = iter(tagger.spans(self.tokens)), NameMarks.load()
        tagged = [r and (with_tagged(r, s, marks) if (s := next(spans)) else r) for r in self.readings]
        chosen = [[segment.text for segment in r.chosen] if r else [] for r in tagged]
        return span_quality(self.examples, chosen)


class _Training(Training):
    """Batches in, the weights after the best look out."""

    def __init__(
        self,
        recipe: ParserRecipe,
        lessons: Sequence[Sequence[Lesson]],
        lookout: Lookout,
        output: Path,
        initial: Tagger | None,
    ) -> None:
        self.recipe, self.lessons, self.lookout, self.output = recipe, lessons, lookout, output
        self.network = Network(recipe, initial)
        super().__init__(recipe, self.network, output)

    def step(self, number: int) -> float:
        """Take a step; gives its loss."""
        # A generator of its own for each step: a run that is resumed draws what it would have drawn.
        random = np.random.default_rng([self.recipe.seed, number])
        return self.network.step(self._batch(random), number)

    def _batch(self, random: np.random.Generator) -> list[Lesson]:
        complete, single = self.lessons
        n = self.recipe.batch_size
        n_complete = round(n * self.recipe.complete_share) if single else n
        drawn = [complete[i] for i in random.integers(len(complete), size=n_complete)]
        return (
            drawn + [single[i] for i in random.integers(len(single), size=n - n_complete)]
            if single
            else drawn
        )

    def look(self) -> str:
        """Measure the tagger on the tune fold and write it if it is the best so far."""
        # What is measured is what is written: the table in one byte a number.
        tagger = self.network.tagger()
        found = self.lookout.quality(tagger)
        if self.progress.is_best((found.exact_share + found.f1) / 2):
            tagger.save(self.output)
        figures = f"exact number {found.exact_share:.4f}, span F1 {found.f1:.4f}"
        return f"tune {figures} (best mean {self.progress.best:.4f})"
