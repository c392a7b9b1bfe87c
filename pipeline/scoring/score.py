"""Score: candidate pairs become log-odds, and the doubtful ones are rescored."""

from __future__ import annotations

import csv
import gzip
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from blocking import CandidatePairs
from blocking.engine import current, slices
from blocking.hub import pinned
from blocking.memory import at_once
from blocking.vectors import empty_column
from pipeline.errors import UsageError
from pipeline.presets import locate_kind
from pipeline.records import Float64s, Forms, Int64s, Progress, ScoredPairs, not_rescored
from pipeline.scoring.additive import AdditiveModel
from pipeline.scoring.budget import Budget
from pipeline.scoring.cross_encoder import CrossEncoderScorer, PairRescorer
from pipeline.scoring.features import NAMES, PairFeatures
from pipeline.scoring.known import two_records
from pipeline.scoring.tokens import Vocabulary
from pipeline.scoring.word_pair_model import WordPairReranker, read_config
from pipeline.stage_log import Onward

log = logging.getLogger(__name__)
#: Names under which settings ask for the reranker in the package, and for none.
BUILT_IN_RERANKER, NO_RERANKER = "built-in", "none"
#: Pairs whose features are held in memory at a time, and the bytes that each takes (measured on the example).
_CHUNK, _BYTES_A_PAIR = 200_000, 600
#: Pairs that a reranker judges at a time: minutes of a transformer on a CPU, seconds on a GPU.
_RESCORED = 20_000
#: Pairs that are put in the order of their names at a time.
_ORDERED = 1 << 24


@dataclass(frozen=True)
class ScoringSettings:
    """How pairs are scored.

    Attributes:
        model: file of a feature model; None takes the shipped one.
        reranker: "built-in", a folder of `affil train reranker`, or preset, folder or hub id of a
            cross-encoder; "none" rescores nothing.
        rescoring_band: pairs whose feature probability lies between the two are rescored; None takes the
            reranker's own band.
        rescoring: "band" or "all".
        rescoring_budget: at most so many pairs ("20000 pairs"), such a share of all ("5%") or as long ("90s",
            "10min", "2h") is rescored in each of the two passes, the most doubtful pairs first; None sets no
            bound. With a time the result depends on the machine.
        device: "auto", "cpu" or "cuda", for the reranker.
        batch_size: pairs of usual length a batch of the reranker; None goes by the device.
        max_length: longest pair in tokens; None takes the model's own.
        revision: revision of a hub model; None takes the newest, or the one behind its name.
    """

    model: str | None = None
    reranker: str = NO_RERANKER
    rescoring_band: tuple[float, float] | None = None
    rescoring: str = "band"
    rescoring_budget: str | None = None
    device: str = "auto"
    batch_size: int | None = None
    max_length: int | None = None
    revision: str | None = None

    def __post_init__(self) -> None:
        if self.rescoring_band is not None and not _is_band(self.rescoring_band):
            raise UsageError(
                f"scoring.rescoring_band must be two probabilities in order, got {self.rescoring_band}"
            )
        if self.rescoring not in ("band", "all"):
            raise UsageError(f"scoring.rescoring must be 'band' or 'all', got {self.rescoring!r}")
        if self.device not in ("auto", "cpu", "cuda"):
            raise UsageError(f"scoring.device must be auto, cpu or cuda, got {self.device!r}")
        if self.batch_size is not None and self.batch_size < 1:
            raise UsageError(f"scoring.batch_size must be 1 or more, got {self.batch_size}")
        Budget.parse(self.rescoring_budget)
        if self.max_length is not None and self.max_length < 1:
            raise UsageError(f"scoring.max_length must be 1 or more, got {self.max_length}")


def _is_band(band: Sequence[object]) -> bool:
    """Whether a band is two probabilities, the lower one first; a settings file can hold anything."""
    numbers = [x for x in band if isinstance(x, int | float)]
    return len(band) == len(numbers) == 2 and 0 <= numbers[0] <= numbers[1] <= 1


#: Beside a feature model: the document frequencies that its features were weighted with.
FREQUENCIES = "document_frequency.tsv.gz"


@lru_cache(maxsize=4)
def token_frequencies(model_path: str | None) -> tuple[dict[str, int], int]:
    """Document frequencies of tokens that were counted when a model was fitted, and of how many texts.

    They lie beside the file of the model; None, and a model without them, take the shipped ones.

    Raises:
        UsageError: the file of frequencies is broken.
    """
    own = Path(model_path).parent / FREQUENCIES if model_path else None
    shipped = files("pipeline") / "models" / "pair_scorer" / FREQUENCIES
    resource = own if own and own.is_file() else shipped
    try:
        lines = gzip.decompress(resource.read_bytes()).decode("utf-8").splitlines()
        rows = csv.reader(lines[1:], delimiter="\t", quoting=csv.QUOTE_NONE)
        return {token: int(count) for token, count in rows}, int(lines[0])
    except (OSError, EOFError, ValueError, IndexError) as error:
        raise UsageError(f"{resource}: no token frequencies ({error}); fit the scorer again") from error


def fit_vocabulary(forms: Forms, model_path: str | None = None, *, use_prior: bool = True) -> Vocabulary:
    """Token weights of these mentions, with the document frequencies of a feature model behind them.

    Args:
        forms: the mentions.
        model_path: the feature model that will see the weights, None for the shipped one. The frequencies lie
            beside it; without such a file the shipped ones are taken.
        use_prior: False weighs by the mentions alone.

    Raises:
        UsageError: the file of frequencies is broken.
    """
    return vocabulary_of(forms, token_frequencies(model_path) if use_prior else ({}, 0))


