"""Blocking: strings and keys in, candidate pairs out. Blind to what the strings name, usable alone."""

from blocking.blocks import BlockingResult, block, block_in_detail
from blocking.encoders import CorpusEncoder, Encoder, load_encoder
from blocking.errors import BlockingError
from blocking.groups import block_between
from blocking.keys import KeyPairs, key_pairs
from blocking.pairs import RULES, CandidatePairs
from blocking.settings import BlockingSettings
from blocking.two_sides import block_two

__all__ = [
    "RULES",
    "BlockingError",
    "BlockingResult",
    "BlockingSettings",
    "CandidatePairs",
    "CorpusEncoder",
    "Encoder",
    "KeyPairs",
    "block",
    "block_between",
    "block_in_detail",
    "block_two",
    "key_pairs",
    "load_encoder",
]
