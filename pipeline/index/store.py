"""The files of an index: written whole or not at all, opened without reading them.

Arrow files and NumPy arrays, all memory-mapped: only what is looked at comes into memory.
"""

from __future__ import annotations

import errno
import json
import secrets
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from blocking import CorpusEncoder, Encoder
from blocking.hashing import HashingEncoder
from blocking.neighbours import has_faiss
from pipeline.errors import UsageError
from pipeline.index.codes import Codes, coded, has_codes, learned_book
from pipeline.index.columns import KEY_RULES, VIEWS, id_number
from pipeline.index.remembered import Remembered
from pipeline.model_list import load_named_encoder
from pipeline.records import Int64s
from pipeline.rows import list_of
from pipeline.scoring import frequencies
from pipeline.settings import Settings
from pipeline.writing import unwritable

if TYPE_CHECKING:
    import pyarrow as pa

HEAD = "index.json"
FORMAT = "affiliation-resolver index 2"


@dataclass(frozen=True)
class Store:
    """An index on disk.

    Attributes:
        folder: where its files are.
        head: what `index.json` says: format, run (its fingerprint), encoder, dimensions, n_mentions,
            n_fitted (mentions there were when the encoder was chosen, and learned from them if it does),
            files with their sizes.
    """

    folder: Path
    head: dict[str, Any]

    @classmethod
    def open(cls, folder: Path) -> Store | None:
        """The index in a folder, None where there is none of this version.

        Raises:
            UsageError: one of its files is missing or broken.
        """
        try:
            head = json.loads((folder / HEAD).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if not isinstance(head, dict) or head.get("format") != FORMAT:
            return None
        for name, size in head["files"].items():
            path = folder / name
            if not path.is_file() or path.stat().st_size != size:
                raise UsageError(f"{path} is missing or cut short; delete {folder}, and it is made again")
        return cls(folder, head)

    def table(self, name: str) -> pa.Table:
        """An Arrow table, mapped."""
        import pyarrow as pa

        with pa.memory_map(str(self.folder / f"{name}.arrow")) as source:
            return pa.ipc.open_file(source).read_all()

    def array(self, name: str) -> npt.NDArray[Any]:
        """An array, mapped."""
        found: npt.NDArray[Any] = np.load(self.folder / f"{name}.npy", mmap_mode="r")
        return found

    def codes(self, rule: str) -> Codes | None:
        """Codes of a view's vectors, mapped; None of few, and in an index of an older version."""
        if f"codes_{rule}.npy" not in self.head["files"]:
            return None
        return Codes(self.array(f"book_{rule}"), self.array(f"codes_{rule}"))

    @cached_property
    def mentions(self) -> pa.Table:
        """One row a mention, in the order of the run's."""
        return self.table("mentions")

    @cached_property
    def frequency(self) -> dict[str, int]:
        """In how many mentions each token stands."""
        table = self.table("tokens")
        return dict(zip(list_of(table.column("token")), table.column("n").to_pylist(), strict=True))

    def encoder(self, settings: Settings) -> Encoder:
        """The encoder that the vectors were made by, with the weights that it learned.

        Raises:
            UsageError: the settings' encoder is another now.
            BlockingError: it cannot be loaded.
        """
        encoder = load_named_encoder(settings.blocking, self.head["n_fitted"])
        if isinstance(encoder, HashingEncoder):
            encoder = HashingEncoder.from_state({n: self.array(f"encoder_{n}") for n in encoder.state()})
        found = [encoder.name, encoder.dimensions]
        made = [self.head["encoder"], self.head["dimensions"]]
        if found != made:
            raise UsageError(
                f"{self.folder} was made by the encoder {made[0]} ({made[1]} dimensions), but the settings of"
                f" the run give {found[0]} ({found[1]}); put the encoder back, or resolve again"
            )
        return encoder


def write_store(
    target: Path, tables: Mapping[str, pa.Table], run: str, encoder: Encoder, known: Store | None = None
) -> Store:
    """Write an index, or replace it.

    Args:
        target: the folder.
        tables: `mentions`, as `mentions_table` has them, with match_probability and the number of their
            institution; `institutions`, with entity_id, preferred_name and registry_id.
        run: fingerprint of the run.
        encoder: fitted here if it learns from strings and has not yet.
        known: an older index by the same encoder, whose vectors and counts are taken over.

    Raises:
        AffilError: the folder cannot be written.
    """
    mentions = tables["mentions"]
    work = target.with_name(f".{target.name}.partial-{secrets.token_hex(4)}")
    try:
        work.mkdir(parents=True)
        columns = {rule: mentions.column(name).dictionary_encode() for rule, name in VIEWS.items()}
        is_known = known is not None and encoder.name == known.head["encoder"]
        if isinstance(encoder, CorpusEncoder) and not encoder.is_fitted:
            first = columns["neighbours"].combine_chunks()
            encoder.fit([text for text in list_of(first.dictionary) if text])
            is_known = False
        vectors_of = known if is_known else None
        n_fitted = vectors_of.head["n_fitted"] if vectors_of else len(mentions)
        for rule, column in columns.items():
            _write_view(work, rule, column.combine_chunks(), encoder, vectors_of)
        _write_keys(work, mentions)
        ids = [id_number(i) for i in list_of(mentions.column("affiliation_id"))]
        np.save(work / "affiliation.npy", np.array(ids, np.uint64))
        learned = encoder.encoder if isinstance(encoder, Remembered) else encoder
        if isinstance(learned, HashingEncoder):
            for name, array in learned.state().items():
                np.save(work / f"encoder_{name}.npy", array)
        for name, table in tables.items():
            _write_table(work / f"{name}.arrow", table)
        _write_table(work / "tokens.arrow", _tokens(mentions, known))
        head = {
            "format": FORMAT,
            "run": run,
            "encoder": encoder.name,
            "dimensions": encoder.dimensions,
            "n_mentions": len(mentions),
            "n_fitted": n_fitted,
            "files": {path.name: path.stat().st_size for path in sorted(work.iterdir())},
        }
        (work / HEAD).write_text(json.dumps(head, indent=1) + "\n", encoding="utf-8")
        _put(work, target)
    except OSError as error:
        raise unwritable(error, target) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return Store(target, head)


def _put(work: Path, target: Path) -> None:
    """Finished files into their place; where another process was faster, its files stay."""
    old = work.with_suffix(".old")
    with suppress(FileNotFoundError):
        target.rename(old)
    try:
        work.rename(target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    shutil.rmtree(old, ignore_errors=True)


def _write_view(work: Path, rule: str, column: pa.Array, encoder: Encoder, known: Store | None) -> None:
    """Vectors of the distinct texts of a view, the text of each mention, the mentions of each text."""
    texts = list_of(column.dictionary)
    vectors = np.lib.format.open_memmap(
        work / f"vectors_{rule}.npy", "w+", np.float16, (len(texts), encoder.dimensions)
    )
    row = np.full(len(texts), -1, np.int64)
    if known:
        row = _rows_in(column.dictionary, known.mentions.column(VIEWS[rule]).dictionary_encode())
        old = known.array(f"vectors_{rule}")
        for part in _parts(np.flatnonzero(row >= 0)):
            vectors[part] = old[row[part]]
    is_text = np.array([bool(text.strip()) for text in texts], bool)
    for part in _parts(np.flatnonzero((row < 0) & is_text)):
        vectors[part] = encoder.encode([texts[i] for i in part.tolist()])
    vectors.flush()
    if has_codes(*vectors.shape) and has_faiss():
        _write_codes(work, rule, vectors, row, known)
    number = column.indices.to_numpy().astype(np.int32)
    number[~is_text[number]] = -1
    np.save(work / f"text_{rule}.npy", number)
    members = np.argsort(number, kind="stable").astype(np.int32)
    np.save(work / f"members_{rule}.npy", members)
    starts = np.searchsorted(number[members], np.arange(len(texts) + 1))
    np.save(work / f"starts_{rule}.npy", starts.astype(np.int64))


def _write_codes(
    work: Path, rule: str, vectors: npt.NDArray[np.float16], row: Int64s, known: Store | None
) -> None:
    """Codes of a view's vectors; those of an older index, where `row` is their row, are taken over."""
    old = known.codes(rule) if known else None
    book = old.book if old else learned_book(vectors)
    codes = np.empty((len(vectors), (len(book) + 1) // 2), np.uint8)
    is_kept = (row >= 0) & (old is not None)
    if old:
        codes[is_kept] = old.code[row[is_kept]]
    for part in _parts(np.flatnonzero(~is_kept)):
        codes[part] = coded(book, vectors[part])
    np.save(work / f"codes_{rule}.npy", codes)
    np.save(work / f"book_{rule}.npy", book)


def _rows_in(texts: pa.Array, column: pa.ChunkedArray) -> Int64s:
    """The number of each text among the distinct texts of a column, −1 where it is not there."""
    import pyarrow.compute as pc

    found = pc.index_in(texts, value_set=column.combine_chunks().dictionary)
    rows: Int64s = pc.fill_null(found, -1).to_numpy().astype(np.int64)
    return rows


def _parts(rows: Int64s) -> list[Int64s]:
    """Rows in parts of some ten thousand: 64 MB of vectors at 512 dimensions and 4 bytes."""
    return [rows[start : start + (1 << 15)] for start in range(0, len(rows), 1 << 15)]


def _write_keys(work: Path, mentions: pa.Table) -> None:
    """Keys in order, and the mention that has each."""
    for rule in KEY_RULES:
        column = mentions.column(rule).combine_chunks()
        code = column.flatten().to_numpy()
        item = np.repeat(np.arange(len(column)), np.diff(column.offsets.to_numpy()))
        order = np.argsort(code, kind="stable")
        np.save(work / f"key_{rule}.npy", code[order])
        np.save(work / f"item_{rule}.npy", item[order].astype(np.int32))


def _tokens(mentions: pa.Table, known: Store | None) -> pa.Table:
    """In how many mentions each token stands; mentions that an older index has are counted there."""
    import pyarrow as pa
    import pyarrow.compute as pc

    n, rows = dict[str, int](), mentions
    if known:
        n = dict(known.frequency)
        ids = known.mentions.column("mention_id").combine_chunks()
        rows = mentions.filter(pc.invert(pc.is_in(mentions.column("mention_id"), value_set=ids)))
    both = zip(*(list_of(rows.column(c)) for c in ("context_concept", "concept")), strict=True)
    for token, count in frequencies([" ".join(texts) for texts in both]).items():
        n[token] = n.get(token, 0) + count
    kinds = [("token", pa.string()), ("n", pa.int64())]
    return pa.table({"token": list(n), "n": list(n.values())}, schema=pa.schema(kinds))


def _write_table(path: Path, table: pa.Table) -> None:
    """An Arrow file without compression, so that it can be mapped."""
    import pyarrow as pa

    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks(), max_chunksize=max(len(table), 1))
