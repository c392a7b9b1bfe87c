"""Explain: why two strings are one institution or are not, and what would make it otherwise."""

from pipeline.explanation.contributions import Contribution, PairReasons
from pipeline.explanation.explanation import Background, Explanation, Link, explain, weakest_links
from pipeline.explanation.paths import spanning_forest
from pipeline.explanation.rereading import background_of, reasons_of_run
from pipeline.explanation.separation import PairBetween, Sides

__all__ = [
    "Background",
    "Contribution",
    "Explanation",
    "Link",
    "PairBetween",
    "PairReasons",
    "Sides",
    "background_of",
    "explain",
    "reasons_of_run",
    "spanning_forest",
    "weakest_links",
]
