"""Cleaned texts in, mentions of organisations out."""

from pipeline.parsing.parse import ParsingSettings, parse, parse_text

__all__ = ["ParsingSettings", "parse", "parse_text"]
