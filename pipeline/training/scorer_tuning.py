"""Fine-tune the pair scorer: an existing one, labels, judgements of past runs in, the adjusted one out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipeline.calibration import PlattScaling
from pipeline.errors import UsageError
from pipeline.records import Float64s
from pipeline.scoring import NAMES, AdditiveModel, token_frequencies
from pipeline.training.adjusting import adjusted
from pipeline.training.boosting import ScorerRecipe
from pipeline.training.judged import Judged
from pipeline.training.judged_pairs import judged_pairs
from pipeline.training.labels import Columns, read_folds
from pipeline.training.scorer import (
    CALIBRATION,
    MODEL,
    LabelledPairs,
    pairs_to_learn_from,
    quality,
    write_calibrated,
    write_scorer,
)


def tune_scorer(
    start: Path,
    output: Path,
    recipe: ScorerRecipe | None = None,
    *,
    labels_file: Path | None = None,
    columns: Columns | None = None,
    judgements: Path | None = None,
) -> Iterator[str]:
    """A scorer to one whose tables have other weights, in `output`; yields a line a step.

    A judged pair counts as much as a labelled one. With labels the adjusted scorer is calibrated on what is
    held out of them, and judgements about these strings are left out. Without labels the intercept and the
    calibration stay: the pairs that people are asked about are not those of a run.

    Args:
        start: folder of the scorer; its features and the weights of tokens are kept.
        output: folder for the adjusted one.
        recipe: how strongly it holds to what it was.
        labels_file: strings with labels, and folds where it has any, see `read_folds`.
        columns: names of its columns.
        judgements: a file of judgements.

    Raises:
        UsageError: neither labels nor judgements, a file that cannot be read, a fold that has nothing to
            teach, judgements that contradict each other or name no string.
    """
    if not labels_file and not judgements:
        raise UsageError("nothing to learn from: give --labels, --judgements or both")
    recipe = recipe or ScorerRecipe.read()
    folds = read_folds(labels_file, columns) if labels_file else {"train": [], "tune": []}
    said = Judged.read(judgements, held_out=frozenset(string for string, _ in folds["tune"]))
    former = AdditiveModel.load(str(start / MODEL), NAMES)
    frequencies = token_frequencies(str(start / MODEL))
    lessons: list[LabelledPairs] = []
    if labels_file:
        sets = (pairs_to_learn_from(labels_file, f, folds[f], frequencies) for f in ("train", "tune"))
        train, tune = (_of(former, pairs) for pairs in sets)
        yield f"train: {len(train.is_match):,} candidate pairs, {train.is_match.mean():.1%} of one label"
        yield f"before: tune {quality(former.logits(tune.values), tune)}"
        lessons.append(train)
    if judgements:
        pairs, settled = judged_pairs(said, frequencies)
        if not len(pairs.is_match):
            raise UsageError(f"{judgements}: no judged pair to learn from; {settled.told}")
        yield settled.told
        judged = _of(former, pairs)
        lessons.append(judged)
    values, is_match = (
        np.concatenate([getattr(x, name) for x in lessons]) for name in ("values", "is_match")
    )
    model = adjusted(former, values, is_match, recipe.hold, keeps_intercept=not labels_file)
    if judgements:
        scaling = PlattScaling.load(str(start / CALIBRATION))
        for when, own in ("before", former), ("after", model):
            yield f"judged pairs {when}: {_agreement(scaling.apply(own.logits(judged.values)), judged)}"
    if labels_file:
        yield from write_calibrated(model, train, tune, frequencies, output)
    else:
        write_scorer(model.to_json(), scaling, frequencies, output)
        yield f"written: {output}"


def _of(model: AdditiveModel, pairs: LabelledPairs) -> LabelledPairs:
    """The same pairs with the features of a model."""
    return LabelledPairs(pairs.values[:, [NAMES.index(f) for f in model.features]], pairs.is_match)


def _agreement(logit: Float64s, judged: LabelledPairs) -> str:
    margin = np.where(judged.is_match, logit, -logit)
    n = len(margin)
    return f"{int((margin > 0).sum()):,} of {n:,} as judged, log loss {np.logaddexp(0, -margin).mean():.4f}"
