"""Score: candidate pairs become log-odds: features for every pair, a cross-encoder where in doubt."""

from pipeline.scoring.additive import AdditiveModel
from pipeline.scoring.cross_encoder import CrossEncoderScorer, PairRescorer, TextReranker
from pipeline.scoring.features import NAMES, PairFeatures
from pipeline.scoring.known import TWO_RECORDS, two_records
from pipeline.scoring.ranking import Ranked, rank
from pipeline.scoring.score import (
    BUILT_IN_RERANKER,
    NO_RERANKER,
    ScoringSettings,
    fit_vocabulary,
    load_rescorer,
    score,
    score_by,
    token_frequencies,
    vocabulary_of,
)
from pipeline.scoring.tokens import Vocabulary, frequencies
from pipeline.scoring.word_pair_model import WordPairReranker

__all__ = [
    "BUILT_IN_RERANKER",
    "NAMES",
    "NO_RERANKER",
    "TWO_RECORDS",
    "AdditiveModel",
    "CrossEncoderScorer",
    "PairFeatures",
    "PairRescorer",
    "Ranked",
    "ScoringSettings",
    "TextReranker",
    "Vocabulary",
    "WordPairReranker",
    "fit_vocabulary",
    "frequencies",
    "load_rescorer",
    "rank",
    "score",
    "score_by",
    "token_frequencies",
    "two_records",
    "vocabulary_of",
]
