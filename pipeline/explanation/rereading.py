"""The features of a finished run again: its strings are cleaned, parsed and normalized by its settings."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.consolidation import mention_ids
from pipeline.explanation.contributions import PairReasons
from pipeline.explanation.explanation import Background
from pipeline.judgements import Judgements, hold
from pipeline.normalization import normalize
from pipeline.preparation import mentions_of
from pipeline.records import Affiliations
from pipeline.run_folder import read_frames, read_settings
from pipeline.scoring import PairFeatures, fit_vocabulary
from pipeline.settings import Settings
from pipeline.tables import RunFrames


def background_of(run: str | Path, frames: RunFrames) -> Background:
    """What a finished run knows beyond its tables.

    Raises:
        UsageError: settings that this version does not have.
    """
    settings = read_settings(run)
    said = Judgements.from_frame(frames.judgements)
    held = hold(said, frames.mentions["mention_id"].tolist()).constraints
    return Background(settings, held, features_of(frames, settings))


def reasons_of_run(run: str | Path) -> PairReasons | None:
    """What each feature says of the pairs of a finished run; None where its strings are read otherwise now.

    Raises:
        UsageError: the folder is no finished run, or one with settings that this version does not have.
    """
    frames, settings = read_frames(run), read_settings(run)
    features = features_of(frames, settings)
    if features is None:
        return None
    return PairReasons(features, frames.mentions["mention_id"].tolist(), settings.scoring.model)


def features_of(frames: RunFrames, settings: Settings) -> PairFeatures | None:
    """The features of a run's mentions, made again from its strings; None where they come out otherwise."""
    strings = frames.mentions.drop_duplicates("affiliation_id")
    affiliations = Affiliations(
        strings["affiliation_id"].tolist(),
        strings["affiliation"].tolist(),
        strings["n_occurrences"].to_numpy(np.int64),
    )
    mentions = mentions_of(affiliations, settings)
    if mention_ids(mentions) != frames.mentions["mention_id"].tolist():
        return None
    forms = normalize(mentions, settings.normalization)
    return PairFeatures(forms, fit_vocabulary(forms, settings.scoring.model))
