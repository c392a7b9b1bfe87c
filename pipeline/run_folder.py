"""The run folder: every table of a result, its report and its manifest, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import AffilError, UsageError
from pipeline.writing import unwritable, write_csv, write_json, write_parquet, write_text

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

MANIFEST = "manifest.json"
REPORT = "report.html"
FORMAT = "affiliation-resolver run 1"
_LIBRARIES = ("numpy", "pandas", "pyarrow", "duckdb", "rapidfuzz", "scikit-learn", "scipy", "faiss-cpu", "faiss-gpu")
_LIBRARIES += ("hdbscan", "torch", "transformers", "sentence-transformers")


@dataclass(frozen=True)
class RunFrames:
    """The tables of a result as they are written."""

    mentions: pd.DataFrame
    institutions: pd.DataFrame
    pairs: pd.DataFrame
    set_aside: pd.DataFrame


def check_output(output: Path, fingerprint: str, overwrite: bool) -> bool:
    """Whether the folder already holds this very run (same input, same settings); False where it may be written.

    Raises:
        UsageError: it holds something else, or a run of other input or settings and `overwrite` is not given.
    """
    if output.is_dir() and any(output.iterdir()):
        manifest = read_manifest(output)
        if manifest is None:
            raise UsageError(f"{output} holds something that is no run; choose another --output")
        if manifest.get("fingerprint") == fingerprint:
            return True
        if not overwrite:
            raise UsageError(
                f"{output} holds a run of other input or settings; add --overwrite to replace it,"
                " or choose another --output"
            )
    elif output.exists() and not output.is_dir():
        raise UsageError(f"{output} is a file, not a folder; choose another --output")
    return False


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a run folder, None where the folder is none."""
    try:
        data = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) and data.get("format") == FORMAT else None


@contextmanager
def staged_folder(output: Path) -> Iterator[Path]:
    """A folder beside `output` to write into; takes its place once it has a manifest, and is removed otherwise.

    Raises:
        AffilError: the operating system refuses (no space, no permission, a read-only disk).
    """
    output = output.absolute()
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{output.name[:60]}.partial-", dir=output.parent))
    except OSError as error:
        raise unwritable(error, output) from error
    try:
        yield work
        if (work / MANIFEST).exists():
            _replace(work, output)
    except OSError as error:
        raise unwritable(error, output) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _replace(work: Path, output: Path) -> None:
    """Put the finished folder in the place of the old one; the old one goes only when the new one is there."""
    work.chmod(0o755)
    if not output.exists():
        work.rename(output)
        return
    old = output.with_name(f"{work.name}.old")
    output.rename(old)
    work.rename(output)
    shutil.rmtree(old)


def write_tables(folder: Path, frames: RunFrames) -> None:
    """The four tables as Parquet, mentions and institutions as CSV too."""
    import pyarrow as pa

    for name in ("mentions", "institutions", "pairs", "set_aside"):
        table = pa.Table.from_pandas(getattr(frames, name), schema=_schema(name), preserve_index=False)
        write_parquet(table, folder / f"{name}.parquet")
        if name in ("mentions", "institutions"):
            write_csv(table, folder / f"{name}.csv")


def _schema(name: str) -> pa.Schema:
    """Types of the columns, so that an empty or all-null column has the type of a full one."""
    import pyarrow as pa

    text, whole, real, flag = pa.string(), pa.int64(), pa.float64(), pa.bool_()
    place = {"city": text, "region": text, "country_code": text}
    columns: dict[str, dict[str, pa.DataType]] = {
        "mentions": {
            **{"affiliation_id": text, "affiliation": text, "n_occurrences": whole, "mention_id": text},
            **{"organization": text, "has_organization": flag, "units": text, **place, "role": text},
            **{"entity_id": text, "match_probability": real},
        },
        "institutions": {
            **{"entity_id": text, "preferred_name": text},
            **{"variant_names": pa.list_(text), "acronyms": pa.list_(text), **place},
            **{"n_mentions": whole, "n_occurrences": whole, "confidence": real, "weakest_link": real},
            "has_organization": flag,
        },
        "pairs": {
            **{"left_mention_id": text, "right_mention_id": text, "rule": pa.dictionary(pa.int32(), text)},
            **{"similarity": pa.float32(), "logit": real, "rescored_logit": real, "probability": real},
        },
        "set_aside": {
            **{"string": text, "reason": text, "n_occurrences": whole, "is_whole": flag, "affiliation_id": text},
        },
    }
    return pa.schema(list(columns[name].items()))


def entities_of_strings(frames: RunFrames) -> pa.Table:
    """For each string its main entity: affiliation_id, entity_id, preferred_name, match_probability."""
    import pyarrow as pa

    main = frames.mentions[frames.mentions["role"] == "main"]
    names = dict(zip(frames.institutions["entity_id"], frames.institutions["preferred_name"], strict=True))
    return pa.table(
        {
            "affiliation_id": pa.array(main["affiliation_id"], pa.string()),
            "entity_id": pa.array(main["entity_id"], pa.string()),
            "preferred_name": pa.array([names[e] for e in main["entity_id"]], pa.string()),
            "match_probability": pa.array(main["match_probability"], pa.float64()),
        }
    )


def write_result(folder: Path, frames: RunFrames, manifest: dict[str, Any]) -> None:
    """Tables, report and, last, the manifest, whose presence says that the folder is complete."""
    from pipeline.report import RunTables, render_report

    write_tables(folder, frames)
    full = _with_versions(manifest)
    tables = RunTables(frames.mentions, frames.institutions, frames.pairs, frames.set_aside, full)
    write_text(render_report(tables), folder / REPORT)
    write_json(full, folder / MANIFEST)


def _with_versions(values: dict[str, Any]) -> dict[str, Any]:
    versions = {"python": platform.python_version()}
    for name in ("affiliation-resolver", *_LIBRARIES):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    head = {"format": FORMAT, "created": datetime.now(UTC).isoformat(timespec="seconds"), "versions": versions}
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