def vocabulary_of(forms: Forms, frequencies: tuple[Mapping[str, int], int]) -> Vocabulary:
    """Token weights of mentions, with in how many of so many other texts each token stands behind them."""
    return Vocabulary.fit(forms.concepts, *frequencies)


def load_rescorer(settings: ScoringSettings) -> PairRescorer | None:
    """The reranker that settings name, None where they say "none".

    Raises:
        AffilError: it is missing, broken or of the wrong kind.
    """
    if settings.reranker == NO_RERANKER:
        return None
    is_built_in = settings.reranker == BUILT_IN_RERANKER
    if is_built_in or read_config(settings.reranker) is not None:
        if settings.revision is not None:
            raise UsageError(f"reranker {settings.reranker!r} has no revisions, got {settings.revision!r}")
        return WordPairReranker.load(None if is_built_in else settings.reranker)
    preset, source = locate_kind(settings.reranker, "reranker")
    max_length = settings.max_length or (preset.max_length if preset else None)
    source = pinned(source, settings.revision)
    return CrossEncoderScorer(source, settings.device, settings.batch_size, max_length)


def score(
    forms: Forms,
    pairs: CandidatePairs,
    vocabulary: Vocabulary,
    settings: ScoringSettings | None = None,
    *,
    rescorer: PairRescorer | None = None,
    on_progress: Progress | None = None,
) -> ScoredPairs:
    """Candidate pairs become scored pairs; `rescorer` stands in for the one that settings name."""
    settings = settings or ScoringSettings()
    rescorer = rescorer or load_rescorer(settings)
    return score_by(PairFeatures(forms, vocabulary), pairs, settings, rescorer, on_progress)


def score_by(
    features: PairFeatures,
    pairs: CandidatePairs,
    settings: ScoringSettings,
    rescorer: PairRescorer | None,
    on_progress: Progress | None = None,
) -> ScoredPairs:
    """As `score`, with what features know of the mentions made before: for pairs in several lots."""
    told = Onward(on_progress)
    logit = feature_logits(features, pairs, settings.model, told)
    rescored = not_rescored(len(pairs))
    if rescorer is not None and len(pairs):
        rescored = rescored.copy()
        chosen = doubtful(logit, settings, rescorer.band)
        log.info("score: %d of %d pairs go to %s", len(chosen), len(pairs), rescorer.name)
        for part, found in Budget.parse(settings.rescoring_budget).spend(
            chosen,
            lambda part: rescored_logits(
                features, rescorer, pairs.left[part], pairs.right[part], told.next()
            ),
        ):
            rescored[part] = found
    combination = rescorer.combination if rescorer else None
    return ScoredPairs(pairs.left, pairs.right, pairs.similarity, pairs.rule, logit, rescored, combination)


def feature_logits(
    features: PairFeatures,
    pairs: CandidatePairs,
    model_path: str | None = None,
    on_progress: Progress | None = None,
) -> Float64s:
    """Candidate pairs to log-odds of the feature model and of `two_records`, shape (n pairs,), in chunks."""
    logit = empty_column(len(pairs), np.float64)
    order = _by_names(features, pairs)
    parts = slices(len(pairs), at_once(_CHUNK, _BYTES_A_PAIR))
    found = current().map(
        *(_logits, (features, AdditiveModel.load(model_path, NAMES)), parts),
        lambda part: (pairs.left[order[part]], pairs.right[order[part]]),
        on_progress=on_progress,
    )
    for part, own in zip(parts, found, strict=True):
        logit[order[part]] = own
    return logit


_Pairs = tuple[Int64s, Int64s]


def _by_names(features: PairFeatures, pairs: CandidatePairs) -> npt.NDArray[np.signedinteger[Any]]:
    """Numbers of all pairs, of each lot of them those of equal names together; shape (n pairs,)."""
    order = np.empty(len(pairs), np.min_scalar_type(-1 - len(pairs)))
    for lot in slices(len(pairs), _ORDERED):
        order[lot] = lot.start + features.by_names(pairs.left[lot], pairs.right[lot])
    return order


def _logits(scorer: tuple[PairFeatures, AdditiveModel], pairs: _Pairs, _: Progress | None) -> Float64s:
    features, model = scorer
    values = features.of(*pairs)
    logit = model.logits(values[:, [NAMES.index(f) for f in model.features]])
    return np.asarray(logit + two_records(values, NAMES), np.float64)


def rescored_logits(
    features: PairFeatures,
    rescorer: PairRescorer,
    left: Int64s,
    right: Int64s,
    on_progress: Progress | None = None,
) -> Float64s:
    """Mention numbers of pairs to the log-odds of a reranker, shape (n,), some pairs at a time."""
    parts = slices(len(left), _RESCORED)
    found = current().map(
        *(_rescored, (features, rescorer), parts, lambda part: (left[part], right[part])),
        on_gpu=getattr(rescorer, "uses_gpu", False),
        on_progress=on_progress,
    )
    return np.concatenate([np.empty(0), *found])


def _rescored(
    asked: tuple[PairFeatures, PairRescorer], pairs: _Pairs, on_progress: Progress | None
) -> Float64s:
    features, rescorer = asked
    return rescorer.rescore(features, *pairs, on_progress)


def doubtful(logit: Float64s, settings: ScoringSettings, band: tuple[float, float] = (0.0, 1.0)) -> Int64s:
    """Numbers of the pairs that features leave in doubt and the budget allows (`Budget.cut`).

    `band` is for settings without one.
    """
    probability = 1 / (1 + np.exp(-logit))
    low, high = settings.rescoring_band or band
    chosen = (
        np.arange(len(logit))
        if settings.rescoring == "all"
        else np.flatnonzero((probability >= low) & (probability <= high))
    )
    return Budget.parse(settings.rescoring_budget).cut(chosen, probability, len(logit))
