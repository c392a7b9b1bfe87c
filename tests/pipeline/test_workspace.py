"""Where a run is made: locked while it is, whole or not at all, put right after a kill."""

import errno
import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from pipeline.checkpoints import StageStore
from pipeline.errors import AffilError, UsageError
from pipeline.run_folder import FORMAT, RUN_NAMES, read_manifest
from pipeline.workspace import KEPT, Workspace, staged_folder, workspace

ROOT = Path(__file__).resolve().parents[2]


def names(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


def make_run(folder: Path, fingerprint: str = "f") -> Path:
    """A folder in, the same with the least that stands for a run out."""
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"format": FORMAT, "fingerprint": fingerprint}))
    return folder


# --- staged_folder


def test_a_finished_folder_takes_its_place(tmp_path: Path) -> None:
    with staged_folder(tmp_path / "a" / "b" / "run") as work:
        assert work.is_dir() and not (tmp_path / "a" / "b" / "run").exists()
        make_run(work / "inner")
        (work / "manifest.json").write_text("{}")
    assert names(tmp_path / "a" / "b") == {"run"}
    assert names(tmp_path / "a" / "b" / "run") == {"inner", "manifest.json"}
    # As the user's umask has it, not closed as temporary folders are.
    assert (tmp_path / "a" / "b" / "run").stat().st_mode == (tmp_path / "a" / "b").stat().st_mode


@pytest.mark.parametrize("error", [AffilError("x"), ValueError("x"), KeyboardInterrupt(), SystemExit(1)])
def test_an_unfinished_folder_goes_with_the_parents_made_for_it(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)), staged_folder(tmp_path / "a" / "b" / "run") as work:
        (work / "half").write_text("…")
        (work / "manifest.json").write_text("{}")
        raise error
    assert names(tmp_path) == set()


def test_a_folder_without_manifest_goes_too(tmp_path: Path) -> None:
    old = make_run(tmp_path / "run")
    with staged_folder(old) as work:
        (work / "half").touch()
    assert names(tmp_path) == {"run"} and names(old) == {"manifest.json"}


def test_parents_that_were_there_stay(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with staged_folder(tmp_path / "a" / "b" / "run"):
        pass
    assert names(tmp_path) == {"a"} and names(tmp_path / "a") == set()


def test_an_old_run_is_replaced_as_a_whole(tmp_path: Path) -> None:
    old = make_run(tmp_path / "run")
    (old / "resolved.csv").touch()
    with staged_folder(old) as work:
        (work / "manifest.json").write_text("new")
    assert names(tmp_path) == {"run"} and names(old) == {"manifest.json"}
    assert (old / "manifest.json").read_text() == "new"


def test_the_old_run_comes_back_when_the_new_one_cannot_take_its_place(tmp_path: Path, monkeypatch) -> None:
    old = make_run(tmp_path / "run")
    rename = Path.rename

    def refuse_second(self: Path, target: Path) -> Path:
        if self.name == "result":
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse_second)
    with pytest.raises(AffilError, match="cannot write"), staged_folder(old) as work:
        (work / "manifest.json").write_text("new")
    assert names(tmp_path) == {"run"} and read_manifest(old) == {"format": FORMAT, "fingerprint": "f"}


def test_a_folder_that_cannot_be_renamed_is_filled(tmp_path: Path, monkeypatch) -> None:
    """A mount point: everything new comes in, what was of the old run goes, the manifest comes last."""
    old = make_run(tmp_path / "run")
    for name in ("resolved.tsv", ".hidden"):
        (old / name).touch()
    monkeypatch.setattr(Path, "is_mount", lambda self: self == old.resolve())
    moved = []
    rename = Path.rename
    monkeypatch.setattr(Path, "rename", lambda self, to: (moved.append(to.name), rename(self, to))[1])
    with staged_folder(old) as work:
        assert work.parent.parent == old.resolve()
        for name in ("manifest.json", "resolved.csv", "zzz"):
            (work / name).write_text("new")
    assert moved[-1] == "manifest.json"
    assert names(old) == {"manifest.json", "resolved.csv", "zzz", ".hidden"}


