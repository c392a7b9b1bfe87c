"""A job: input files in, a run folder out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from blocking.encoders import AUTO
from pipeline.authorships import write_authorships
from pipeline.databases import is_address
from pipeline.errors import AffilError, UsageError
from pipeline.export import check_export, export_run
from pipeline.folding import fold_rows, resolved_path, write_resolved, write_sources, year_warnings
from pipeline.inputs import expanded
from pipeline.judgements import read_judgements
from pipeline.ledger import Generation, Members
from pipeline.model_list import encoder_source, reranker_source
from pipeline.reading import ReadingSettings, stage_rows
from pipeline.resolution import Models, resolve
from pipeline.run_folder import (
    check_is_run,
    check_output,
    fingerprint_of,
    finish,
    read_manifest,
    staged_folder,
    write_tables,
)
from pipeline.settings import Settings
from pipeline.stage_log import StageLog, Watcher
from pipeline.tables import entities_of_strings

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
    the run `previous` that go on keep their ids, and the ledger tells what became of the others.

    Raises:
        UsageError: a file, column, setting or output folder is not what it should be.
        AffilError: content that cannot be read, a model that cannot be loaded, a disk that is full.
    """
    settings, reading, folder = settings or Settings(), reading or ReadingSettings(), Path(output)
    inputs = expanded(inputs)
    _require_text(inputs)
    if reading.year_column is not None and settings.linking.registry is None:
        raise UsageError("--year-column asks a registry for the record of a year; give --registry FILE")
    asked: dict[str, Any] = {"settings": settings.to_dict(), "reading": vars(reading)}
    said = read_judgements(judgements) if judgements is not None else None
    besides = _model_files(settings)
    if judgements is not None:
        asked["judgements"] = True
        besides.append(Path(judgements))
    before = Generation.read(previous) if previous is not None else None
    if before:
        asked["previous"] = before.fingerprint
    # A stream can be read only once, and a database changes when we write to it: the fingerprint is that
    # of the staged rows.
    is_stream = any(_is_stream(i) for i in inputs)
    early = None if is_stream else fingerprint_of([*map(Path, inputs), *besides], asked)
    if early and check_output(folder, early, overwrite):
        return JobOutcome(folder, read_manifest(folder) or {}, was_finished=True)
    check_is_run(folder)
    log = StageLog(watch)
    with log("load models"):
        models = Models.load(settings)
    with staged_folder(folder) as work:
        with log("read") as tick:
            staged = stage_rows(inputs, work / ".rows.parquet", reading, tick)
        fingerprint = early or fingerprint_of([staged.path, *besides], asked | {"column": staged.column})
        if not early and check_output(folder, fingerprint, overwrite):
            return JobOutcome(folder, read_manifest(folder) or {}, was_finished=True)
        with log("fold rows"):
            folded = fold_rows(staged)
        result = resolve(folded, settings, judgements=said, models=models, stage_log=log)
        if before:
            result = replace(result, consolidated=before.carried(result.consolidated))
        with log("write"):
            write_sources(staged, work / "sources.parquet")
            if reading.authorship:
                sources, authorships = work / "sources.parquet", work / "authorships.parquet"
                write_authorships(staged, reading.authorship, sources, result.frames, authorships)
            by_year = staged.year_column is not None and settings.linking.registry is not None
            entities = entities_of_strings(result.frames, is_by_year=by_year)
            write_resolved(staged, entities, resolved_path(staged, work))
            write_tables(work, result.frames)
            if before:
                before.write_next(Members.of(result.consolidated), fingerprint, work)
            warnings = [*staged.warnings, *year_warnings(staged), *result.warnings]
            staged.path.unlink()
        manifest = result.manifest | {
            "fingerprint": fingerprint,
            "inputs": list(inputs),
            "reading": vars(reading) | {"column": staged.column},
            "judgements": None if judgements is None else str(judgements),
            "previous": None if previous is None else str(previous),
            "generation": before.number + 1 if before else 0,
            "warnings": warnings,
        }
        finish(work, result.frames, manifest, result.reasons)
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


def _is_stream(given: str) -> bool:
    """Standard input, a pipe, `<(command)`: what is gone once it is read; a table of a database."""
    path = Path(given)
    return is_address(given) or given == STDIN or path.is_fifo() or path.is_char_device()


def _model_files(settings: Settings) -> list[Path]:
    """Files of the models, shipped or named by path: with a model fitted again, a run is another run."""
    blocking, scoring = settings.blocking, settings.scoring
    shipped = files("pipeline") / "models"
    named: tuple[str | None, ...] = (
        encoder_source(blocking.encoder),
        reranker_source(scoring.reranker),
        scoring.model,
        settings.calibration.file,
        settings.parsing.model,
        str(shipped / "pair_scorer"),
        str(shipped / "parser"),
        str(shipped / "encoder") if blocking.encoder == AUTO else None,
    )
    if settings.linking.registry:
        named += settings.linking.registry, settings.linking.model or str(shipped / "linker")
    found = []
    for path in (Path(name).expanduser() for name in named if name):
        found += (
            sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path] * path.is_file()
        )
    return found


def _require_text(names: Sequence[str]) -> None:
    """Refuse file names that no table nor manifest can hold."""
    for name in names:
        shown = name.encode("utf-8", "backslashreplace").decode("utf-8")
        if shown != name:
            raise UsageError(f"the file name {shown} is not valid UTF-8; rename the file")
