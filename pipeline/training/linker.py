"""Fit the linker: labelled strings and a registry in, what links them out.

Two additive models: one judges a mention and a registry name, the other chooses among the records that a
mention could be by what the first says of all of them. The second is fitted to what the first says of strings
that it was not fitted to. Fitted on the fold `train`; when to stop and the calibration are of `tune`; `test`
is not read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from blocking import CandidatePairs
from pipeline.calibration import PlattScaling
from pipeline.errors import UsageError
from pipeline.evaluation.gold import labels_in, rows_of
from pipeline.linking import LinkingSettings, registry_facts
from pipeline.linking.candidates import NAMES as CHOICE_FEATURES
from pipeline.linking.candidates import Candidates, candidates
from pipeline.linking.features import NAMES as NAME_FEATURES
from pipeline.linking.features import RegistryFacts, link_features
from pipeline.linking.linker import CALIBRATION, CHOICE_MODEL, NAME_MODEL, block_names, string_numbers
from pipeline.preparation import prepare
from pipeline.records import Float64s, Forms, Int64s, Mentions
from pipeline.registry import Registry, short_id
from pipeline.scoring import AdditiveModel
from pipeline.settings import Settings
from pipeline.training.boosting import ScorerRecipe, boosted_models, interactions
from pipeline.training.parser import LabelFiles
from pipeline.training.recipe_files import read_recipe
from pipeline.training.renderings import read_left_out
from pipeline.training.scorer import LabelledPairs, boost, quality
from pipeline.writing import write_json, write_text

Bools = npt.NDArray[np.bool_]
_FOLDS = ("train", "tune")
#: Of several mentions of a string, a label is taught to those whose name is this near the nearest one's.
_NEARLY = 0.3


@dataclass(frozen=True)
class LabelledString:
    """What is known of a string: its labels, and whether these are all that it names."""

    labels: frozenset[str]
    is_complete: bool
    fold: str


def read_linker_recipe(path: Path | None = None) -> ScorerRecipe:
    """A TOML file, by default the one in the package, to a recipe of both models."""
    found: ScorerRecipe = read_recipe(ScorerRecipe, "linker", path)
    return found


def read_link_labels(labels: LabelFiles, folds: Sequence[str] = _FOLDS) -> dict[str, LabelledString]:
    """Labelled files to strings with all their labels, also those without any: "none" is an answer.

    A string in several files has the labels of all; it is complete where one file says so.

    Raises:
        UsageError: no such file or column, a label that is none, no row of the folds.
    """
    found: dict[str, LabelledString] = {}
    columns = (labels.affiliation_column, labels.cluster_column, labels.fold_column)
    for is_complete, paths in ((True, labels.complete), (False, labels.single)):
        for path in paths:
            for place, text, cell, fold in rows_of(Path(path), columns):
                if fold not in folds or not isinstance(text, str) or not text.strip():
                    continue
                own = frozenset(labels_in(cell, labels.separator, place))
                known = found.get(text, LabelledString(frozenset(), False, fold))
                found[text] = LabelledString(known.labels | own, known.is_complete or is_complete, fold)
    for name in folds:
        if not any(s.fold == name for s in found.values()):
            raise UsageError(
                f"no row of fold {name!r} in column {labels.fold_column!r} of the labelled files"
            )
    return found


@dataclass(frozen=True)
class Lesson:
    """Strings of one fold as linking sees them, and which pairs teach what.

    Attributes:
        forms: of the mentions.
        pairs: each of a mention and a name.
        values: features of the pairs.
        truth: for each pair whether its record is right, shape (n pairs,).
        is_taught: which pairs say something: a single label tells little of the mentions that it is not of.
        half: 0 or 1 for each mention, by its string.
    """

    forms: Forms
    pairs: CandidatePairs
    values: npt.NDArray[np.float32]
    truth: Bools
    is_taught: Bools
    half: Int64s


def lesson_of(
    strings: dict[str, LabelledString], facts: RegistryFacts, left_out: frozenset[str] = frozenset()
) -> Lesson:
    """Labelled strings through the data path to candidate pairs with what their labels say of them."""
    settings = Settings()
    mentions, forms = prepare(list(strings), settings)
    pairs = block_names(forms, facts, LinkingSettings(), settings.blocking)
    registry = facts.registry
    unseen = np.array([short_id(i) in left_out for i in registry.id])[_records(pairs, forms, facts)]
    pairs = CandidatePairs(*(column[~unseen] for column in vars(pairs).values()))
    values = link_features(forms, facts, pairs)
    truth, is_taught = _truth(strings, mentions, forms, pairs, values, facts)
    raw = mentions.affiliations.affiliation
    half = np.array(
        [int(hashlib.sha256(s.encode("utf-8", "replace")).hexdigest(), 16) % 2 for s in raw], np.int64
    )
    return Lesson(forms, pairs, values, truth, is_taught, half[mentions.affiliation])


def _records(pairs: CandidatePairs, forms: Forms, facts: RegistryFacts) -> Int64s:
    return facts.registry.current[facts.names.names.record[pairs.right - len(forms)]]


def _truth(
    strings: dict[str, LabelledString],
    mentions: Mentions,
    forms: Forms,
    pairs: CandidatePairs,
    values: npt.NDArray[np.float32],
    facts: RegistryFacts,
) -> tuple[Bools, Bools]:
    """Whether each pair's record is a label of its string, and whether that says something of its mention.

    A single label speaks of the main mention, or of another one that its name is nearer to; then it says
    nothing against what the main one is.
    """
    registry, raw = facts.registry, mentions.affiliations.affiliation
    number = {i: int(registry.current[n]) for i, n in registry.number.items()}
    right = [{number.get(short_id(i), -1) for i in strings[s].labels} for s in raw]
    complete = np.array([strings[s].is_complete for s in raw])
    string, record = mentions.affiliation[pairs.left], _records(pairs, forms, facts)
    truth = np.array([r in right[s] for s, r in zip(string.tolist(), record.tolist(), strict=True)], bool)
    is_taught = forms.is_main[pairs.left] | complete[string] | truth
    # The string that a label comes from may name it in one mention of several.
    likeness = values[:, NAME_FEATURES.index("organization_token_set")]
    likeness = likeness + values[:, NAME_FEATURES.index("organization_ratio")]
    key = string * len(registry) + record
    _, group = np.unique(key, return_inverse=True)
    best = np.zeros(int(group.max(initial=-1)) + 1)
    np.maximum.at(best, group, likeness)
    is_taught &= ~truth | (likeness >= best[group] - _NEARLY)
    is_main = forms.is_main[pairs.left]
    elsewhere = _has(string, truth & is_taught & ~is_main) & ~_has(string, truth & is_taught & is_main)
    return truth, is_taught & ~(elsewhere & is_main & ~complete[string])


def _has(group: Int64s, is_one: Bools) -> Bools:
    """For each row whether any row of its group is one."""
    found = np.zeros(int(group.max(initial=-1)) + 1, bool)
    found[group[is_one]] = True
    return np.asarray(found[group], bool)


def train_linker(
    labels: LabelFiles,
    registry: Path,
    output: Path,
    left_out: Path | None = None,
    recipe: ScorerRecipe | None = None,
) -> Iterator[str]:
    """Labelled files and a registry file to the files of a linker in `output`; yields a line a step.

    Args:
        labels: strings with ids of the registry, also strings without one.
        registry: file of `affil registry import`.
        output: folder for the linker.
        left_out: TSV with ror_id and fold; records of fold `names-test` are not read.
        recipe: how to fit.

    Raises:
        UsageError: no such file or column, or labels that the registry does not know.
    """
    recipe = recipe or read_linker_recipe()
    facts = registry_facts(Registry.read(registry))
    strings, unseen = read_link_labels(labels), read_left_out(left_out)
    train, tune = (
        lesson_of({s: v for s, v in strings.items() if v.fold == fold}, facts, unseen) for fold in _FOLDS
    )
    yield f"train: {len(train.pairs):,} pairs with names; tune: {len(tune.pairs):,}"
    if not train.truth.any() or not tune.truth.any():
        raise UsageError("no label is the id of a record that blocking finds: are they ids of this registry?")
    taught, held = _labelled(train, train.values), _labelled(tune, tune.values)
    chosen = interactions(taught.values, taught.is_match, NAME_FEATURES, recipe)
    names = yield from boost(taught, held, chosen, NAME_FEATURES, recipe)
    names = _as_written(names)
    first = _candidates(train, _unseen_logits(train, chosen, recipe), facts)
    second = _candidates(tune, names.logits(tune.values), facts)
    own, other = _choice(train, first, facts), _choice(tune, second, facts)
    chosen = interactions(own.values, own.is_match, CHOICE_FEATURES, recipe)
    choice = yield from boost(own, other, chosen, CHOICE_FEATURES, recipe)
    yield from _write(names, _as_written(choice), other, output)


def _labelled(lesson: Lesson, values: npt.NDArray[np.float32]) -> LabelledPairs:
    return LabelledPairs(values[lesson.is_taught], lesson.truth[lesson.is_taught])


def _as_written(model: AdditiveModel) -> AdditiveModel:
    """What is measured is what is shipped: the file as it reads back."""
    return AdditiveModel.from_json(model.to_json(), "the model just fitted")


def _unseen_logits(lesson: Lesson, chosen: Sequence[tuple[str, ...]], recipe: ScorerRecipe) -> Float64s:
    """Log-odds of each pair by a model that was fitted to the other half of the strings."""
    logit, half = np.empty(len(lesson.pairs)), lesson.half[lesson.pairs.left]
    for own in (0, 1):
        fitted = lesson.is_taught & (half != own)
        *_, (_, model) = boosted_models(
            lesson.values[fitted], lesson.truth[fitted], NAME_FEATURES, chosen, recipe
        )
        logit[half == own] = model.logits(lesson.values[half == own])
    return logit


def _candidates(lesson: Lesson, logit: Float64s, facts: RegistryFacts) -> Candidates:
    return candidates(lesson.pairs, lesson.values, logit, string_numbers(lesson.forms), facts)


def _choice(lesson: Lesson, found: Candidates, facts: RegistryFacts) -> LabelledPairs:
    """Candidates with whether they are right; those of which no pair says anything are left out."""
    n = len(facts.registry)
    key = lesson.pairs.left * n + _records(lesson.pairs, lesson.forms, facts)
    own = found.mention * n + found.record
    is_right = np.isin(own, key[lesson.truth])
    is_taught = np.isin(own, key[lesson.is_taught])
    return LabelledPairs(found.features[is_taught], is_right[is_taught])


def _write(
    names: AdditiveModel, choice: AdditiveModel, tune: LabelledPairs, output: Path
) -> Generator[str, None, None]:
    logit = choice.logits(tune.values)
    scaling = PlattScaling.fit(logit, tune.is_match.astype(np.float64))
    yield f"tune {quality(scaling.apply(logit), tune)} (calibrated)"
    output.mkdir(parents=True, exist_ok=True)
    write_text(names.to_json(), output / NAME_MODEL)
    write_text(choice.to_json(), output / CHOICE_MODEL)
    line = {"slope": round(scaling.slope, 5), "intercept": round(scaling.intercept, 5)}
    write_json(line, output / CALIBRATION)
    yield f"linker: {output}"
