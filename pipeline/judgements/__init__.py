"""Judgements: what a person said of two strings outranks the models, in this run and in the next."""

from pipeline.judgements.constraints import Held, hold
from pipeline.judgements.judgement import CANNOT, IS_ID, MUST, Judgement, Judgements, mention_key, raw_string
from pipeline.judgements.table import JUDGEMENT_COLUMNS, append_judgements, read_answers, read_judgements

__all__ = [
    "CANNOT",
    "IS_ID",
    "JUDGEMENT_COLUMNS",
    "MUST",
    "Held",
    "Judgement",
    "Judgements",
    "append_judgements",
    "hold",
    "mention_key",
    "raw_string",
    "read_answers",
    "read_judgements",
]