def test_a_link_to_a_folder_stays_a_link(tmp_path: Path) -> None:
    real = make_run(tmp_path / "disk" / "run")
    (tmp_path / "link").symlink_to(real)
    with staged_folder(tmp_path / "link") as work:
        (work / "manifest.json").write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (real / "manifest.json").read_text() == "new"
    assert names(tmp_path / "disk") == {"run"}


def test_errors_name_the_wanted_place_not_the_hidden_one(tmp_path: Path) -> None:
    with pytest.raises(AffilError) as caught, staged_folder(tmp_path / "run") as work:
        raise AffilError(f"no space left: {work / 'pairs.parquet'} (free some)")
    assert str(caught.value) == f"no space left: {tmp_path / 'run' / 'pairs.parquet'} (free some)"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_open_folder_in_a_closed_parent_is_filled(tmp_path: Path) -> None:
    run = make_run(tmp_path / "closed" / "run")
    run.parent.chmod(0o555)
    try:
        with staged_folder(run) as work:
            (work / "manifest.json").write_text("new")
        assert names(run) == {"manifest.json"}
    finally:
        run.parent.chmod(0o755)


# --- stages that stay, and what a killed run left


def keep(place: Workspace, name: str = "parse") -> None:
    StageStore(place.stages).save(name, "f", {"x": 1})


@pytest.mark.parametrize(
    "error", [AffilError("full"), OSError(28, "No space"), MemoryError(), KeyboardInterrupt()]
)
def test_finished_stages_stay_and_the_error_says_so(tmp_path: Path, error: BaseException) -> None:
    with (
        pytest.raises((AffilError, MemoryError, KeyboardInterrupt)) as caught,
        workspace(tmp_path / "run") as place,
    ):
        keep(place)
        raise error
    assert caught.value.__notes__ == [KEPT]
    assert names(tmp_path) == {".run.partial"} and names(place.home) == {"stages"}
    with workspace(tmp_path / "run") as place:
        assert names(place.stages) == {"parse"}
        (place.result / "manifest.json").write_text("{}")
    assert names(tmp_path) == {"run"} and names(tmp_path / "run") == {"manifest.json", "stages"}


def test_a_wrong_request_leaves_what_it_found(tmp_path: Path) -> None:
    with pytest.raises(UsageError), workspace(tmp_path / "run") as place:
        keep(place)
        raise UsageError("no such setting")
    assert names(tmp_path) == set()
    with pytest.raises(KeyboardInterrupt), workspace(tmp_path / "run") as place:
        keep(place)
        raise KeyboardInterrupt
    with pytest.raises(UsageError), workspace(tmp_path / "run") as place:
        raise UsageError("no such setting")
    assert names(place.stages) == {"parse"}


