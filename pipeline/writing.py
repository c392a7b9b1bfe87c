"""Writing files whole or not at all: atomic replacement, Parquet, CSV that is safe in a spreadsheet."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import copy_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

from blocking.workers import n_workers
from pipeline.errors import AffilError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

#: A spreadsheet takes a cell that begins with one of these for a formula (OWASP, "CSV injection").
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_FORMULA = "^[=+@\t\r-]"
_BATCH_ROWS = 65_536
#: Rows of a frame that are turned into a table, and into a row group, at a time.
_FRAME_ROWS = 1 << 20
_REMEDIES = {
    errno.ENOSPC: ("no space left", "free some space or choose another --output"),
    errno.EDQUOT: ("no space left in the disk quota", "free some space or choose another --output"),
    errno.EACCES: ("not allowed to write", "choose another --output or change the permissions"),
    errno.EPERM: ("not allowed to write", "choose another --output or change the permissions"),
    errno.EROFS: ("read-only file system", "choose another --output"),
    errno.EISDIR: ("is a folder, not a file", "choose another --output"),
    errno.EEXIST: ("a part of the path is a file, not a folder", "choose another --output"),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", "choose another --output"),
    errno.EFBIG: ("file too large", "raise the file size limit or choose another --output"),
}


def unwritable(error: OSError, path: Path) -> AffilError:
    """An error of the operating system and the file being written → one line with what, where, what to do."""
    known = _REMEDIES.get(error.errno or 0)
    if known:
        return AffilError(f"{known[0]}: {path} ({known[1]})")
    return AffilError(f"cannot write: {path} ({error.strerror or error}; choose another --output)")


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """The wanted path in, a temporary path in the same folder out; renamed at the end, removed on failure.

    Readers see the old file or the whole new one, never a half. The folder is made if it is not there.

    Raises:
        AffilError: the operating system refuses to write (no space, no permission, read-only …).
    """
    wanted = Path(path)
    temporary = wanted.with_name(f".{wanted.name[:100]}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        wanted.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _sync(temporary)
        temporary.replace(wanted)
        _sync_folder(wanted.parent)
    except OSError as error:
        raise unwritable(error, wanted) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    # Makes the rename itself durable; some file systems (and Windows) cannot do it, and nothing is lost then.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def side_by_side() -> Iterator[Callable[..., None]]:
    """What takes a function and its arguments, and calls it in a thread; all are over when the body is.

    Arrow writes and NumPy saves without holding up Python's own work, and disks take their time. With one
    worker each is called at once.

    Raises:
        Exception: what a function raised, that of the first one.
    """
    if n_workers() == 1:
        yield lambda work, *given: work(*given)
        return
    tasks: list[Future[None]] = []
    pool = ThreadPoolExecutor(n_workers())
    try:
        yield lambda work, *given: tasks.append(pool.submit(copy_context().run, work, *given))
        for task in tasks:
            task.result()
    finally:
        pool.shutdown(cancel_futures=True)


def write_text(text: str, path: str | Path) -> None:
    """Text in, a UTF-8 file at `path` out; line ends as they are."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(text.encode("utf-8"))


def write_json(obj: object, path: str | Path) -> None:
    """Plain lists, dicts, strings and finite numbers in, indented UTF-8 JSON at `path` out."""
    write_text(json.dumps(obj, ensure_ascii=False, indent=2, allow_nan=False) + "\n", path)


