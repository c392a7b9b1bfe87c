"""Raw affiliation strings in, canonical institution records out.

    >>> import pipeline
    >>> result = pipeline.resolve(["Univ. of Oxford, UK", "University of Oxford"])
    >>> result.institutions[["preferred_name", "n_mentions"]]

Names are imported on first use, so that `affil --help` need not wait for them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.clustering import Constraints
    from pipeline.distributed import ray_engine
    from pipeline.errors import AffilError, UsageError
    from pipeline.evaluation import evaluate, read_gold
    from pipeline.index import AffiliationIndex
    from pipeline.judgements import Judgements, read_judgements
    from pipeline.resolution import Models, Resolution, resolve
    from pipeline.scoring import ScoringSettings, rank
    from pipeline.settings import Settings
    from pipeline.similarity import affiliation_similarity

__all__ = [
    "AffilError",
    "AffiliationIndex",
    "Constraints",
    "Judgements",
    "Models",
    "Resolution",
    "ScoringSettings",
    "Settings",
    "UsageError",
    "affiliation_similarity",
    "evaluate",
    "rank",
    "ray_engine",
    "read_gold",
    "read_judgements",
    "resolve",
]

_HOME = {
    "AffilError": "errors",
    "AffiliationIndex": "index",
    "Constraints": "clustering",
    "Judgements": "judgements",
    "Models": "resolution",
    "Resolution": "resolution",
    "ScoringSettings": "scoring",
    "Settings": "settings",
    "UsageError": "errors",
    "affiliation_similarity": "similarity",
    "evaluate": "evaluation",
    "rank": "scoring",
    "ray_engine": "distributed",
    "read_gold": "evaluation",
    "read_judgements": "judgements",
    "resolve": "resolution",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
    return getattr(import_module(f"pipeline.{_HOME[name]}"), name)
