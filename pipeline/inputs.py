"""Input files on disk: which kind each is, by name or first bytes; unpacked where the reader needs that."""

from __future__ import annotations

import codecs
import csv
import glob
import gzip
import io
import json
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from pipeline.databases import Address, is_address, read_address, require_database
from pipeline.errors import AffilError, UsageError
from pipeline.rows import AFFILIATION_NAMES

EXTENSIONS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".txt": "text",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".xlsx": "xlsx",
}
TEXT_KINDS = ("csv", "tsv", "jsonl", "text")
#: Kinds whose values have types.
TYPED_KINDS = ("parquet", "table")
STDIN = "-"
_DELIMITERS = (",", ";", "\t", "|")
_GZIP_MAGIC = b"\x1f\x8b"
_START_BYTES = 1 << 16


@dataclass
class InputFile:
    """One input on disk: the name that the user gave it, where its bytes lie, and what they are."""

    name: str
    path: Path
    kind: str
    is_gzip: bool = False
    encoding: str = "utf-8"
    delimiter: str | None = None
    #: The table of a database, for the kind `table`.
    address: Address | None = None
    _raw: BinaryIO | None = None

    def open_bytes(self) -> BinaryIO:
        """The bytes from their start, unpacked."""
        self._raw = self.path.open("rb")
        return cast(BinaryIO, gzip.GzipFile(fileobj=self._raw)) if self.is_gzip else self._raw

    def open_text(self, newline: str | None) -> TextIO:
        """The text from its start; `newline` as for `open`."""
        return io.TextIOWrapper(self.open_bytes(), encoding=self.encoding, newline=newline)

    def start(self) -> bytes:
        """The first 64 KiB, unpacked."""
        with self.open_bytes() as stream:
            return stream.read(_START_BYTES)

    def n_bytes_read(self) -> int:
        """How far the last reader has come in the file, in bytes on disk."""
        return self._raw.tell() if self._raw is not None and not self._raw.closed else self.n_bytes()

    def n_bytes(self) -> int:
        """Size on disk."""
        return self.path.stat().st_size


def locate(given: str | Path, scratch: Path) -> InputFile:
    """A path, the address of a table, or `-` for standard input in, the input with its kind out.

    Args:
        given: as the user wrote it.
        scratch: a folder for streams and for packed files whose reader has to jump about in them.

    Raises:
        UsageError: no such file, a folder, an extension that is not supported.
        AffilError: an empty file.
    """
    if is_address(given):
        address = read_address(str(given))
        require_database(address)
        return InputFile(address.given, address.path, "table", address=address)
    path, name = Path(given), str(given)
    if name == STDIN or path.is_fifo() or path.is_char_device():
        path = _spooled(None if name == STDIN else path, scratch)
        file = InputFile("standard input" if name == STDIN else name, path, "", _has_gzip_magic(path))
        file.kind = sniff_kind(file.start())
    else:
        _require_file(path)
        file = InputFile(name, path, kind_of(name), _has_gzip_magic(path))
        if name.lower().endswith(".gz") and not file.is_gzip and file.n_bytes():
            raise AffilError(f"{name} is not gzip, though its name ends in .gz; rename it or pack it")
    if not file.start():
        raise AffilError(f"{file.name} is empty; give a file with at least one row")
    if file.is_gzip and file.kind not in TEXT_KINDS:
        file.path, file.is_gzip = _unpacked(file, scratch), False
    return file


def expanded(inputs: Sequence[str]) -> list[str]:
    """Inputs as the user wrote them in, each pattern (`*`, `?`, `[…]`, `**`) as the files it names out.

    The files of a pattern stand in the order of their names. A file that is named exactly so is that file.

    Raises:
        UsageError: a pattern that no file matches.
    """
    found: list[str] = []
    for given in inputs:
        is_pattern = bool(re.search(r"[*?[]", given)) and not is_address(given) and not Path(given).exists()
        # As a shell reads it: hidden files stay out, which those of pathlib do not.
        matches = sorted(glob.glob(given, recursive=True)) if is_pattern else [given]  # noqa: PTH207
        files = [match for match in matches if not (is_pattern and Path(match).is_dir())]
        if not files:
            raise UsageError(f"no file matches {given!r}")
        found += files
    return found


def kind_of(name: str) -> str:
    """A file name in, its kind by extension (that of the packed file for `.gz`) out.

    Raises:
        UsageError: the extension is none of `EXTENSIONS`; the message lists them.
    """
    suffix = Path(name.lower().removesuffix(".gz")).suffix
    if suffix not in EXTENSIONS:
        listed = ", ".join(EXTENSIONS)
        raise UsageError(
            f"{name}: unsupported extension {suffix!r}; supported are {listed}, each also with .gz"
        )
    return EXTENSIONS[suffix]


def sniff_kind(start: bytes) -> str:
    """First bytes of a stream without a name in, its kind out: plain text unless it clearly is another."""
    if start.startswith(b"PAR1"):
        return "parquet"
    if start.startswith(b"PK\x03\x04"):
        return "xlsx"
    is_wide = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    line = (
        start.decode("utf-16" if is_wide else "utf-8-sig", "replace").lstrip().split("\n", 1)[0].rstrip("\r")
    )
    if line.startswith("{"):
        return "jsonl" if _is_json_object(line) else "text"
    delimiter = sniff_delimiter(line)
    names = [name.strip('"').casefold() for name in line.split(delimiter)]
    # "Institute, University of X" is an affiliation, `id,institute` is a header.
    if not all(re.fullmatch(r"\w+", name) for name in names) or set(names).isdisjoint(AFFILIATION_NAMES):
        return "text"
    return "tsv" if delimiter == "\t" else "csv"


def sniff_delimiter(header: str) -> str:
    """The start of a CSV file in, the delimiter that gives its header most fields out; a comma in doubt."""
    n_fields = {}
    for delimiter in _DELIMITERS:
        reader = csv.reader(io.StringIO(header, newline=""), delimiter=delimiter)
        n_fields[delimiter] = len(next((row for row in reader if row), []))
    return max(_DELIMITERS, key=lambda delimiter: n_fields[delimiter])


def _is_json_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _require_file(path: Path) -> None:
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name the files in it")
    if not path.is_file():
        raise UsageError(f"no such file: {path}")


def _has_gzip_magic(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(2) == _GZIP_MAGIC


def _spooled(path: Path | None, scratch: Path) -> Path:
    """A stream on disk: its encoding must be known before its text is read, so it is read twice."""
    target = scratch / f"stream-{len(list(scratch.iterdir()))}"
    with target.open("wb") as out:
        if path is None:
            shutil.copyfileobj(sys.stdin.buffer, out)
        else:
            with path.open("rb") as stream:
                shutil.copyfileobj(stream, out)
    return target


def _unpacked(file: InputFile, scratch: Path) -> Path:
    target = scratch / f"unpacked-{len(list(scratch.iterdir()))}"
    with file.open_bytes() as stream, target.open("wb") as out:
        shutil.copyfileobj(stream, out, 1 << 20)
    return target
