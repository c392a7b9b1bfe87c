"""Cleaned texts in, mentions of organisations out."""

from pipeline.parsing.parse import ParsingSettings, load_tagger, parse, parse_text

__all__ = ["ParsingSettings", "load_tagger", "parse", "parse_text"]
