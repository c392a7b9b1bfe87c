"""The run folder: every table of a result, its report and its manifest, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.checkpoints import own_version
from pipeline.errors import AffilError, UsageError
from pipeline.rows import list_of, parquet_table
from pipeline.settings import Settings
from pipeline.tables import TABLES, RunFrames, schema_of
from pipeline.writing import write_csv, write_frame, write_json, write_text

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.evaluation import Evaluation
    from pipeline.report import Reasons, RunTables, Shown

MANIFEST = "manifest.json"
REPORT = "report.html"
#: Folder of the finished stages, which may be deleted: the run stays whole without it.
STAGES = "stages"
FORMAT = "affiliation-resolver run 1"
#: Folder of what new strings are compared with; made when it is first asked for.
INDEX = "index"
#: What `format` begins with in every version.
_FAMILY = "affiliation-resolver run "
#: Tables that are there as CSV too, for people.
_ALSO_CSV = ("mentions", "institutions")
#: What a finished run always has, and what it may have besides.
_FILES = frozenset([MANIFEST, REPORT, *(f"{t}.parquet" for t in TABLES), *(f"{t}.csv" for t in _ALSO_CSV)])
_MORE_FILES = frozenset(
    [
        "sources.parquet",
        "judgements.parquet",
        "timeline.parquet",
        "authorships.parquet",
        "ledger.parquet",
        "resolved.csv",
        "resolved.tsv",
        "resolved.parquet",
        INDEX,
        STAGES,
    ]
)
#: All that a run folder may hold.
RUN_NAMES = _FILES | _MORE_FILES
_LIBRARIES = (
    *("numpy", "pandas", "pyarrow", "duckdb", "rapidfuzz", "scikit-learn", "scipy", "faiss-cpu", "faiss-gpu"),
    *("hdbscan", "torch", "transformers", "sentence-transformers", "ray"),
)


def check_output(output: Path, fingerprint: str, overwrite: bool) -> bool:
    """Whether the folder holds this very run (same input, same settings); False where it may be written.

    Raises:
        UsageError: it holds something else, or a run of other input, settings or version, and `overwrite` is
            not given.
    """
    manifest = check_is_run(output)
    if manifest is None:
        return False
    present, is_same = _names_in(output), manifest.get("fingerprint") == fingerprint
    maker, own = manifest.get("version") or own_version(), own_version()
    if is_same and maker != own and not overwrite:
        raise UsageError(
            f"{output} holds this run as affiliation-resolver {maker} made it, and this is {own};"
            " add --overwrite to make it again, or choose another --output"
        )
    # A run that lost a file is made again.
    if is_same and maker == own and present >= _FILES:
        return True
    if not is_same and not overwrite:
        raise UsageError(
            f"{output} holds a run of other input or settings; add --overwrite to replace it,"
            " or choose another --output"
        )
    strangers = sorted(present - RUN_NAMES)
    if strangers:
        raise UsageError(
            f"{output} holds files that are not of the run and would be deleted ({', '.join(strangers[:3])});"
            " move them, or choose another --output"
        )
    return False


def check_is_run(output: Path) -> dict[str, Any] | None:
    """The manifest of the run that the folder holds, None where there is no such folder or nothing in it.

    Raises:
        UsageError: it is a file, or holds something that is no run.
    """
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output} is a file, not a folder; choose another --output")
    if not output.is_dir() or not _names_in(output):
        return None
    manifest = read_manifest(output)
    if manifest is None:
        raise UsageError(f"{output} holds something that is no run; choose another --output")
    return manifest


def is_replaceable(output: Path) -> bool:
    """Whether there is nothing, or nothing but a run, in the way of a new one."""
    return not output.exists() or (output.is_dir() and _names_in(output) <= RUN_NAMES)


def _names_in(folder: Path) -> set[str]:
    """What a person put there: not what systems leave (`.DS_Store`, `lost+found`), nor our own half."""
    return {p.name for p in folder.iterdir() if not p.name.startswith(".") and p.name != "lost+found"}


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a run folder, None where the folder is none.

    Raises:
        UsageError: it is a run folder of a version that lays it out otherwise.
    """
    try:
        data = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    found = data.get("format") if isinstance(data, dict) else None
    if isinstance(found, str) and found.startswith(_FAMILY) and found != FORMAT:
        raise UsageError(
            f"{folder} was made by affiliation-resolver {data.get('version')} in the format {found!r};"
            f" this is {own_version()} and reads {FORMAT!r}: use that version, or choose another folder"
        )
    return data if found == FORMAT else None


def write_tables(folder: Path, frames: RunFrames, call: Callable[..., None]) -> None:
    """The tables as Parquet, mentions and institutions as CSV too; `call` as `side_by_side` gives it."""
    for name in (*TABLES, "judgements", "timeline"):
        frame = getattr(frames, name)
        if frame is None:
            continue
        call(write_frame, frame, schema_of(frame), folder / f"{name}.parquet")
        if name in _ALSO_CSV:
            call(_write_csv, frame, folder / f"{name}.csv")


