"""Checkpoints: what each stage of a run made, kept in files with a marker, so that no stage is run twice.

A stage is a folder: arrays (`.npy`), tables (`.parquet`) and, last, `done.json`, which names what the stage
was made from and the checksum of every file. A stage counts as done only while all of this holds.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

MARKER = "done.json"
#: Grows when files of stages are laid out otherwise.
FORMAT = "affiliation-resolver stage 1"


@dataclass(frozen=True)
class Artefact:
    """What a stage left.

    Attributes:
        folder: where its files are.
        values: plain values from its marker.
        digest: names the content; equal for equal files and values, whatever they were made from.
    """

    folder: Path
    values: dict[str, Any]
    digest: str

    def array(self, name: str, *, is_mapped: bool = False) -> npt.NDArray[Any]:
        """An array; mapped, it is read-only and only what is looked at comes into memory."""
        found: npt.NDArray[Any] = np.load(self.folder / f"{name}.npy", mmap_mode="r" if is_mapped else None)
        return found

    def table(self, name: str) -> pa.Table:
        """A table."""
        import pyarrow.parquet as pq

        return pq.read_table(self.folder / f"{name}.parquet")


class StageStore:
    """Finished stages in a folder, a folder each; another folder of such may lend its own."""

    def __init__(self, folder: Path, lender: Path | None = None) -> None:
        self._folder, self._lender = folder, lender
        self._versions: set[str] = set()
        # What a killed run was writing.
        for path in [*folder.glob(".*"), *folder.glob("*/.*")]:
            shutil.rmtree(path, ignore_errors=True)

    def find(self, name: str, fingerprint: str) -> Artefact | None:
        """The stage, if it was made from what the fingerprint names and every file of it is as it was."""
        found = self._found(self.path(name), fingerprint)
        if found is not None or self._lender is None:
            return found
        lent = self._found(self._lender / _slug(name), fingerprint)
        return None if lent is None else self._borrowed(name, lent)

    def last(self, name: str) -> Artefact | None:
        """The stage, whatever it was made from, if every file of it is as it was."""
        return self._found(self.path(name), None)

    def _found(self, folder: Path, fingerprint: str | None) -> Artefact | None:
        marker = _read_marker(folder)
        if marker is None:
            return None
        if fingerprint is not None and marker["fingerprint"] != fingerprint:
            self._tell_version(marker["version"])
            return None
        damaged = next((n for n, sum_ in marker["files"].items() if _checksum(folder / n) != sum_), None)
        if damaged is not None:
            log.warning(
                "stage %s: %s is damaged or missing, so the stage is run again", folder.name, folder / damaged
            )
            return None
        return Artefact(folder, marker["values"], _digest(marker))

    def _tell_version(self, version: str) -> None:
        if version != own_version() and version not in self._versions:
            self._versions.add(version)
            log.warning(
                "stages that affiliation-resolver %s finished are run again by %s", version, own_version()
            )

    def _borrowed(self, name: str, lent: Artefact) -> Artefact:
        """A stage of the other folder as one of this: the same files where the disk can, else copies."""
        folder = self.begin(name)
        for path in sorted(lent.folder.iterdir()):
            try:
                os.link(path, folder / path.name)
            except OSError:
                shutil.copyfile(path, folder / path.name)
        return Artefact(self._commit(name), lent.values, lent.digest)

    def path(self, name: str) -> Path:
        """The folder of a finished stage."""
        return self._folder / _slug(name)

    def begin(self, name: str) -> Path:
        """An empty folder in which the stage may write files of its own."""
        folder = self._unfinished(name)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def save(self, name: str, fingerprint: str, parts: Mapping[str, Any]) -> Artefact:
        """Arrays, Arrow tables, plain values in, the finished stage out, with the files in `begin`."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        folder = self._unfinished(name)
        folder.mkdir(parents=True, exist_ok=True)
        values = {}
        for part, value in parts.items():
            if isinstance(value, np.ndarray):
                _write_array(value, folder / f"{part}.npy")
            elif isinstance(value, pa.Table):
                pq.write_table(value, folder / f"{part}.parquet", compression="zstd")
            else:
                values[part] = value
        files = {path.name: _checksum(path) for path in sorted(folder.iterdir())}
        marker = {
            "format": FORMAT,
            "version": own_version(),
            "fingerprint": fingerprint,
            "files": files,
            "values": values,
        }
        (folder / MARKER).write_text(json.dumps(marker), encoding="utf-8")
        return Artefact(self._commit(name), values, _digest(marker))

    def _commit(self, name: str) -> Path:
        shutil.rmtree(self.path(name), ignore_errors=True)
        return self._unfinished(name).rename(self.path(name))

    def _unfinished(self, name: str) -> Path:
        return self._folder / f".{_slug(name)}"


def finished_stages(folder: Path) -> list[str]:
    """Names of the stages in a folder that have a marker."""
    return sorted(path.parent.name for path in folder.glob(f"[!.]*/{MARKER}"))


def own_version() -> str:
    """Version of this package."""
    with suppress(metadata.PackageNotFoundError):
        return metadata.version("affiliation-resolver")
    return "unknown"


def _write_array(array: npt.NDArray[Any], path: Path) -> None:
    with path.open("wb") as file:
        # Given the file itself, NumPy writes past Python and does not say why it could not.
        written: Any = SimpleNamespace(write=file.write)
        np.lib.format.write_array(written, array, allow_pickle=False)


def _slug(name: str) -> str:
    return name.replace(" ", "_")


def _read_marker(folder: Path) -> dict[str, Any] | None:
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    kinds = {"version": str, "fingerprint": str, "files": dict, "values": dict}
    is_whole = isinstance(marker, dict) and all(isinstance(marker.get(k), t) for k, t in kinds.items())
    return marker if is_whole else None


def _checksum(path: Path) -> str | None:
    """Of a file's content; None where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _digest(marker: Mapping[str, Any]) -> str:
    text = json.dumps([marker["files"], marker["values"]], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
