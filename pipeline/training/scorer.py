"""Fit the pair scorer: labelled strings in, feature model, calibration and token frequencies out.

The data path of a run makes the pairs: what is learnt is what to make of the candidates that blocking
proposes. Fitted on the fold `train`, calibrated on `tune`; `test` is not looked at.
"""

from __future__ import annotations

import gzip
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from blocking import block, load_encoder
from pipeline.calibration import PlattScaling
from pipeline.cleaning import clean
from pipeline.concepts import concept_tokens
from pipeline.errors import UsageError
from pipeline.evaluation import reliability
from pipeline.folding import fold_values
from pipeline.model_list import encoder_source
from pipeline.normalization import normalize
from pipeline.parsing import parse
from pipeline.records import Forms, Mentions
from pipeline.scoring import NAMES, AdditiveModel, PairFeatures, Vocabulary
from pipeline.settings import Settings
from pipeline.text import compare
from pipeline.training.boosting import BoostingRecipe, fit_additive
from pipeline.training.labels import read_folds
from pipeline.writing import write_json, write_text

#: Tokens rarer than this say nothing that a corpus at hand would not say itself, and make the file long.
_MIN_FREQUENCY = 3


@dataclass(frozen=True)
class LabelledPairs:
    """Features of candidate pairs between main mentions, and whether they share a label."""

    values: npt.NDArray[np.float32]
    is_match: npt.NDArray[np.bool_]


def train_scorer(
    labels_file: Path,
    output: Path,
    affiliation_column: str = "affiliation",
    cluster_column: str = "cluster",
    fold_column: str = "fold",
    seed: int = 0,
) -> Iterator[str]:
    """A labelled TSV or CSV to the files of a pair scorer in `output`; yields a line a step.

    Raises:
        UsageError: no such file or column, a row without a label, or a fold that has nothing to teach.
    """
    folds = read_folds(labels_file, affiliation_column, cluster_column, fold_column)
    counts, n_texts = document_frequency([s for s, _ in folds["train"]])
    yield f"{n_texts:,} texts give weights to {len(counts):,} tokens"
    train, tune = (_fit_to_learn(labels_file, f, folds[f], (counts, n_texts)) for f in ("train", "tune"))
    yield f"train: {len(train.is_match):,} candidate pairs, {train.is_match.mean():.1%} of one label"
    model = fit_additive(train.values, train.is_match, list(NAMES), BoostingRecipe(seed=seed))
    text = model.to_json()
    # What is measured is what is shipped: the file as it reads back, not the model in memory.
    model = AdditiveModel.from_json(text, "the model just fitted")
    logit = model.logits(tune.values)
    scaling = PlattScaling.fit(logit, tune.is_match.astype(np.float64))
    yield f"train {_quality(model.logits(train.values), train)}"
    yield f"tune  {_quality(scaling.apply(logit), tune)} (calibrated)"
    output.mkdir(parents=True, exist_ok=True)
    write_text(text, output / "model.json")
    write_json(
        {"slope": round(scaling.slope, 5), "intercept": round(scaling.intercept, 5)},
        output / "calibration.json",
    )
    (output / "document_frequency.tsv.gz").write_bytes(frequency_file(counts, n_texts))
    yield f"written: {output}"


def document_frequency(strings: Sequence[str]) -> tuple[Counter[str], int]:
    """In how many strings each token stands, and how many strings."""
    counts = Counter(token for text in strings for token in set(concept_tokens(compare(text))))
    return Counter({t: n for t, n in counts.items() if n >= _MIN_FREQUENCY}), len(strings)


def _fit_to_learn(
    path: Path, fold: str, rows: Sequence[tuple[str, str]], prior: tuple[Counter[str], int]
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


def labelled_pairs(rows: Sequence[tuple[str, str]], prior: tuple[Counter[str], int]) -> LabelledPairs:
    """(string, label) rows through the data path to the features of their candidate pairs."""
    settings = Settings()
    mentions = parse(
        clean(fold_values([s for s, _ in rows]).affiliations, settings.cleaning), settings.parsing
    )
    forms = normalize(mentions, settings.normalization)
    encoder = load_encoder(encoder_source(settings.blocking.encoder))
    pairs = block(forms.views, forms.keys, settings.blocking, encoder=encoder)
    label = _labels(mentions, forms, dict(rows))
    known = (label[pairs.left] >= 0) & (label[pairs.right] >= 0)
    left, right = pairs.left[known], pairs.right[known]
    both = zip(forms.context, forms.organization, strict=True)
    features = PairFeatures(forms, Vocabulary.fit([f"{c} {o}" for c, o in both], *prior))
    return LabelledPairs(features.of(left, right), label[left] == label[right])


def _labels(mentions: Mentions, forms: Forms, label_of: dict[str, str]) -> npt.NDArray[np.int64]:
    """Label number of each main mention, -1 for the others: the label tells nothing of those."""
    number = {label: i for i, label in enumerate(sorted(set(label_of.values())))}
    raw = mentions.affiliations.affiliation
    own = np.array([number[label_of[raw[i]]] for i in mentions.affiliation.tolist()], np.int64)
    return np.where(forms.is_main, own, -1)


def _quality(logit: npt.NDArray[np.float64], pairs: LabelledPairs) -> str:
    found: Any = reliability(1 / (1 + np.exp(-logit)), pairs.is_match)
    return (
        f"{found.n_pairs:,} pairs: average precision {found.average_precision:.4f},"
        f" log loss {found.log_loss:.4f}, calibration error {found.expected_calibration_error:.4f}"
    )


def frequency_file(counts: Counter[str], n_texts: int) -> bytes:
    """Token frequencies as gzipped TSV: the number of texts, then `token, count`, the commonest first."""
    lines = [str(n_texts), *(f"{t}\t{n}" for t, n in sorted(counts.items(), key=lambda x: (-x[1], x[0])))]
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as file:
        file.write("\n".join([*lines, ""]).encode("utf-8"))
    return buffer.getvalue()
