"""Input formats: each reader takes one file and gives its column names and its rows in Arrow batches."""

from __future__ import annotations

import csv
import gzip
import json
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, time
from itertools import islice
from typing import TYPE_CHECKING, TextIO, cast

from pipeline.databases import read_rows
from pipeline.errors import AffilError
from pipeline.inputs import InputFile
from pipeline.rows import escape_surrogates, field_name, text_array

if TYPE_CHECKING:
    import pyarrow as pa

#: The column that a plain text file is taken to have.
TEXT_COLUMN = "affiliation"
_FIRST_ROWS, _MAX_ROWS, _BATCH_BYTES = 16, 65_536, 1 << 24


@dataclass
class Rows:
    """What a reader gives: names, batches whose columns stand in that order, and what came up on the way."""

    columns: tuple[str, ...]
    batches: Iterator[pa.RecordBatch]
    #: Column → line of its first nested value, which is kept as JSON text.
    nested: dict[str, int] = field(default_factory=dict)


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Errors of libraries that read a broken file → one `AffilError` that names the file."""
    import pyarrow as pa

    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise AffilError(f"{name} is truncated or not gzip ({error}); fetch or pack it again") from error
    except (pa.ArrowException, OSError) as error:
        # Arrow raises a bare OSError for broken content; the operating system's own has a number.
        if isinstance(error, OSError) and error.errno is not None:
            raise AffilError(
                f"cannot read {name}: {error.strerror}; check the file and its permissions"
            ) from error
        raise AffilError(
            f"{name} is truncated or broken ({_one_line(error)}); fetch or write it again"
        ) from error


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


def text_batch(columns: Iterable[Sequence[str | None]]) -> pa.RecordBatch:
    """Columns of strings in, one batch with positional names out."""
    import pyarrow as pa

    arrays = [text_array(column) for column in columns]
    return pa.RecordBatch.from_arrays(arrays, names=[field_name(n) for n in range(len(arrays))])


def next_size(n_rows: int, n_bytes: int) -> int:
    """Size of the last batch in, number of rows of the next out, so that a batch stays near 16 MiB."""
    return max(1, min(8 * n_rows, n_rows * _BATCH_BYTES // max(n_bytes, 1), _MAX_ROWS))


def read_csv(file: InputFile) -> Rows:
    """CSV or TSV with a header line; strict about quotes and about the number of fields."""
    # The limit holds for the whole process and is 128 KiB unless raised; a cell may well be longer.
    csv.field_size_limit(2**31 - 1)
    stream = file.open_text(newline="")
    reader = csv.reader(stream, delimiter=file.delimiter or ",", strict=True)
    try:
        header = next((row for row in reader if row), None)
    except csv.Error as error:
        raise AffilError(f"{file.name}: the header line is broken ({error}); check its quotes") from None
    if header is None:
        raise AffilError(f"{file.name} has no header line")
    return Rows(tuple(header), _csv_batches(reader, len(header), file.name))


def _csv_batches(reader: Iterator[list[str]], n_columns: int, name: str) -> Iterator[pa.RecordBatch]:
    n_done, size = 0, _FIRST_ROWS
    while True:
        rows: list[list[str]] = []
        try:
            rows.extend(islice(reader, size))
        except csv.Error as error:
            # What came before the error is in `rows`, so its length tells the row.
            row = n_done + sum(bool(row) or n_columns == 1 for row in rows) + 1
            raise AffilError(
                f"{name}, row {row} (the header not counted): stray or unclosed quote ({error});"
                ' a field with quotes in it must be quoted, and they doubled: "the ""old"" clinic"'
            ) from None
        if not rows:
            return
        # With one column a blank line is a blank value; with more it is no row.
        rows = [row or [""] for row in rows] if n_columns == 1 else [row for row in rows if row]
        _check_widths(rows, n_columns, n_done, name)
        if rows:
            batch = text_batch(zip(*rows, strict=True))
            yield batch
            size = next_size(len(rows), batch.nbytes)
        n_done += len(rows)


def _check_widths(rows: list[list[str]], n_columns: int, n_done: int, name: str) -> None:
    widths = list(map(len, rows))
    if widths.count(n_columns) == len(widths):
        return
    wrong = next(n for n, width in enumerate(widths) if width != n_columns)
    raise AffilError(
        f"{name}, row {n_done + wrong + 1} (the header not counted) has {widths[wrong]} fields, the header"
        f" has {n_columns}; quote fields that hold the delimiter, or save one string a line as .txt"
    )


def read_text(file: InputFile) -> Rows:
    """Plain text, one string a line."""
    return Rows((TEXT_COLUMN,), _text_batches(file.open_text(newline=None)))


def _text_batches(stream: TextIO) -> Iterator[pa.RecordBatch]:
    size = _FIRST_ROWS
    while lines := list(islice(stream, size)):
        batch = text_batch([[line.removesuffix("\n") for line in lines]])
        yield batch
        size = next_size(len(lines), batch.nbytes)


def read_jsonl(file: InputFile) -> Rows:
    """One JSON object a line; columns are all fields that occur, in the order of their first line."""
    names: dict[str, None] = {}
    for _, records in json_records(file):
        for record in records:
            if not names.keys() >= record.keys():
                names.update(dict.fromkeys(record))
    if not names:
        raise AffilError(f"{file.name} has no rows with a field; give at least one object")
    rows = Rows(tuple(escape_surrogates(name) for name in names), iter(()))
    rows.batches = _json_batches(file, list(names), rows.nested)
    return rows


def json_records(file: InputFile) -> Iterator[tuple[list[int], list[dict[str, object]]]]:
    """The objects of a JSONL file and the numbers of their lines, batch by batch; numbers stay text."""
    # Only "\n" ends a line: JSON strings may hold U+2028 and the like as they are.
    stream, n_done, size = file.open_text(newline="\n"), 0, _FIRST_ROWS
    while lines := list(islice(stream, size)):
        numbers = [n_done + n for n, line in enumerate(lines, 1) if not line.isspace()]
        yield numbers, [_json_record(lines[number - n_done - 1], number, file.name) for number in numbers]
        n_done += len(lines)
        size = next_size(len(lines), 2 * sum(map(len, lines)))


def _json_record(line: str, number: int, name: str) -> dict[str, object]:
    try:
        # Numbers stay as they are written: 1.10 does not become 1.1.
        record = _JSON.decode(line)
    except (ValueError, RecursionError) as error:
        what = error.msg if isinstance(error, json.JSONDecodeError) else _one_line(error)
        raise AffilError(f"{name}, line {number}: not JSON ({what}); one object a line is wanted") from None
    if not isinstance(record, dict):
        raise AffilError(
            f'{name}, line {number}: not a JSON object; one like {{"affiliation": "…"}} is wanted'
        )
    return record


_JSON = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)


def _json_batches(file: InputFile, names: list[str], nested: dict[str, int]) -> Iterator[pa.RecordBatch]:
    for numbers, records in json_records(file):
        columns = []
        for name in names:
            values = [record.get(name) for record in records]
            if not {str, type(None)}.issuperset(map(type, values)):
                first = next((n for n, value in enumerate(values) if isinstance(value, (dict, list))), None)
                if first is not None:
                    nested.setdefault(escape_surrogates(name), numbers[first])
                values = [_json_text(value) for value in values]
            columns.append(cast(list[str | None], values))
        if records:
            yield text_batch(columns)


def _json_text(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def read_parquet(file: InputFile) -> Rows:
    """Parquet; columns keep their types."""
    import pyarrow.parquet as pq

    source = pq.ParquetFile(file.path, page_checksum_verification=True)
    meta = source.metadata
    n_bytes = sum(meta.row_group(n).total_byte_size for n in range(meta.num_row_groups))
    size = max(1, min(_MAX_ROWS, _BATCH_BYTES * max(meta.num_rows, 1) // max(n_bytes, 1)))
    return Rows(tuple(source.schema_arrow.names), _parquet_batches(source.iter_batches(batch_size=size)))


def _parquet_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    for batch in batches:
        yield pa.RecordBatch.from_arrays(
            batch.columns, names=[field_name(n) for n in range(batch.num_columns)]
        )


def read_xlsx(file: InputFile) -> Rows:
    """The first sheet of an Excel workbook, its first row the header; formulas by the value last saved."""
    rows = _xlsx_rows(file)
    header = next(rows, None)
    if header is None:
        raise AffilError(f"{file.name}: the first sheet is empty")
    columns = tuple("" if cell is None else cell for cell in header)
    return Rows(columns, _xlsx_batches(rows, len(columns), file.name))


def _xlsx_rows(file: InputFile) -> Iterator[list[str | None]]:
    """Rows of text without empty cells at their ends; empty rows too, but none at the end of the sheet."""
    from openpyxl import load_workbook
    from openpyxl.utils.exceptions import InvalidFileException

    broken = (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        InvalidFileException,
        SyntaxError,
        KeyError,
        ValueError,
    )
    try:
        with (
            file.open_bytes() as stream,
            closing(load_workbook(stream, read_only=True, data_only=True)) as book,
        ):
            sheet = book.worksheets[0]
            # Many programs write a wrong extent, and cells outside it would be lost.
            sheet.reset_dimensions()
            yield from _without_empty_ends(
                [_xlsx_text(cell) for cell in row] for row in sheet.iter_rows(values_only=True)
            )
    except (*broken, TypeError, IndexError, AttributeError) as error:
        raise AffilError(
            f"{file.name} is no readable workbook ({_one_line(error)}); save it again as .xlsx"
        ) from error


def _without_empty_ends(rows: Iterable[list[str | None]]) -> Iterator[list[str | None]]:
    n_empty = 0
    for row in rows:
        while row and row[-1] is None:
            row.pop()
        if not row:
            n_empty += 1
            continue
        yield from ([] for _ in range(n_empty))
        n_empty = 0
        yield row


def _xlsx_batches(rows: Iterator[list[str | None]], n_columns: int, name: str) -> Iterator[pa.RecordBatch]:
    n_done, size = 0, _FIRST_ROWS
    while chunk := list(islice(rows, size)):
        for n, row in enumerate(chunk, n_done + 1):
            if len(row) > n_columns:
                raise AffilError(
                    f"{name}, row {n} (the header not counted) has a value in column {len(row)}, the"
                    f" header has {n_columns} columns; name that column or empty the cell"
                )
        padded = [row + [None] * (n_columns - len(row)) for row in chunk]
        batch = text_batch(zip(*padded, strict=True))
        yield batch
        n_done += len(chunk)
        size = next_size(len(chunk), batch.nbytes)


def _xlsx_text(cell: object) -> str | None:
    if cell is None or isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return cell.isoformat() if isinstance(cell, (datetime, date, time)) else str(cell)


def read_database(file: InputFile) -> Rows:
    """A table or view of a database; columns keep their types."""
    assert file.address is not None
    return Rows(*read_rows(file.address))


READERS: dict[str, Callable[[InputFile], Rows]] = {
    "csv": read_csv,
    "tsv": read_csv,
    "jsonl": read_jsonl,
    "text": read_text,
    "parquet": read_parquet,
    "xlsx": read_xlsx,
    "table": read_database,
}
