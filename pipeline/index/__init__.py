"""The index of a finished run: what new strings are compared with, memory-mapped on disk."""

from pipeline.index.index import AffiliationIndex

__all__ = ["AffiliationIndex"]
