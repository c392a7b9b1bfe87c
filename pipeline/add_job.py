"""An adding job: a finished run and files of new rows in, the same run with these rows out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from blocking import engine
from pipeline.clustering import KMEANS
from pipeline.errors import UsageError
from pipeline.explanation import PairReasons
from pipeline.folding import fold_rows
from pipeline.growth import Grown, grow, prepared
from pipeline.index import AffiliationIndex
from pipeline.index.columns import forms_of
from pipeline.index.store import write_store
from pipeline.inputs import expanded
from pipeline.ledger import Generation
from pipeline.linking import load_registry
from pipeline.processes import meanwhile
from pipeline.reading import ReadingSettings, stage_rows
from pipeline.records import Affiliations
from pipeline.row_tables import write_row_tables
from pipeline.rows import FILE, ROW, StagedRows, field_name
from pipeline.run_folder import (
    INDEX,
    fingerprint_of,
    finish,
    read_frames,
    read_manifest,
    read_settings,
    read_strings,
    shown_of,
    write_tables,
)
from pipeline.scoring import PairFeatures
from pipeline.settings import Settings
from pipeline.stage_log import StageLog, Watcher
from pipeline.tables import resolved_columns
from pipeline.workspace import staged_folder
from pipeline.writing import side_by_side

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class AddOutcome:
    """The run, its manifest, what came, and whether the very same rows had come before."""

    folder: Path
    manifest: dict[str, Any]
    n_rows: int
    n_new_strings: int
    was_added: bool


def run_add_job(
    run: str | Path,
    inputs: Sequence[str],
    *,
    column: str | None = None,
    encoding: str | None = None,
    again: bool = False,
    watch: Watcher | None = None,
) -> AddOutcome:
    """Rows of input files (or `-`) become rows of a finished run, all of them or none.

    Entity ids go on by overlap, and the ledger of the run tells what happened. Rows that came before, file
    for file, are not added twice.

    Args:
        run: the output folder of `affil resolve`.
        inputs: files with the columns of the run's own; further columns are added.
        column: the column of affiliations, where it is called otherwise than in the run.
        encoding: of text files; else detected.
        again: add the same rows once more, if they came before.
        watch: told of every stage.

    Raises:
        UsageError: no finished run, one that cannot grow, a file or a column that is not there.
        AffilError: content that cannot be read, a disk that is full.
    """
    folder, log = Path(run), StageLog(watch)
    settings, manifest = read_settings(folder), read_manifest(folder) or {}
    resolved = _check_can_grow(folder, settings)
    with staged_folder(folder) as work, ExitStack() as stack:
        with log("read") as tick:
            reading = _reading(manifest, column, encoding)
            fresh = stage_rows(expanded(inputs), work / ".new.parquet", reading, tick)
            content = fingerprint_of([fresh.path], {})
            if not again and any(one["content"] == content for one in manifest.get("added", [])):
                return AddOutcome(folder, manifest, fresh.n_rows, 0, was_added=True)
            unseen = _unseen(fold_rows(fresh).affiliations, folder)
            # Python's own work, while others read what the run has.
            work_on_texts = partial(prepared, unseen, settings)
            parsed = stack.enter_context(meanwhile(work_on_texts, len(unseen)))
            staged = _joined(_old_rows(resolved, manifest, reading.years, work), fresh, folder)
        with log("fold rows"):
            folded = fold_rows(staged)
        with log("open index") as tick:
            before, registry = Generation.read(folder), load_registry(settings.linking)
            index, old = AffiliationIndex.load(folder, on_progress=tick), read_frames(folder)
        with log("parse") as tick:
            new = parsed(tick)
        grown = grow(index, old, before, folded, new, log, registry=registry)
        fingerprint = fingerprint_of([fresh.path], {"previous": before.fingerprint})
        with log("write"):
            with side_by_side() as call:
                call(write_store, work / INDEX, grown.tables, fingerprint, grown.encoder, index.store)
                call(write_row_tables, staged, grown.frames, reading, work)
                write_tables(work, grown.frames, call)
                call(before.write_next, grown.members, fingerprint, work)
                report = shown_of(grown.frames, _reasons(grown, index))
            for path in work.glob(".*.parquet"):
                path.unlink()
        given = list(map(str, inputs))
        own = {
            "fingerprint": fingerprint,
            "inputs": [*manifest.get("inputs", []), *given],
            "added": [*manifest.get("added", []), {"inputs": given, "content": content}],
            "generation": before.number + 1,
            "counts": grown.counts,
            "engine": engine.current().description,
            "stages": log.stages,
            "seconds": log.seconds,
            "warnings": list(dict.fromkeys([*manifest.get("warnings", []), *fresh.warnings])),
        }
        kept = {k: v for k, v in manifest.items() if k not in ("created", "versions", "evaluation")}
        finish(work, grown.frames, kept | own, report)
    return AddOutcome(folder, read_manifest(folder) or {}, fresh.n_rows, grown.n_new, was_added=False)


def _unseen(strings: Affiliations, folder: Path) -> Affiliations:
    """The strings that the run has not seen: neither as mentions nor set aside whole."""
    seen = read_strings(folder)
    kept = [i for i, key in enumerate(strings.affiliation_id) if key not in seen]
    return Affiliations(
        [strings.affiliation_id[i] for i in kept],
        [strings.affiliation[i] for i in kept],
        strings.n_occurrences[np.array(kept, np.int64)],
    )


def _check_can_grow(folder: Path, settings: Settings) -> Path:
    """The user's own table of the run."""
    again = f"resolve all rows with --previous {folder} instead, and ids go on"
    if settings.clustering.clusterer == KMEANS:
        raise UsageError(f"{folder} was clustered by kmeans, which cannot take new strings; {again}")
    found = [folder / f"resolved.{suffix}" for suffix in ("csv", "tsv", "parquet")]
    for path in found:
        if path.is_file():
            return path
    raise UsageError(f"{folder} has no table of yours (resolved.csv); it was not made by `affil resolve`")


