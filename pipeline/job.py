"""A job: input files in, a run folder out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.artefacts import FOLDED, ROWS, STAGED_ROWS
from pipeline.checkpoints import StageStore
from pipeline.databases import is_address
from pipeline.errors import AffilError, UsageError
from pipeline.export import check_export, export_run
from pipeline.folding import fold_rows, year_warnings
from pipeline.inputs import expanded
from pipeline.judgements import read_judgements
from pipeline.ledger import Generation, Members
from pipeline.reading import ReadingSettings, stage_rows
from pipeline.records import Progress
from pipeline.resolution import Models, resolve
from pipeline.row_tables import write_row_tables
from pipeline.rows import StagedRows
from pipeline.run_folder import (
    check_is_run,
    check_output,
    fingerprint_of,
    finish,
    read_manifest,
    shown_of,
    write_tables,
)
from pipeline.settings import Settings
from pipeline.stage_log import Watcher
from pipeline.stages import KeptStages, model_files
from pipeline.workspace import Workspace, workspace
from pipeline.writing import side_by_side

STDIN = "-"


@dataclass(frozen=True)
class JobOutcome:
    """Where the run lies, its manifest, and whether it was there already."""

    folder: Path
    manifest: dict[str, Any]
    was_finished: bool
    #: Tables that a database has of it, where one was asked for.
    tables: tuple[str, ...] = ()


def run_job(
    inputs: Sequence[str],
    output: str | Path,
    settings: Settings | None = None,
    reading: ReadingSettings | None = None,
    *,
    judgements: str | Path | None = None,
    previous: str | Path | None = None,
    overwrite: bool = False,
    watch: Watcher | None = None,
) -> JobOutcome:
    """Input files, tables of a DuckDB file, or `-` become a run folder, all of it or nothing.

    The same input, settings and judgements again, into the same folder, are not run again. Institutions of
    the run `previous` that go on keep their ids, and the ledger tells what became of the others. A run that
    was killed goes on where it stopped; one with other settings redoes what depends on them.

    Raises:
        UsageError: a file, column, setting or output folder is not what it should be.
        AffilError: content that cannot be read, a model that cannot be loaded, a disk that is full, another
            process at work on the same folder.
    """
    settings, reading, folder = settings or Settings(), reading or ReadingSettings(), Path(output)
    inputs = expanded(inputs)
    _require_text(inputs)
    if reading.year_column is not None and settings.linking.registry is None:
        raise UsageError("--year-column asks a registry for the record of a year; give --registry FILE")
    said = read_judgements(judgements) if judgements is not None else None
    source = _inputs_fingerprint(inputs, reading)
    judged = "none" if judgements is None else fingerprint_of([Path(judgements)], {})
    before = Generation.read(previous) if previous is not None else None
    besides = [judged, before.fingerprint if before else None]
    early = source and _run_fingerprint(source, settings, besides)
    if not Workspace.of(folder).home.exists():
        if early and check_output(folder, early, overwrite):
            return JobOutcome(folder, read_manifest(folder) or {}, was_finished=True)
        check_is_run(folder)
    with workspace(folder) as place:
        if early and check_output(folder, early, overwrite):
            return JobOutcome(folder, read_manifest(folder) or {}, was_finished=True)
        check_is_run(folder)
        store = StageStore(place.stages, place.earlier_stages)
        log = KeptStages(watch, store=store, settings=settings, more={"inputs": source, "judgements": judged})
        with log("load models"):
            models = Models.load(settings)
        staged = _read(inputs, reading, log)
        fingerprint = early or _run_fingerprint(log.digest("read"), settings, besides)
        if not early and check_output(folder, fingerprint, overwrite):
            return JobOutcome(folder, read_manifest(folder) or {}, was_finished=True)
        folded = log.run("fold rows", lambda _: fold_rows(staged), FOLDED)
        result = resolve(folded, settings, judgements=said, models=models, stage_log=log)
        if before:
            result = replace(result, consolidated=before.carried(result.consolidated))
        with log("write"), side_by_side() as call:
            frames = result.frames
            call(write_row_tables, staged, frames, reading, place.result)
            write_tables(place.result, frames, call)
            if before:
                call(before.write_next, Members.of(result.consolidated), fingerprint, place.result)
            report = shown_of(frames, result.reasons)
            warnings = [*staged.warnings, *year_warnings(staged), *result.warnings]
        manifest = result.manifest | {
            "fingerprint": fingerprint,
            "inputs": list(inputs),
            "reading": vars(reading) | {"column": staged.column},
            "judgements": None if judgements is None else str(judgements),
            "previous": None if previous is None else str(previous),
            "added": [],
            "generation": before.number + 1 if before else 0,
            "warnings": warnings,
        }
        finish(place.result, frames, manifest, report)
    return JobOutcome(folder, read_manifest(folder) or {}, was_finished=False)


def run_job_into(
    into: str, inputs: Sequence[str], output: str | Path, *, overwrite: bool = False, **options: Any
) -> JobOutcome:
    """As `run_job`, whose options it takes; the tables then go into a DuckDB file, `duckdb:///FILE`, too.

    Raises:
        UsageError, AffilError: as for `run_job`; or tables are in the way, which is found before the work,
            or the database cannot be written, and then the run is complete in its folder.
    """
    check_export(into, inputs, output, overwrite=overwrite)
    outcome = run_job(inputs, output, overwrite=overwrite, **options)
    try:
        return replace(outcome, tables=tuple(export_run(outcome.folder, into, overwrite=overwrite)))
    except AffilError as error:
        done = f"The run is complete in {outcome.folder}: the same command again goes on"
        raise type(error)(f"{error}. {done}") from error


def _read(inputs: Sequence[str], reading: ReadingSettings, log: KeptStages) -> StagedRows:
    """All rows of the inputs in one file, which is part of the stage."""

    def read(tick: Progress | None) -> StagedRows:
        return stage_rows(inputs, log.store.begin("read") / ROWS, reading, tick)

    return replace(log.run("read", read, STAGED_ROWS), path=log.store.path("read") / ROWS)


def _inputs_fingerprint(inputs: Sequence[str], reading: ReadingSettings) -> str | None:
    """Names the content of the inputs and how they are read; None of a stream: it is gone once read."""
    if any(_is_stream(given) for given in inputs):
        return None
    # The end of a name says what format it is.
    kinds = [Path(given.removesuffix(".gz")).suffix for given in inputs]
    return fingerprint_of([*map(Path, inputs)], {"reading": vars(reading), "kinds": kinds})


def _run_fingerprint(source: str, settings: Settings, besides: Sequence[str | None]) -> str:
    """Names all that the result of a run depends on, but for the version of the code."""
    models = [path for section in settings.to_dict() for path in model_files(settings, section)]
    asked = {"source": source, "settings": settings.to_dict(), "besides": besides}
    return fingerprint_of(models, asked)


def _is_stream(given: str) -> bool:
    """Standard input, a pipe, `<(command)`: what is gone once it is read; a table of a database."""
    path = Path(given)
    return is_address(given) or given == STDIN or path.is_fifo() or path.is_char_device()


def _require_text(names: Sequence[str]) -> None:
    """Refuse file names that no table nor manifest can hold."""
    for name in names:
        shown = name.encode("utf-8", "backslashreplace").decode("utf-8")
        if shown != name:
            raise UsageError(f"the file name {shown} is not valid UTF-8; rename the file")