def die_in(tmp_path: Path, before: str, output: Path) -> None:
    """A process fills the workspace and is killed where `before` names a call of `Path`, the so-manieth."""
    method, number, is_mount = before.split(":")
    code = f"""
        import json, os, signal
        from pathlib import Path
        from pipeline.checkpoints import StageStore
        from pipeline.run_folder import FORMAT
        from pipeline.workspace import workspace
        if {is_mount}:
            Path.is_mount = lambda self: self == Path({str(output)!r})
        with workspace(Path({str(output)!r})) as place:
            StageStore(place.stages).save("parse", "f", {{}})
            (place.result / "mentions.csv").write_text("new")
            manifest = {{"format": FORMAT, "fingerprint": "new"}}
            (place.result / "manifest.json").write_text(json.dumps(manifest))
            own, calls = getattr(Path, {method!r}), []
            def counted(self, *rest, **more):
                calls.append(self)
                if len(calls) == {number}:
                    os.kill(os.getpid(), signal.SIGKILL)
                return own(self, *rest, **more)
            Path.{method} = counted
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == -signal.SIGKILL, (before, done.stderr)


@pytest.mark.parametrize("before", ["rename:1:0", "rename:2:0", "rename:3:0", "unlink:1:0"])
@pytest.mark.parametrize("is_new", [True, False])
def test_a_run_killed_on_its_way_into_place_is_put_there(tmp_path: Path, before: str, is_new: bool) -> None:
    if is_new and before == "rename:3:0":
        pytest.skip("a new folder takes two renames")
    output = tmp_path / "run"
    if not is_new:
        (make_run(output) / "resolved.tsv").touch()
    die_in(tmp_path, before, output)
    with pytest.raises(UsageError), workspace(output):
        raise UsageError("already there")
    assert names(tmp_path) == {"run"}
    assert read_manifest(output)["fingerprint"] == "new"
    assert names(output) == {"manifest.json", "mentions.csv", "stages"}


#: Renames before those of the new files: the stages, and whatever an old run may hold.
N_BEFORE = 1 + len(RUN_NAMES)


@pytest.mark.parametrize("number", [1, 2, 3, *range(N_BEFORE, N_BEFORE + 4)])
def test_a_folder_that_is_filled_is_filled_to_the_end(tmp_path: Path, number: int, monkeypatch) -> None:
    """Killed before each of its renames: old manifest out, old files out, new files in, new manifest in."""
    output = make_run(tmp_path / "run")
    (output / "resolved.tsv").touch()
    die_in(tmp_path, f"rename:{number}:1", output)
    monkeypatch.setattr(Path, "is_mount", lambda self: self == output)
    with pytest.raises(UsageError), workspace(output):
        raise UsageError("already there")
    assert names(output) == {"manifest.json", "mentions.csv", "stages"}
    assert read_manifest(output)["fingerprint"] == "new"


def test_what_came_into_the_folder_meanwhile_is_not_removed(tmp_path: Path) -> None:
    output = make_run(tmp_path / "run")
    die_in(tmp_path, "rename:1:0", output)
    (output / "notes.txt").write_text("mine")
    with pytest.raises(UsageError), workspace(output):
        raise UsageError("holds files that are not of the run")
    assert names(output) == {"manifest.json", "notes.txt"}


# --- the lock


def test_a_second_run_into_one_folder_is_refused_and_disturbs_nothing(tmp_path: Path) -> None:
    with workspace(tmp_path / "run") as place:
        keep(place)
        (place.result / "half").touch()
        with (
            pytest.raises(AffilError, match="another run is being made in"),
            workspace(tmp_path / "run"),
        ):
            pytest.fail("two at once")
        with workspace(tmp_path / "other"):
            pass
        assert names(place.result) == {"half"} and names(place.stages) == {"parse"}
        (place.result / "manifest.json").write_text("{}")
    assert names(tmp_path) == {"run"}


def test_the_lock_of_a_killed_process_is_no_obstacle_even_if_its_child_lives(tmp_path: Path) -> None:
    code = f"""
        import os, time
        from pathlib import Path
        from pipeline.workspace import workspace
        with workspace(Path({str(tmp_path / "run")!r})):
            if not os.fork():
                print(os.getpid(), flush=True)
            time.sleep(60)
            os._exit(0)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        child = int(process.stdout.readline())
        process.kill()
        process.wait()
        try:
            with workspace(tmp_path / "run") as place:
                assert names(place.home) == {".lock", "result"}
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_disk_without_locks_is_written_to_with_a_warning(tmp_path: Path, monkeypatch, caplog) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with caplog.at_level(logging.WARNING, "pipeline"), workspace(tmp_path / "run") as place:
        (place.result / "manifest.json").write_text("{}")
    assert names(tmp_path) == {"run"} and "without locks" in caplog.text


def test_a_name_as_long_as_names_can_be(tmp_path: Path) -> None:
    for name in ("x" * 255, "ü" * 127):
        with staged_folder(tmp_path / name) as work:
            (work / "manifest.json").write_text("{}")
        assert names(tmp_path / name) == {"manifest.json"}