def _reading(manifest: dict[str, Any], column: str | None, encoding: str | None) -> ReadingSettings:
    """How new rows are read: as those of the run, but for what is asked otherwise."""
    said = manifest.get("reading", {})
    authors = said.get("author_columns")
    works = said.get("works")
    return ReadingSettings(
        column=None if works else column or said.get("column"),
        id_column=said.get("id_column"),
        count_column=said.get("count_column"),
        encoding=encoding,
        author_columns=tuple(authors) if authors else None,
        works=works,
        year_column=said.get("year_column"),
    )


def _old_rows(resolved: Path, manifest: dict[str, Any], year_column: str | None, work: Path) -> StagedRows:
    """The user's own rows and columns, from the table that the run gave back."""
    said = manifest.get("reading", {})
    text = None if resolved.suffix == ".parquet" else "utf-8"
    names = {n: said.get(n) for n in ("column", "id_column", "count_column")}
    reading = ReadingSettings(**names, encoding=text, year_column=year_column)
    staged = stage_rows([resolved], work / ".old.parquet", reading)
    has_registry = read_settings(resolved.parent).linking.registry is not None
    n_added = len(resolved_columns(has_registry=has_registry, is_by_year=year_column is not None))
    return replace(staged, columns=staged.columns[:-n_added])


def _joined(old: StagedRows, new: StagedRows, folder: Path) -> StagedRows:
    """Rows of both, one after the other; columns that only one has are empty in the other's rows.

    Raises:
        UsageError: a column of the new rows has another type, as only Parquet has types.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    # Whatever the new file calls its affiliations, here they have the run's name for them.
    names = [old.column if name == new.column else name for name in new.columns]
    columns = (*old.columns, *(name for name in names if name not in old.columns))
    known, fresh = pq.read_schema(old.path), pq.read_schema(new.path)
    kinds = [
        known.field(field_name(i)).type if i < len(old.columns) else _kind(fresh, names.index(name), old)
        for i, name in enumerate(columns)
    ]
    schema = pa.schema(
        [*((field_name(i), kind) for i, kind in enumerate(kinds)), (ROW, pa.int64()), (FILE, pa.string())]
    )
    target = old.path.with_name(".rows.parquet")
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        for batch in pq.ParquetFile(old.path).iter_batches():
            arrays = [batch.column(field_name(i)) for i in range(len(old.columns))]
            arrays += [pa.nulls(len(batch), kind) for kind in kinds[len(old.columns) :]]
            writer.write_batch(_batch([*arrays, batch.column(ROW), batch.column(FILE)], schema))
        for batch in pq.ParquetFile(new.path).iter_batches():
            arrays = [
                _cast(batch.column(field_name(names.index(name))), kind, name, folder)
                if name in names
                else pa.nulls(len(batch), kind)
                for name, kind in zip(columns, kinds, strict=True)
            ]
            rows = pa.compute.add(batch.column(ROW), old.n_rows)
            writer.write_batch(_batch([*arrays, rows, batch.column(FILE)], schema))
    return replace(old, path=target, columns=columns, n_rows=old.n_rows + new.n_rows)


def _kind(schema: pa.Schema, number: int, old: StagedRows) -> pa.DataType:
    """The type of a column that only new rows have: text where the run's table is text."""
    import pyarrow as pa

    kind = schema.field(field_name(number)).type
    return kind if old.kind == "parquet" else pa.string()


def _batch(arrays: list[pa.Array], schema: pa.Schema) -> pa.RecordBatch:
    import pyarrow as pa

    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _cast(array: pa.Array, kind: pa.DataType, name: str, folder: Path) -> pa.Array:
    import pyarrow as pa

    try:
        return array.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise UsageError(
            f"column {name!r} is {array.type} in the new rows, but {kind} in {folder}; make them the same"
        ) from error


def _reasons(grown: Grown, index: AffiliationIndex) -> Callable[..., Any]:
    """What features say of the pairs that the report shows."""
    import pyarrow as pa
    import pyarrow.compute as pc

    table = grown.tables["mentions"]

    def reasons(left: Sequence[str], right: Sequence[str]) -> list[list[tuple[str, float]]]:
        ids = sorted({*left, *right})
        rows = pc.index_in(pa.array(ids, pa.string()), value_set=table.column("mention_id").combine_chunks())
        forms = forms_of(table.take(rows), index.settings.normalization.known_names)
        features = PairFeatures(forms, index.vocabulary(forms))
        return PairReasons(features, ids, index.settings.scoring.model)(left, right)

    return reasons
