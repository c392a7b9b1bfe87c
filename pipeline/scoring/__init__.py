"""Score: candidate pairs become log-odds: features for every pair, a cross-encoder where in doubt."""

from pipeline.scoring.additive import AdditiveModel
from pipeline.scoring.cross_encoder import CrossEncoderScorer, PairRescorer
from pipeline.scoring.features import NAMES, PairFeatures
from pipeline.scoring.ranking import Ranked, rank
from pipeline.scoring.score import ScoringSettings, fit_vocabulary, load_rescorer, score, token_frequencies
from pipeline.scoring.tokens import Vocabulary

__all__ = [
    "NAMES",
    "AdditiveModel",
    "CrossEncoderScorer",
    "PairFeatures",
    "PairRescorer",
    "Ranked",
    "ScoringSettings",
    "Vocabulary",
    "fit_vocabulary",
    "load_rescorer",
    "rank",
    "score",
    "token_frequencies",
]
