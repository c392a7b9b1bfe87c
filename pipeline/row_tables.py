"""The tables of a run that have its rows: sources, authorships, the user's own."""

from __future__ import annotations

from pathlib import Path

from pipeline.authorships import write_authorships
from pipeline.folding import resolved_path, write_resolved, write_sources
from pipeline.reading import ReadingSettings
from pipeline.rows import StagedRows
from pipeline.tables import RunFrames, entities_of_strings


def write_row_tables(staged: StagedRows, frames: RunFrames, reading: ReadingSettings, folder: Path) -> None:
    """Staged rows, the tables of a result and how rows were read in; files in the folder out.

    Raises:
        AffilError: a file cannot be written.
    """
    sources = folder / "sources.parquet"
    write_sources(staged, sources)
    if reading.authorship:
        write_authorships(staged, reading.authorship, sources, frames, folder / "authorships.parquet")
    by_year = staged.year_column is not None and frames.timeline is not None
    write_resolved(staged, entities_of_strings(frames, is_by_year=by_year), resolved_path(staged, folder))