def _write_csv(frame: pd.DataFrame, path: Path) -> None:
    import pyarrow as pa

    write_csv(pa.Table.from_pandas(frame, schema=schema_of(frame), preserve_index=False), path)


def read_frames(folder: str | Path) -> RunFrames:
    """The folder of a finished run in, its tables with all their columns out.

    Raises:
        UsageError: the folder is no finished run, or a table of it cannot be read.
    """
    root = Path(folder)
    if read_manifest(root) is None:
        raise UsageError(f"{root} is no finished run; give the output folder of `affil resolve`")
    with _readable(root):
        # Millions of pairs name each mention many times over: kept as categories.
        repeated = {"pairs": ["left_mention_id", "right_mention_id"]}
        tables = {t: parquet_table(root / f"{t}.parquet", dictionary=repeated.get(t)) for t in TABLES}
        more = [t for t in ("judgements", "timeline") if (root / f"{t}.parquet").exists()]
        tables |= {t: parquet_table(root / f"{t}.parquet") for t in more}
        return RunFrames(**{name: table.to_pandas() for name, table in tables.items()})


def read_strings(folder: Path) -> set[str]:
    """The folder of a finished run in, the ids of its strings out, of those that were set aside whole too.

    Raises:
        UsageError: a table of it cannot be read.
    """
    import pyarrow.compute as pc

    with _readable(folder):
        mentions = parquet_table(folder / "mentions.parquet", ["affiliation_id"])
        aside = parquet_table(folder / "set_aside.parquet", ["affiliation_id", "is_whole"])
        whole = aside.filter(pc.and_(aside.column("is_whole"), pc.is_valid(aside.column("affiliation_id"))))
    return {i for table in (mentions, whole) for i in list_of(table.column("affiliation_id"))}


@contextmanager
def _readable(root: Path) -> Iterator[None]:
    """A table of a run that is missing or broken, as one line."""
    import pyarrow as pa

    try:
        yield
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"{root}: a table is missing or broken ({reason}); run again") from error


def read_settings(folder: str | Path) -> Settings:
    """The folder of a finished run in, the settings it was made with out.

    Raises:
        UsageError: the folder is no finished run, or one with settings that this version does not have.
    """
    manifest = read_manifest(Path(folder))
    if manifest is None:
        raise UsageError(f"{folder} is no finished run; give the output folder of `affil resolve`")
    return Settings.from_dict(manifest.get("settings", {}), f"{folder}/{MANIFEST}")


def shown_of(frames: RunFrames, reasons: Reasons | None = None) -> Shown:
    """What the report of a run shows of its tables: all but the manifest."""
    from pipeline.report import shown

    return shown(frames.mentions, frames.institutions, frames.pairs, reasons)


def finish(folder: Path, frames: RunFrames, manifest: dict[str, Any], report: Shown) -> None:
    """Report and, last, the manifest, whose presence says that the folder is complete."""
    from pipeline.report import RunTables, render_report

    full = _with_versions(manifest)
    tables = RunTables(frames.mentions, frames.institutions, frames.pairs, frames.set_aside, full)
    write_text(render_report(tables, report), folder / REPORT)
    write_json(full, folder / MANIFEST)


def save_evaluation(run: str | Path, tables: RunTables, evaluation: Evaluation) -> None:
    """Keep the figures of an evaluation in a finished run: in its manifest (`evaluation`) and its report.

    Raises:
        AffilError: the folder cannot be written.
    """
    from pipeline.report import render_report

    manifest = tables.manifest | {"evaluation": _figures(evaluation)}
    write_text(render_report(replace(tables, manifest=manifest)), Path(run) / REPORT)
    write_json(manifest, Path(run) / MANIFEST)


def _figures(evaluation: Evaluation) -> dict[str, int | float]:
    """One number a name, as the report shows them."""
    found: dict[str, int | float] = {m.name: m.value for m in evaluation.measures}
    found |= {"n_gold_strings": evaluation.n_strings, "n_missing": evaluation.n_missing}
    if evaluation.calibration is not None:
        found["expected_calibration_error"] = evaluation.calibration.expected_calibration_error
    if evaluation.blocking is not None and evaluation.blocking.pair_completeness is not None:
        found["pair_completeness"] = evaluation.blocking.pair_completeness
    return found


def _with_versions(values: dict[str, Any]) -> dict[str, Any]:
    versions = {"python": platform.python_version()}
    for name in ("affiliation-resolver", *_LIBRARIES):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    head = {
        "format": FORMAT,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions,
    }
    return head | {"version": versions.get("affiliation-resolver")} | values


def fingerprint_of(inputs: Sequence[Path], settings: dict[str, Any]) -> str:
    """16 hex digits that name the content of the input files and the settings."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=list).encode())
    for path in inputs:
        try:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "blake2b").digest())
        except IsADirectoryError as error:
            raise UsageError(f"{path} is a folder; name the files in it") from error
        except FileNotFoundError as error:
            raise UsageError(f"no such file: {path}") from error
        except OSError as error:
            raise AffilError(f"cannot read {path}: {error.strerror or error}") from error
    return digest.hexdigest()[:16]
