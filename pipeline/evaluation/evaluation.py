"""A run's mentions and gold in, an `Evaluation` out: the one place that puts the parts together."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import UsageError
from pipeline.evaluation.alignment import AlignedRun, StringPairs, align, pairs_of_strings
from pipeline.evaluation.blocking_loss import blocking_loss, is_true_pair
from pipeline.evaluation.bootstrap import interval, resample, sum_by_cluster
from pipeline.evaluation.gold import Gold
from pipeline.evaluation.memberships import Memberships
from pipeline.evaluation.metrics import (
    BANDS,
    addends,
    adjusted_rand_index,
    is_reproduced,
    measures,
    n_assignments_shared,
    overlap,
)
from pipeline.evaluation.outcome import BAND_PREFIX, Evaluation, Measure
from pipeline.evaluation.reliability import Reliability, reliability
from pipeline.records import Float64s

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)


def evaluate(
    mentions: pd.DataFrame,
    gold: Gold,
    *,
    pairs: pd.DataFrame | None = None,
    n_bootstrap: int = 200,
    seed: int = 0,
) -> Evaluation:
    """A run's mentions (affiliation, entity_id, role; mention_id for pairs) and gold in, the evaluation out.

    A string with one gold label is judged by its main organisation, a string with several by all its
    entities; a gold string that the run lacks counts as a singleton of its own. `pairs` (left_mention_id,
    right_mention_id, probability) adds calibration and the loss of blocking. `n_bootstrap` samples give the
    95 % intervals, 0 gives none. Pairwise measures without a single pair are 0.

    Raises:
        UsageError: a column is missing, no gold string is in the run, or `n_bootstrap` is negative.
    """
    if n_bootstrap < 0:
        raise UsageError(f"n_bootstrap must be 0 or more, not {n_bootstrap}")
    run = align(mentions, gold)
    truth = gold.memberships()
    found, n_by_size = _measures(run.predicted, truth, n_bootstrap, seed)
    string_pairs = None if pairs is None else pairs_of_strings(pairs, mentions, run)
    calibration = None if string_pairs is None else _calibration(string_pairs, truth)
    blocking = None if string_pairs is None else blocking_loss(string_pairs.left, string_pairs.right, truth)
    warnings = _warnings(run, gold, "role" in mentions.columns)
    if string_pairs is not None and calibration is None:
        warnings += ("no scored pair joins two gold strings: calibration cannot be judged",)
    log.info("evaluate: %d gold strings, %d missing", len(gold), int(run.is_missing.sum()))
    return Evaluation(
        n_strings=len(gold),
        n_missing=int(run.is_missing.sum()),
        n_with_several=run.n_with_several,
        n_predicted_clusters=run.predicted.n_entities,
        n_gold_clusters=truth.n_entities,
        is_partition=run.predicted.is_partition and truth.is_partition,
        measures=found,
        n_strings_by_size=n_by_size,
        calibration=calibration,
        blocking=blocking,
        warnings=warnings,
    )


def compare(predicted: Memberships, gold: Memberships) -> dict[str, float]:
    """Predicted and gold memberships of the same strings in, every measure by its name out, no intervals."""
    return {m.name: m.value for m in _measures(predicted, gold, 0, 0)[0]}


def _measures(
    predicted: Memberships, gold: Memberships, n_bootstrap: int, seed: int
) -> tuple[tuple[Measure, ...], dict[str, int]]:
    is_partition = predicted.is_partition and gold.is_partition
    shared = overlap(predicted, gold)
    columns = addends(shared)
    if not is_partition:
        columns |= _assignment_addends(predicted, gold)
    by_cluster = sum_by_cluster(columns, gold)
    by_cluster["reproduced"] = is_reproduced(predicted, gold)
    by_cluster["clusters"] = np.ones(gold.n_entities)
    values = measures({name: np.asarray(column.sum()) for name, column in by_cluster.items()})
    samples = measures(resample(by_cluster, n_bootstrap, seed)) if n_bootstrap else {}
    found = [
        Measure(name, float(np.nan_to_num(value)), *(interval(samples[name]) if samples else ()))
        for name, value in values.items()
        if not (name.startswith(BAND_PREFIX) and np.isnan(value))
    ]
    if is_partition:
        found.append(Measure("adjusted_rand_index", adjusted_rand_index(shared)))
    n_by_size = {band: int(columns[f"strings {band}"].sum()) for band in BANDS}
    return tuple(found), n_by_size


def _assignment_addends(predicted: Memberships, gold: Memberships) -> dict[str, Float64s]:
    return {
        "assigned_both": n_assignments_shared(predicted, gold).astype(np.float64),
        "assigned_predicted": predicted.entities_per_string().astype(np.float64),
        "assigned_gold": gold.entities_per_string().astype(np.float64),
    }


def _calibration(pairs: StringPairs, gold: Memberships) -> Reliability | None:
    known = ~np.isnan(pairs.probability)
    is_true = is_true_pair(pairs.left[known], pairs.right[known], gold)
    return reliability(pairs.probability[known], is_true)


def _warnings(run: AlignedRun, gold: Gold, has_role: bool) -> tuple[str, ...]:
    n_missing = int(run.is_missing.sum())
    warnings = []
    if n_missing:
        warnings.append(
            f"{n_missing:,} of {len(gold):,} gold strings are not in the run or have no entity there; "
            "each counts as a singleton of its own"
        )
    if gold.n_conflicts:
        warnings.append(f"{gold.n_conflicts:,} gold strings occur with different labels; they were united")
    if not has_role:
        warnings.append("the run's mentions have no column 'role'; every mention counts as a main one")
    return tuple(warnings)
