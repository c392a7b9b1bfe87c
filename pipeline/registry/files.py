"""A registry file as it was fetched (zip, gzip or plain) to its records, one after the other."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

from pipeline.errors import AffilError, UsageError

#: Characters read at once; a record is some 2,500.
_CHUNK = 1 << 20
_KINDS = {".json": "json", ".jsonl": "json", ".ndjson": "json", ".csv": "csv", ".tsv": "csv"}
_SUPPORTED = "a ROR dump (.zip, .json or .csv), a .jsonl of its records, or a .csv with columns id and name"


class RegistrySchemaError(UsageError):
    """A record that is none of the forms known."""


@contextmanager
def opened(path: Path) -> Iterator[tuple[str, TextIO]]:
    """A path to its kind (`json` or `csv`) and its text.

    Raises:
        UsageError: no such file, or none that a registry comes in.
        AffilError: it is truncated, no zip or gzip though its name says so, or not UTF-8.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder; give the registry file in it")
    if not path.is_file():
        raise UsageError(f"no such file: {path}")
    try:
        with _binary(path) as (name, stream):
            suffix = Path(name.lower().removesuffix(".gz")).suffix
            if suffix not in _KINDS:
                raise UsageError(f"{name}: unsupported extension {suffix!r}; give {_SUPPORTED}")
            # The newlines inside quoted cells are the csv module's to read.
            yield _KINDS[suffix], io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
    except (zipfile.BadZipFile, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise AffilError(f"{path} is truncated or broken ({error}); fetch it again") from error
    except UnicodeDecodeError as error:
        raise AffilError(f"{path} is not UTF-8 ({error.reason}); fetch it again, or convert it") from error
    except NotImplementedError as error:
        raise AffilError(f"{path}: {error}; unpack it first") from error


@contextmanager
def _binary(path: Path) -> Iterator[tuple[str, BinaryIO]]:
    name = path.name.lower()
    if name.endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            member = _member(path, archive)
            with archive.open(member) as stream:
                yield member, cast(BinaryIO, stream)
    elif name.endswith(".gz"):
        with gzip.open(path) as packed:
            yield path.name, cast(BinaryIO, packed)
    else:
        with path.open("rb") as plain:
            yield path.name, plain


def _member(path: Path, archive: zipfile.ZipFile) -> str:
    """The file to read of a release: its JSON, the newer schema first; else its CSV."""
    names = [n for n in archive.namelist() if not Path(n).name.startswith((".", "_")) and "__MACOSX" not in n]
    ranked = [
        (kind != "json", "schema_v2" not in name, name)
        for name in names
        if (kind := _KINDS.get(Path(name.lower()).suffix))
    ]
    if not ranked:
        listed = ", ".join(names[:5]) or "nothing"
        raise UsageError(f"{path} holds no registry: {listed}; give {_SUPPORTED}")
    return min(ranked)[2]


def json_records(stream: TextIO, source: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """A JSON array of objects, or objects one a line, to (where, object), in memory that does not grow.

    Raises:
        AffilError: what is no JSON, or ends in the middle.
        RegistrySchemaError: an item that is no object.
    """
    decode, buffer, at, number, is_end = json.JSONDecoder().raw_decode, "", 0, 0, False
    is_array = False
    while True:
        # Between records: blanks, commas, and the brackets of the array.
        while at < len(buffer) and buffer[at] in " \t\r\n,":
            at += 1
        if at < len(buffer) and number == 0 and not is_array and buffer[at] == "[":
            is_array, at = True, at + 1
            continue
        if is_array and buffer[at : at + 1] == "]":
            return
        found: Any = None
        if at < len(buffer):
            try:
                found, end = decode(buffer, at)
            except json.JSONDecodeError as error:
                # Either broken, or cut by the end of the chunk: more text will tell.
                if is_end:
                    what = f"{source}, record {number + 1}: not JSON, or truncated ({error.msg})"
                    raise AffilError(f"{what}; fetch it again") from error
            except RecursionError as error:
                raise RegistrySchemaError(
                    f"{source}, record {number + 1}: nested too deeply for a record; give {_SUPPORTED}"
                ) from error
            else:
                number, at = number + 1, end
                if not isinstance(found, dict):
                    raise RegistrySchemaError(f"{source}, record {number}: not an object; give {_SUPPORTED}")
                yield f"{source}, record {number}", found
                continue
        if is_end:
            if is_array:
                raise AffilError(f"{source} ends in the middle, after record {number}; fetch it again")
            return
        chunk = stream.read(_CHUNK)
        buffer, at, is_end = buffer[at:] + chunk, 0, not chunk


def csv_records(stream: TextIO, source: str) -> Iterator[tuple[str, dict[str, str]]]:
    """A CSV or TSV with a header to (where, row); missing cells are "".

    Raises:
        AffilError: a row with more cells than the header, or broken quotes.
    """
    first = stream.readline()
    delimiter = max(",;\t", key=first.count)
    header = next(csv.reader([first], delimiter=delimiter), [])
    reader = csv.reader(stream, delimiter=delimiter, strict=True)
    names = [name.strip() for name in header]
    try:
        for number, row in enumerate(reader, 1):
            if len(row) > len(names):
                raise AffilError(
                    f"{source}, row {number}: {len(row)} cells, the header has {len(names)}; quote what holds"
                    f" a {delimiter!r}"
                )
            if row:
                yield f"{source}, row {number}", dict(zip(names, [*row, *[""] * len(names)], strict=False))
    except csv.Error as error:
        raise AffilError(f"{source}: broken CSV ({error}); write it again") from error