def write_parquet(table: pa.Table, path: str | Path) -> None:
    """An Arrow table in, a zstd Parquet file at `path` out."""
    import pyarrow.parquet as pq

    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def write_frame(frame: pd.DataFrame, schema: pa.Schema, path: str | Path) -> None:
    """A frame and the types of its columns in, a zstd Parquet file at `path` out; some rows at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    # Categories are many times over what they are of, and figures of many digits seldom come twice.
    repeated = [name for name, kind in frame.dtypes.items() if kind == "category"]
    options: dict[str, Any] = {"compression": "zstd", "use_dictionary": repeated or True}
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema, **options) as writer:
        for start in range(0, max(len(frame), 1), _FRAME_ROWS):
            part = frame.iloc[start : start + _FRAME_ROWS]
            if repeated:
                # By the categories: twenty times as fast as a look at the text of each row.
                writer.write_table(pa.Table.from_pandas(part, preserve_index=False).cast(schema))
            else:
                writer.write_table(pa.Table.from_pandas(part, schema=schema, preserve_index=False))


def write_csv(table: pa.Table, path: str | Path) -> None:
    """An Arrow table in, a UTF-8 CSV file at `path` out; formulas escaped, lists joined with "; "."""
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        handle.write(csv_header(table.column_names))
        for batch in table.to_batches(max_chunksize=_BATCH_ROWS):
            handle.write(csv_lines([safe_cells(column) for column in batch.columns]))


def csv_header(columns: Sequence[str], delimiter: str = ",") -> bytes:
    """Column names in, the first line of a CSV file out, in UTF-8."""
    text = io.StringIO()
    write_header(text, columns, delimiter)
    return text.getvalue().encode("utf-8")


def csv_lines(columns: Sequence[pa.Array], delimiter: str = ",") -> memoryview:
    """Columns of Arrow texts in, their rows as UTF-8 lines of a CSV file out; null is empty.

    Cells are written as they are; `safe_cells` makes them safe to open in a spreadsheet.
    """
    import pyarrow as pa

    # Of texts beyond 2 GB the places take 8 bytes.
    cells = [_quoted(column.cast(pa.large_string()), delimiter, len(columns) == 1) for column in columns]
    lines = _glued(_glued(*cells, by=delimiter), "\n")
    _, places, text = lines.buffers()
    if not len(lines):
        return memoryview(b"")
    ends = memoryview(places).cast("q")[lines.offset :]
    return memoryview(text)[ends[0] : ends[len(lines)]]


def _quoted(column: pa.Array, delimiter: str, is_alone: bool) -> pa.Array:
    """Cells in quotes where a reader would take a part of one for its end; an empty line is no row."""
    import pyarrow.compute as pc

    needs = pc.match_substring_regex(column, f'["\r\n{delimiter}]' + ("|^$" if is_alone else ""))
    if is_alone:
        column, needs = pc.fill_null(column, ""), pc.fill_null(needs, True)
    if not pc.any(needs).as_py():
        return column
    doubled = pc.replace_substring(column, '"', '""')
    return pc.if_else(needs, _glued('"', doubled, '"'), column)


def _glued(*parts: pa.Array | str, by: str = "") -> pa.Array:
    """Columns of texts, and texts, to one column; null is empty."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = pa.large_string()
    scalars = [pa.scalar(p, kind) if isinstance(p, str) else p for p in (*parts, by)]
    return pc.binary_join_element_wise(*scalars, null_handling="replace")


def write_header(handle: TextIO, columns: Sequence[str], delimiter: str = ",") -> None:
    """Column names in, the first line of a CSV file out."""
    append_csv(handle, [[column] for column in columns], delimiter)


def append_csv(handle: TextIO, columns: Sequence[Sequence[object]], delimiter: str = ",") -> None:
    """Columns of strings and numbers in, their rows at the end of an open CSV file out; None is empty.

    Cells are written as they are; `safe_cells` makes them safe to open in a spreadsheet.
    """
    rows = list(zip(*columns, strict=True))
    text = _csv_text(rows, delimiter, csv.QUOTE_MINIMAL)
    # The csv module leaves a lone carriage return unquoted, and a reader would take it for the row's end.
    handle.write(_csv_text(rows, delimiter, csv.QUOTE_ALL) if "\r" in text else text)


def _csv_text(rows: list[tuple[object, ...]], delimiter: str, quoting: Literal[0, 1]) -> str:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter=delimiter, lineterminator="\n", quoting=quoting).writerows(rows)
    return buffer.getvalue()


def safe_cells(column: pa.Array) -> pa.Array:
    """An Arrow column in, CSV cells as texts out; what a spreadsheet would run has an apostrophe first."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_list(column.type) and _are_whole(column.flatten()):
        column = pc.binary_join(column.cast(pa.list_(pa.string())), "; ")
    if pa.types.is_string(column.type):
        is_formula = pc.match_substring_regex(column, _FORMULA)
        if not pc.any(is_formula).as_py():
            return column
        return pc.if_else(is_formula, pc.binary_join_element_wise("'", column, ""), column)
    if pa.types.is_integer(column.type):
        return column.cast(pa.string())
    cells = [safe_cell(value) for value in column.to_pylist()]
    return pa.array([cell if cell is None else str(cell) for cell in cells], pa.string())


def _are_whole(parts: pa.Array) -> bool:
    """Whether all are texts or whole numbers, which Arrow turns into text as Python does."""
    import pyarrow as pa

    is_plain = pa.types.is_string(parts.type) or pa.types.is_integer(parts.type)
    return bool(is_plain and parts.null_count == 0)


def safe_cell(value: object) -> object:
    """One value as a CSV cell; text that a spreadsheet would run gets a leading apostrophe."""
    cell = _plain(value)
    is_text = isinstance(cell, str) and isinstance(value, (str, list, dict))
    return f"'{cell}" if is_text and str(cell).startswith(FORMULA_STARTS) else cell


def _plain(value: object) -> object:
    """A cell that is not text as CSV shows it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, list):
        return "; ".join(str(_plain(part)) for part in value if part is not None)
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return value
