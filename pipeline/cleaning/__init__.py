"""Clean: raw strings become repaired texts; what is not affiliation is set aside with the reason."""

from pipeline.cleaning.cleaning import CleaningSettings, clean, clean_text

__all__ = ["CleaningSettings", "clean", "clean_text"]
