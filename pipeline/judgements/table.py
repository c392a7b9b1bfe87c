"""Files of judgements: read from any table a person may have saved, appended to as CSV."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.judgements.judgement import Judgement, Judgements
from pipeline.reading import read_cells
from pipeline.writing import append_csv, safe_cell, write_header, write_text

#: The columns of a file of judgements; `left_id` and `right_id` outrank `left` and `right`.
JUDGEMENT_COLUMNS = ("left_id", "right_id", "left", "right", "verdict", "reason", "judged_by", "judged_at")
#: An answer that says that there is none.
_UNANSWERED = ("", "?", "unsure", "skip")


def read_judgements(path: str | Path) -> Judgements:
    """A table of judgements (CSV, TSV, XLSX, JSONL or Parquet) in, judgements out.

    Columns: `verdict`, and `left`, `right` or `left_id`, `right_id`; further ones are left alone.

    Raises:
        UsageError: no such file, a missing column, an unknown verdict, contradictory judgements.
        AffilError: content that cannot be read.
    """
    columns, rows = _rows(path)
    return Judgements(tuple(_judgement(columns, cells, n, path) for n, cells in enumerate(rows, 1)))


def read_answers(path: str | Path, judged_by: str | None = None, judged_at: str | None = None) -> Judgements:
    """The table of `affil review export` with its column `verdict` filled in, in part or whole; answers out.

    Args:
        path: the table; a verdict that is empty, `?`, `unsure` or `skip` is no answer.
        judged_by: who answered, where the table's own column does not say.
        judged_at: when; by default now.

    Raises:
        UsageError: as for `read_judgements`, and where it is not said who answered.
    """
    columns, rows = _rows(path)
    at = judged_at or datetime.now(UTC).isoformat(timespec="seconds")
    verdict, found = columns.index("verdict"), []
    for n, cells in enumerate(rows, 1):
        if (cells[verdict] or "").strip().casefold() not in _UNANSWERED:
            said = _judgement(columns, cells, n, path)
            who = said.judged_by or judged_by
            if not who:
                raise UsageError(f"{said.place}: who says so? give --by NAME, or fill the column judged_by")
            found.append(Judgement(**vars(said) | {"judged_by": who, "judged_at": said.judged_at or at}))
    return Judgements(tuple(found))


@dataclass(frozen=True)
class Appended:
    """How many judgements were added to a file, and how many it had already said."""

    n_new: int
    n_known: int


def append_judgements(judgements: Judgements, path: str | Path) -> Appended:
    """Judgements in, added at the end of a CSV file; what it held stays, cell for cell.

    A file that is not there is made. What the file says already is not said again.

    Raises:
        UsageError: the file is no CSV file of judgements, or the new judgements contradict it.
        AffilError: it cannot be read or written.
    """
    target = Path(path)
    if target.suffix.lower() != ".csv":
        raise UsageError(f"{target}: judgements are kept as CSV; name a file that ends in .csv")
    columns: list[str] = []
    rows: list[list[str | None]] = []
    old = Judgements()
    if target.exists():
        columns, rows = _rows(target)
        old = read_judgements(target)
    said = {_meaning(j) for j in old.items}
    new = {_meaning(j): j for j in reversed(judgements.items) if _meaning(j) not in said}
    added = Judgements(tuple(reversed(new.values())))
    old + added  # Refuses contradictions before anything is written.
    if new:
        columns += [name for name in JUDGEMENT_COLUMNS if name not in columns]
        write_text(_csv(columns, rows, added), target)
    return Appended(len(added), len(judgements) - len(added))


def _meaning(said: Judgement) -> tuple[str, frozenset[str]]:
    return said.verdict, frozenset((said.left_id, said.right_id))


def _csv(columns: Sequence[str], rows: Sequence[Sequence[str | None]], added: Judgements) -> str:
    """Old rows as they are, new ones safe to open in a spreadsheet."""
    text = io.StringIO(newline="")
    write_header(text, columns)
    cells: list[list[object]] = [[*row, *[None] * (len(columns) - len(row))] for row in rows]
    cells += [[safe_cell(vars(said).get(name)) for name in columns] for said in added.items]
    append_csv(text, list(zip(*cells, strict=True)))
    return text.getvalue()


def _rows(path: str | Path) -> tuple[list[str], list[list[str | None]]]:
    columns, rows = read_cells(path)
    is_by_id = {"left_id", "right_id"} <= set(columns)
    for name in ("verdict", *(() if is_by_id else ("left", "right"))):
        if name not in columns:
            shown = ", ".join(map(repr, columns))
            raise UsageError(f"{path}: no column {name!r}; the columns are: {shown}")
    return columns, rows


def _judgement(
    columns: Sequence[str], cells: Sequence[str | None], number: int, path: str | Path
) -> Judgement:
    return Judgement.from_cells(dict(zip(columns, cells, strict=True)), f"{path} row {number}")
