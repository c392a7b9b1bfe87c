"""A lookup job: strings, or files of them, and a finished run in; which institutions they name out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.databases import is_address
from pipeline.errors import UsageError
from pipeline.folding import fold_rows, resolved_path, write_resolved
from pipeline.index import AffiliationIndex
from pipeline.inputs import STDIN
from pipeline.reading import ReadingSettings, stage_rows
from pipeline.records import Affiliations
from pipeline.stage_log import StageLog, Watcher

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

#: What the table tells of an institution, the answer and each alternative.
_PARTS = ("entity_id", "preferred_name", "registry_id", "match_probability")


@dataclass(frozen=True)
class LookupOutcome:
    """Where the table lies, and its figures."""

    file: Path
    n_rows: int
    n_strings: int
    n_found: int


def are_files(given: Sequence[str], output: Path | None) -> bool:
    """Whether arguments name files (or standard input), and not strings to be looked up.

    Raises:
        UsageError: some do and some do not, or files without a place for their table.
    """
    is_file = [g == STDIN or is_address(g) or Path(g).is_file() for g in given]
    if not any(is_file) and output is None:
        return False
    if not all(is_file):
        missing = given[is_file.index(False)]
        raise UsageError(f"no such file: {missing}; give either strings or files with --output")
    if output is None:
        raise UsageError(f"{given[0]} is a file; give --output for its table")
    return True


def look_up(
    run: str | Path, strings: Sequence[str], k: int, *, watch: Watcher | None
) -> list[dict[str, Any]]:
    """Strings to one dict each, as `AffiliationIndex.lookup` tells; null where there is no value.

    Raises:
        UsageError: the folder is no finished run, or its index is broken.
    """
    with StageLog(watch)("open index") as tick:
        index = AffiliationIndex.load(run, on_progress=tick)
    return [
        {
            str(name): None if isinstance(value, float) and value != value else value
            for name, value in row.items()
        }
        for row in index.lookup(list(strings), k).to_dict("records")
    ]


def run_lookup_job(
    run: str | Path,
    inputs: Sequence[str],
    output: str | Path | None,
    reading: ReadingSettings,
    k: int = 3,
    *,
    watch: Watcher | None = None,
) -> LookupOutcome:
    """Input files (or `-`) become one table: their rows with the institution of each.

    Raises:
        UsageError: no finished run, a file or column that is not there, an output of another format.
        AffilError: content that cannot be read, a disk that is full.
    """
    import tempfile

    log, path = StageLog(watch), Path(output or "")
    with log("open index") as tick:
        index = AffiliationIndex.load(run, on_progress=tick)
    with tempfile.TemporaryDirectory(prefix="affil-lookup-") as scratch:
        with log("read") as tick:
            staged = stage_rows(inputs, Path(scratch) / "rows.parquet", reading, tick)
        wanted = resolved_path(staged, path.parent).suffix
        if path.suffix != wanted:
            raise UsageError(f"--output must end in {wanted}, as the input asks for; got {path}")
        strings = fold_rows(staged).affiliations
        with log("look up"):
            found = index.lookup(strings.affiliation, k)
        write_resolved(staged, _entities(strings, found, k), path)
    return LookupOutcome(path, staged.n_rows, len(strings), int(found["entity_id"].notna().sum()))


def _entities(strings: Affiliations, found: pd.DataFrame, k: int) -> pa.Table:
    """Answers as the columns that rows get."""
    import pyarrow as pa

    text = pa.string()
    columns = {
        "affiliation_id": pa.array(strings.affiliation_id, text),
        "entity_id": pa.array(found["entity_id"], text, from_pandas=True),
        "preferred_name": pa.array(found["preferred_name"], text, from_pandas=True),
        "registry_id": pa.array(found["registry_id"], text, from_pandas=True),
        "match_probability": pa.array(found["match_probability"], pa.float64(), from_pandas=True),
    }
    others = found["alternatives"].tolist()
    for i in range(k - 1):
        at = [own[i] if i < len(own) else {} for own in others]
        for part, kind in {n: c.type for n, c in columns.items() if n in _PARTS}.items():
            columns[f"alternative_{i + 1}_{part}"] = pa.array([a.get(part) for a in at], kind)
    return pa.table(columns)
