"""Fit the pair scorer: labelled strings in, feature model, calibration and token frequencies out.

The data path of a run makes the pairs: what is learnt is what to make of the candidates that blocking
proposes. Fitted on the fold `train`, calibrated on `tune`; `test` is not looked at.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.calibration import PlattScaling
from pipeline.concepts import concept_tokens
from pipeline.errors import UsageError
from pipeline.evaluation import reliability
from pipeline.scoring import NAMES, AdditiveModel
from pipeline.scoring.score import FREQUENCIES
from pipeline.text import compare
from pipeline.training.boosting import ScorerRecipe, boosted_models, interactions
from pipeline.training.labelled_pairs import Frequencies, candidates_among
from pipeline.training.labels import Columns, read_folds
from pipeline.training.terse import terse_copies
from pipeline.writing import write_json, write_text

#: Tokens rarer than this say nothing that a corpus at hand would not say itself, and make the file long.
_MIN_FREQUENCY = 3
MODEL, CALIBRATION, CHECKPOINT = "model.json", "calibration.json", "checkpoint.json"


@dataclass(frozen=True)
class LabelledPairs:
    """Features of candidate pairs between main mentions, and whether they share a label.

    `weight` says how much each pair counts in a fit, shape (n,); None: all alike.
    """

    values: npt.NDArray[np.float32]
    is_match: npt.NDArray[np.bool_]
    weight: npt.NDArray[np.float64] | None = None


def train_scorer(
    labels_file: Path,
    output: Path,
    recipe: ScorerRecipe | None = None,
    columns: Columns | None = None,
) -> Iterator[str]:
    """A labelled TSV or CSV to the files of a pair scorer in `output`; yields a line a step.

    A run that was interrupted goes on with the interactions that it had found.

    Args:
        labels_file: strings with labels, and folds where it has any, see `read_folds`.
        output: folder for the scorer.
        recipe: how to fit.
        columns: names of the columns.

    Raises:
        UsageError: no such file or column, a row without a label, or a fold that has nothing to teach.
    """
    recipe = recipe or ScorerRecipe.read()
    folds = read_folds(labels_file, columns)
    counts, n_texts = document_frequency([s for s, _ in folds["train"]])
    yield f"{n_texts:,} texts give weights to {len(counts):,} tokens"
    frequencies = (counts, n_texts)
    train, tune = (pairs_to_learn_from(labels_file, f, folds[f], frequencies) for f in ("train", "tune"))
    yield f"train: {len(train.is_match):,} candidate pairs, {train.is_match.mean():.1%} of one label"
    lessons = train
    if recipe.terse_weight:
        terse = labelled_pairs(terse_copies(folds["train"], recipe.seed), frequencies)
        yield f"terse copies: {len(terse.is_match):,} candidate pairs more"
        lessons = _with_terse(train, terse, recipe.terse_weight)
    output.mkdir(parents=True, exist_ok=True)
    chosen = _interactions(lessons, recipe, output / CHECKPOINT)
    yield f"acting together: {', '.join(' × '.join(pair) for pair in chosen)}"
    model = yield from boost(lessons, tune, chosen, NAMES, recipe)
    yield from write_calibrated(model, train, tune, frequencies, output)


def _with_terse(train: LabelledPairs, terse: LabelledPairs, weight: float) -> LabelledPairs:
    """Pairs of strings, and of their terse copies, which count as much as `weight` says."""
    return LabelledPairs(
        np.concatenate([train.values, terse.values]),
        np.concatenate([train.is_match, terse.is_match]),
        np.repeat([1.0, weight], [len(train.is_match), len(terse.is_match)]),
    )


def _interactions(train: LabelledPairs, recipe: ScorerRecipe, checkpoint: Path) -> list[tuple[str, ...]]:
    """The features that act together, from the checkpoint if an interrupted run of the same left one."""
    digest = hashlib.sha256(train.values.tobytes() + train.is_match.tobytes()).hexdigest()
    key = {"recipe": repr(recipe), "pairs": digest}
    try:
        kept = json.loads(checkpoint.read_text("utf-8"))
    except (OSError, ValueError):
        kept = {}
    if {k: kept.get(k) for k in key} == key:
        return [tuple(pair) for pair in kept["interactions"]]
    chosen = interactions(train.values, train.is_match, NAMES, recipe, train.weight)
    write_json(key | {"interactions": chosen}, checkpoint)
    return chosen


def boost(
    train: LabelledPairs,
    tune: LabelledPairs,
    chosen: Sequence[tuple[str, ...]],
    names: Sequence[str],
    recipe: ScorerRecipe,
) -> Generator[str, None, AdditiveModel]:
    """The model of the best look at the tune fold; yields a line a look."""
    best, best_value, n_looks_since = None, -np.inf, 0
    looks = boosted_models(train.values, train.is_match, names, chosen, recipe, train.weight)
    for n_rounds, model in looks:
        value = _reliability(model.logits(tune.values), tune).average_precision
        n_looks_since += 1
        if value > best_value:
            best, best_value, n_looks_since = model, value, 0
        yield f"round {n_rounds}: tune average precision {value:.4f} (best {best_value:.4f})"
        if n_looks_since == recipe.patience:
            break
    assert best is not None  # The recipe asks for one round at the least.
    return best


def write_calibrated(
    model: AdditiveModel,
    train: LabelledPairs,
    tune: LabelledPairs,
    frequencies: Frequencies,
    output: Path,
) -> Iterator[str]:
    """Calibrate on the tune fold and write the files; yields what was measured."""
    text = model.to_json()
    # What is measured is what is shipped: the file as it reads back, not the model in memory.
    model = AdditiveModel.from_json(text, "the model just fitted")
    logit = model.logits(tune.values)
    scaling = PlattScaling.fit(logit, tune.is_match.astype(np.float64))
    yield f"train {quality(model.logits(train.values), train)}"
    yield f"tune  {quality(scaling.apply(logit), tune)} (calibrated)"
    write_scorer(text, scaling, frequencies, output)
    (output / CHECKPOINT).unlink(missing_ok=True)
    yield f"written: {output}"


def write_scorer(model: str, scaling: PlattScaling, frequencies: Frequencies, output: Path) -> None:
    """Write the files of a scorer."""
    output.mkdir(parents=True, exist_ok=True)
    write_text(model, output / MODEL)
    known = {key: value for key, value in asdict(scaling).items() if value is not None}
    write_json({key: round(value, 5) for key, value in known.items()}, output / CALIBRATION)
    (output / FREQUENCIES).write_bytes(frequency_file(*frequencies))


def document_frequency(strings: Sequence[str]) -> tuple[Counter[str], int]:
    """In how many strings each token stands, and how many strings."""
    counts = Counter(token for text in strings for token in set(concept_tokens(compare(text))))
    return Counter({t: n for t, n in counts.items() if n >= _MIN_FREQUENCY}), len(strings)


def pairs_to_learn_from(
    path: Path, fold: str, rows: Sequence[tuple[str, str]], prior: Frequencies
) -> LabelledPairs:
    """The labelled pairs of a fold; UsageError where they are not of both kinds."""
    pairs = labelled_pairs(rows, prior)
    n_matches = int(pairs.is_match.sum())
    if n_matches in (0, len(pairs.is_match)):
        raise UsageError(
            f"{path}: the {len(pairs.is_match):,} candidate pairs of fold {fold!r} hold {n_matches:,} of one"
            " label; a scorer needs pairs of one label and of two"
        )
    return pairs


def labelled_pairs(rows: Sequence[tuple[str, str]], prior: Frequencies) -> LabelledPairs:
    """(string, label) rows to the features of their candidate pairs."""
    found = candidates_among(rows, prior)
    return LabelledPairs(found.features.of(found.left, found.right), found.is_match)


def _reliability(logit: npt.NDArray[np.float64], pairs: LabelledPairs) -> Any:
    return reliability(1 / (1 + np.exp(-logit)), pairs.is_match)


def quality(logit: npt.NDArray[np.float64], pairs: LabelledPairs) -> str:
    """Log-odds of labelled pairs to a line on how good they are."""
    found = _reliability(logit, pairs)
    return (
        f"{found.n_pairs:,} pairs: average precision {found.average_precision:.4f},"
        f" log loss {found.log_loss:.4f}, calibration error {found.expected_calibration_error:.4f}"
    )


def frequency_file(counts: Mapping[str, int], n_texts: int) -> bytes:
    """Token frequencies as gzipped TSV: the number of texts, then `token, count`, the commonest first."""
    lines = [str(n_texts), *(f"{t}\t{n}" for t, n in sorted(counts.items(), key=lambda x: (-x[1], x[0])))]
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as file:
        file.write("\n".join([*lines, ""]).encode("utf-8"))
    return buffer.getvalue()
