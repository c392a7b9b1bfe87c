"""A job: input files in, a run folder out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.folding import fold_rows, resolved_path, write_resolved, write_sources
from pipeline.reading import ReadingSettings, stage_rows
from pipeline.resolution import resolve
from pipeline.run_folder import (
    check_output,
    entities_of_strings,
    fingerprint_of,
    read_manifest,
    staged_folder,
    write_result,
)
from pipeline.settings import Settings
from pipeline.stage_log import StageLog, Watcher

STDIN = "-"


@dataclass(frozen=True)
class JobOutcome:
    """Where the run lies, its manifest, and whether it was there already."""

    folder: Path
    manifest: dict[str, Any]
    was_finished: bool


def run_job(
    inputs: Sequence[str],
    output: str | Path,
    settings: Settings | None = None,
    reading: ReadingSettings | None = None,
    *,
    overwrite: bool = False,
    watch: Watcher | None = None,
) -> JobOutcome:
    """Input files (or `-`) become a run folder, all of it or nothing.

    The same input and settings again, into the same folder, are not run again.

    Raises:
        UsageError: a file, column, setting or output folder is not what it should be.
        AffilError: content that cannot be read, a model that cannot be loaded, a disk that is full.
    """
    settings, reading, folder = settings or Settings(), reading or ReadingSettings(), Path(output)
    asked = {"settings": settings.to_dict(), "reading": vars(reading)}
    # Standard input can be read only once: its fingerprint is that of the staged rows.
    early = None if STDIN in inputs else fingerprint_of([Path(i) for i in inputs], asked)
    if early and check_output(folder, early, overwrite):
        return JobOutcome(folder, read_manifest(folder) or {}, was_finished=True)
    if folder.exists():
        check_output(folder, "", overwrite=True)
    log = StageLog(watch)
    with staged_folder(folder) as work:
        with log("read") as tick:
            staged = stage_rows(inputs, work / ".rows.parquet", reading, tick)
        fingerprint = early or fingerprint_of([staged.path], asked)
        if not early and check_output(folder, fingerprint, overwrite):
            return JobOutcome(folder, read_manifest(folder) or {}, was_finished=True)
        with log("fold rows"):
            folded = fold_rows(staged)
        result = resolve(folded, settings, stage_log=log)
        with log("write"):
            write_sources(staged, work / "sources.parquet")
            write_resolved(staged, entities_of_strings(result.frames), resolved_path(staged, work))
            staged.path.unlink()
        manifest = result.manifest | {
            "fingerprint": fingerprint,
            "inputs": [str(i) for i in inputs],
            "reading": vars(reading) | {"column": staged.column},
            "warnings": [*staged.warnings, *result.warnings],
        }
        write_result(work, result.frames, manifest)
    return JobOutcome(folder, read_manifest(folder) or {}, was_finished=False)
