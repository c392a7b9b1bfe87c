"""The workspace: a hidden folder in which a run is made, locked while it is, found again by the next one.

It lies beside the run folder, or in it where that can be filled but not replaced:

    .run.partial/.lock    held by the process that is at work; the system lets go of it however that ends
    .run.partial/stages   finished stages; they stay when a run is killed, interrupted or out of space
    .run.partial/result   the run folder to be; its manifest is written last
    .run.partial/old      what the result takes the place of
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pipeline.checkpoints import finished_stages
from pipeline.errors import AffilError, UsageError
from pipeline.run_folder import MANIFEST, RUN_NAMES, STAGES, is_replaceable
from pipeline.writing import unwritable

log = logging.getLogger(__name__)
#: Longest name of a file that common file systems take, in bytes, less `.` and `.partial`.
_LONGEST_NAME = 255 - 9
#: What a network disk says that cannot lock files.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
KEPT = "finished stages are kept, and the same command goes on from there"


@dataclass(frozen=True)
class Workspace:
    """Where a run is made (`result`), and where its stages are kept (`stages`), once they are to be."""

    home: Path
    output: Path

    @classmethod
    def of(cls, output: Path) -> Workspace:
        """The workspace of a run folder; nothing is made yet."""
        output = output.resolve()
        name = output.name
        if len(os.fsencode(name)) > _LONGEST_NAME:
            name = f"{name[:50]}-{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}"
        return cls((output if _is_fixed(output) else output.parent) / f".{name}.partial", output)

    @property
    def result(self) -> Path:
        """The run folder to be."""
        return self.home / "result"

    @property
    def stages(self) -> Path:
        """Finished stages of this run."""
        return self.home / STAGES

    @property
    def earlier_stages(self) -> Path:
        """Finished stages of the run that is there already."""
        return self.output / STAGES

    @property
    def _old(self) -> Path:
        return self.home / "old"

    @property
    def _is_emptied(self) -> Path:
        """Says that nothing of the old run is left in a folder that cannot be replaced."""
        return self.home / ".emptied"

    def recover(self) -> None:
        """Finish what a killed run had but to move into place; remove what it left half-written."""
        if (self.result / MANIFEST).exists() and (self._is_emptied.exists() or is_replaceable(self.output)):
            self.finish()
        if self._old.exists() and not self.output.exists():
            self._old.rename(self.output)
        self._is_emptied.unlink(missing_ok=True)
        self.clear()

    def clear(self) -> None:
        """Remove all but finished stages."""
        with suppress(OSError):
            (self.result / STAGES).rename(self.stages)
        if not self._is_emptied.exists():
            shutil.rmtree(self.result, ignore_errors=True)
            shutil.rmtree(self._old, ignore_errors=True)

    def finish(self) -> None:
        """Put the result, with its stages, in the place of what was there."""
        if self.stages.exists():
            self.stages.rename(self.result / STAGES)
        if self.home.parent == self.output:
            self._fill()
        elif self.output.exists():
            self._replace()
        else:
            self.result.rename(self.output)
        shutil.rmtree(self._old, ignore_errors=True)

    def _replace(self) -> None:
        """The old run goes only when the new one is there."""
        shutil.rmtree(self._old, ignore_errors=True)
        self.output.rename(self._old)
        try:
            self.result.rename(self.output)
        except BaseException:
            self._old.rename(self.output)
            raise

    def _fill(self) -> None:
        """File by file: no manifest while they are not all there."""
        if not self._is_emptied.exists():
            self._old.mkdir(exist_ok=True)
            for name in (MANIFEST, *sorted(RUN_NAMES - {MANIFEST})):
                with suppress(FileNotFoundError):
                    (self.output / name).rename(self._old / name)
            self._is_emptied.touch()
        for path in sorted(self.result.iterdir(), key=lambda p: (p.name == MANIFEST, p.name)):
            path.rename(self.output / path.name)
        self._is_emptied.unlink()


@contextmanager
def workspace(output: Path) -> Iterator[Workspace]:
    """The locked workspace of a run folder; its result takes the folder's place once it has a manifest.

    Where the body fails, finished stages stay for the next run; but a request that was wrong from the start
    leaves nothing that was not there.

    Raises:
        AffilError: another process is at work on the same run folder, or the operating system refuses (no
            space, no permission, a read-only disk).
    """
    place = Workspace.of(output)
    new_parents = [p for p in place.output.parents if not p.exists()]
    try:
        place.home.parent.mkdir(parents=True, exist_ok=True)
        with _locked(place):
            place.recover()
            was_begun = bool(finished_stages(place.stages))
            try:
                with _errors_of(place):
                    place.result.mkdir()
                    yield place
                    if (place.result / MANIFEST).exists():
                        place.finish()
            except BaseException as error:
                place.clear()
                is_wrong = isinstance(error, UsageError) and not was_begun
                if is_wrong or not finished_stages(place.stages):
                    shutil.rmtree(place.stages, ignore_errors=True)
                else:
                    error.add_note(KEPT)
                raise
            shutil.rmtree(place.result, ignore_errors=True)
            shutil.rmtree(place.stages, ignore_errors=True)
    except OSError as error:
        raise unwritable(error, place.output) from error
    finally:
        for parent in new_parents:
            with suppress(OSError):  # Not empty: the run is in it.
                parent.rmdir()


@contextmanager
def staged_folder(output: Path) -> Iterator[Path]:
    """A folder to write into that takes the place of `output` once it has a manifest, else is removed.

    Raises:
        AffilError: as for `workspace`.
    """
    with workspace(output) as place:
        yield place.result


@contextmanager
def _errors_of(place: Workspace) -> Iterator[None]:
    """Errors name the folder that the user asked for: that of the hidden one tells a reader nothing."""
    try:
        yield
    except OSError as error:
        raise unwritable(error, place.output) from error
    except AffilError as error:
        shown = str(error)
        for hidden in (place.result, place.home):
            shown = shown.replace(str(hidden), str(place.output))
        if shown == str(error):
            raise
        raise type(error)(shown) from error


def _is_fixed(output: Path) -> bool:
    """Whether the folder can be filled but not replaced: a mount point, or in a closed parent."""
    return output.is_dir() and (output.is_mount() or not os.access(output.parent, os.W_OK | os.X_OK))


@contextmanager
def _locked(place: Workspace) -> Iterator[None]:
    """The workspace, for this process alone."""
    path, descriptor = place.home / ".lock", None
    try:
        descriptor = _lock(path)
        if descriptor is None:
            raise AffilError(
                f"another run is being made in {place.output}; wait until it ends, or choose another --output"
            )
        _close_in_children()
        _held.add(descriptor)
        yield
    finally:
        if descriptor is not None:
            # What comes later than the lock's name finds another file, or none, and tries again.
            path.unlink(missing_ok=True)
        with suppress(OSError):  # Not empty: stages are kept, or another run is at work.
            place.home.rmdir()
        if descriptor is not None:
            _held.discard(descriptor)
            os.close(descriptor)


#: Locks of this process.
_held: set[int] = set()


@cache
def _close_in_children() -> None:
    """A forked child must not hold a lock for as long as it lives: it closes its copies."""

    def close() -> None:
        for descriptor in _held:
            os.close(descriptor)

    os.register_at_fork(after_in_child=close)


def _lock(path: Path) -> int | None:
    """A descriptor of the locked file, None where another process holds it."""
    while True:
        path.parent.mkdir(exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # The run that was here has just removed the folder.
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                os.close(descriptor)
                raise
            log.warning(
                "%s lies on a disk without locks: see to it that no other run goes there", path.parent
            )
            return descriptor
        os.close(descriptor)
