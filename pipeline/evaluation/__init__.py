"""A run and hand-labelled strings in, how well they agree out: `read_gold`, `evaluate`, `Evaluation`."""

from pipeline.evaluation.evaluation import compare, evaluate
from pipeline.evaluation.gold import Gold, read_gold
from pipeline.evaluation.memberships import Memberships
from pipeline.evaluation.outcome import Evaluation, Measure, TableRow
from pipeline.evaluation.reliability import Reliability, reliability

__all__ = [
    "Evaluation",
    "Gold",
    "Measure",
    "Memberships",
    "Reliability",
    "TableRow",
    "compare",
    "evaluate",
    "read_gold",
    "reliability",
]
