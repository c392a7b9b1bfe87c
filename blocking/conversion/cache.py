"""Where converted models lie: a folder named by what was converted, written whole or not at all."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from blocking.errors import BlockingError

#: Names the cache folder; else the platform's own place for caches.
VARIABLE = "AFFIL_CACHE"
#: Raised when a conversion changes, so that folders of older ones are not used again.
VERSION = 1


def cache_folder() -> Path:
    """Nothing in; the folder that holds converted models out, whether it is there or not."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named).expanduser()
    if sys.platform == "darwin":
        home = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        home = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "affiliation-resolver"


def cached(source: Path, kind: str, write: Callable[[Path], None]) -> Path:
    """A model folder and what writes its conversion in; the finished folder out, written only once.

    Two processes may convert the same model at once: each writes a folder of its own, and the first to be
    renamed stays.

    Raises:
        BlockingError: the cache cannot be written.
    """
    target = cache_folder() / "models" / f"{source.name[:40]}-{kind}-{_key(source, kind)}"
    if target.is_dir():
        return target
    try:
        write_whole(target, write)
    except OSError as error:
        raise BlockingError(
            f"cannot write the converted model to {target} ({error.strerror or error});"
            f" set {VARIABLE} to a folder with space"
        ) from error
    return target


def write_whole(target: Path, write: Callable[[Path], None]) -> None:
    """A folder to come and what fills one in; the folder is there as a whole afterwards, or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    work = target.with_name(f".{target.name}.partial-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        work.mkdir()
        write(work)
        for path in files_of(work):
            with path.open("rb") as file:
                os.fsync(file.fileno())
        try:
            work.rename(target)
        except OSError:
            # Another process was first: its folder has the same name, so the same content.
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def files_of(folder: Path) -> Iterable[Path]:
    """A folder in; every file in it out, sorted, without hidden ones (`.git`, `.cache` of a download)."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path


def _key(folder: Path, kind: str) -> str:
    """16 hex digits of the names and bytes of all files: about a second per GB."""
    digest = hashlib.blake2b(f"{kind} {VERSION}".encode(), digest_size=8)
    for path in files_of(folder):
        digest.update(f"\n{path.relative_to(folder).as_posix()} {path.stat().st_size}\n".encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "blake2b").digest())
    return digest.hexdigest()
