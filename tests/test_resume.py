"""Runs that go on: after a kill, with other settings, over damaged files; and runs that must not."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.checkpoints import MARKER, StageStore
from pipeline.errors import AffilError, UsageError
from pipeline.job import JobOutcome, run_job
from pipeline.scoring import PairFeatures
from pipeline.settings import Settings
from pipeline.stages import NEEDS

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
import resume  # noqa: E402

#: Stages of a run without a registry.
STAGES = [name for name in NEEDS if name != "link"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some strings."""
    path = tmp_path_factory.mktemp("source") / "strings.csv"
    resume.write_strings(path, 60)
    return path


@pytest.fixture(scope="module")
def whole(source: Path) -> Path:
    """The run of them that nobody disturbed; no test alters it."""
    return run_job([str(source)], source.parent / "whole").folder


def go(source: Path, output: Path, *, overwrite: bool = False, **sections: Any) -> JobOutcome:
    return run_job([str(source)], output, Settings().with_values(**sections), overwrite=overwrite)


def reused(outcome: JobOutcome) -> list[str]:
    return [stage["name"] for stage in outcome.manifest["stages"] if stage["is_reused"]]


# --- killed


def test_a_run_killed_at_a_random_moment_ends_as_if_nothing_had_been(tmp_path: Path) -> None:
    """Another moment each time the suite is run."""
    found = resume.kills(2000, 2, tmp_path, seed=None)
    assert len(found) == 2 and all(kill.is_good for kill in found), found


@pytest.mark.slow
def test_twenty_random_moments(tmp_path: Path) -> None:
    found = resume.kills(2000, 20, tmp_path, seed=0)
    assert len(found) == 20 and all(kill.is_good for kill in found), found
    assert len({kill.n_finished for kill in found}) > 4


class Killed(BaseException):
    """Nothing that anybody catches."""


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_that_dies_as_a_stage_ends_goes_on_there(
    stage: str, source: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once before the stage's marker is written, once just after."""
    save = StageStore.save
    at = STAGES.index(stage)
    for is_after in (False, True):

        def die(self: StageStore, name: str, *rest: Any, is_after: bool = is_after) -> Any:
            if name == stage and not is_after:
                raise Killed
            found = save(self, name, *rest)
            if name == stage:
                raise Killed
            return found

        with monkeypatch.context() as patched, pytest.raises(Killed):
            patched.setattr(StageStore, "save", die)
            go(source, tmp_path / "run")
        assert {p.name for p in tmp_path.iterdir()} <= {".run.partial"}
    outcome = go(source, tmp_path / "run")
    assert reused(outcome) == STAGES[: at + 1]
    assert resume.differing(whole, outcome.folder) == ()


# --- a disk that is full


@pytest.mark.parametrize("stage", STAGES)
def test_no_space_for_a_stage_is_one_line_and_keeps_those_before(
    stage: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = StageStore.save

    def full(self: StageStore, name: str, *rest: Any) -> Any:
        if name == stage:
            raise OSError(28, "No space left on device")
        return save(self, name, *rest)

    monkeypatch.setattr(StageStore, "save", full)
    with pytest.raises(AffilError, match=r"no space left: .*run \(free some space") as caught:
        go(source, tmp_path / "run")
    assert bool(getattr(caught.value, "__notes__", ())) is (stage != STAGES[0])
    monkeypatch.undo()
    assert reused(go(source, tmp_path / "run")) == STAGES[: STAGES.index(stage)]


# --- other settings


@pytest.mark.parametrize(
    ("changed", "first"),
    [
        ({"cleaning": {"set_aside_links": False}}, "clean"),
        ({"parsing": {"max_mentions": 59}}, "parse"),
        ({"normalization": {"use_acronym_place": False}}, "normalize"),
        ({"blocking": {"n_neighbours": 5}}, "block"),
        ({"blocking": {"n_representatives": 3}}, "second pass"),
        ({"clustering": {"min_match_probability": 0.9}}, "cluster"),
        ({"canonical": {"max_variants": 1}}, "consolidate"),
    ],
)
def test_other_settings_redo_what_depends_on_them(
    changed: dict[str, Any], first: str, source: Path, tmp_path: Path
) -> None:
    """A stage that comes out as before leaves those after it alone: so some of them may be reused."""
    go(source, tmp_path / "run")
    with pytest.raises(UsageError, match="other input or settings"):
        go(source, tmp_path / "run", **changed)
    outcome = go(source, tmp_path / "run", overwrite=True, **changed)
    before = STAGES[: STAGES.index(first)]
    assert reused(outcome)[: len(before)] == before and first not in reused(outcome)
    fresh = go(source, tmp_path / "fresh", **changed)
    assert reused(fresh) == []
    assert resume.differing(fresh.folder, outcome.folder) == ()
    assert {p.name for p in tmp_path.iterdir()} == {"run", "fresh"}


def test_vectors_and_the_encoder_that_learned_are_kept(source: Path, tmp_path: Path) -> None:
    """k-means looks at vectors, and encodes texts that blocking left out."""
    changed = {"clustering": {"clusterer": "kmeans", "n_clusters": 5}, "blocking": {"encoder": "hashing"}}
    go(source, tmp_path / "run", blocking=changed["blocking"])
    outcome = go(source, tmp_path / "run", overwrite=True, **changed)
    assert reused(outcome) == STAGES[: STAGES.index("second pass")]
    assert resume.differing(go(source, tmp_path / "fresh", **changed).folder, outcome.folder) == ()


def test_every_setting_is_one_that_a_stage_depends_on() -> None:
    read = {section for needs in NEEDS.values() for section in needs.sections}
    assert read == set(Settings().to_dict())
    for section, values in Settings().to_dict().items():
        for key in values:
            readers = [n for n, needs in NEEDS.items() if section in needs.sections]
            assert any(f"{section}.{key}" not in NEEDS[name].but for name in readers), (section, key)


def test_other_judgements_redo_the_clusters_alone(source: Path, tmp_path: Path) -> None:
    said = tmp_path / "said.csv"
    said.write_text("left,right,verdict\nA,B,no\n")
    run_job([str(source)], tmp_path / "run", judgements=said)
    said.write_text("left,right,verdict\nA,C,no\n")
    outcome = run_job([str(source)], tmp_path / "run", judgements=said, overwrite=True)
    # The clusters come out as before: no string has these names.
    assert reused(outcome) == [stage for stage in STAGES if stage != "cluster"]


def test_rows_that_hold_the_same_strings_are_read_and_folded_alone(source: Path, tmp_path: Path) -> None:
    go(source, tmp_path / "run")
    other = tmp_path / "other.csv"
    other.write_text(source.read_text().replace("affiliation\n", "aff\n", 1))
    assert reused(go(other, tmp_path / "run", overwrite=True)) == STAGES[2:]


def test_a_run_whose_stages_were_deleted_is_whole(source: Path, tmp_path: Path) -> None:
    folder = go(source, tmp_path / "run").folder
    subprocess.run(["rm", "-r", folder / "stages"], check=True)
    assert go(source, tmp_path / "run").was_finished
    changed = {"canonical": {"max_variants": 1}}
    assert reused(go(source, tmp_path / "run", overwrite=True, **changed)) == []


def test_a_stream_is_read_anew_and_what_it_holds_is_known(source: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pipeline.cli", "resolve", "-", "--output", tmp_path / "run", "--json"]
    more = ["--overwrite", "--clusterer", "components"]
    for options, expected in (([], []), (more, STAGES[1:-2])):
        with source.open("rb") as stream:
            done = subprocess.run(
                [*command, *options], stdin=stream, capture_output=True, cwd=ROOT, check=True
            )
        found = [s["name"] for s in json.loads(done.stdout)["stages"] if s["is_reused"]]
        assert [name for name in found if name in expected or not expected] == expected
        assert "read" not in found and "cluster" not in found


# --- damaged files, other versions


def kept_files(source: Path, tmp_path: Path) -> Path:
    """A run that was interrupted once everything but the tables was there: the folder of its stages."""
    with pytest.MonkeyPatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(
            "pipeline.row_tables.write_sources", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        go(source, tmp_path / "run")
    return tmp_path / ".run.partial" / "stages"


@pytest.mark.parametrize("how", ["truncated", "altered", "deleted"])
def test_a_damaged_file_makes_that_stage_run_again_and_no_other(
    how: str, source: Path, whole: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stages = kept_files(source, tmp_path)
    files = [p for p in sorted(stages.rglob("*")) if p.is_file() and p.name != MARKER]
    # One of each stage.
    chosen = {p.parent.name: p for p in files}
    for path in list(chosen.values())[:: 3 if how == "truncated" else 5]:
        content = path.read_bytes()
        if how == "truncated":
            path.write_bytes(content[: len(content) // 2])
        elif how == "altered":
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        else:
            path.unlink()
        with caplog.at_level(logging.WARNING, "pipeline"), pytest.MonkeyPatch.context() as patched:
            patched.setattr(
                "pipeline.row_tables.write_sources", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
            )
            seen: list[str] = []
            with pytest.raises(KeyboardInterrupt):
                run_job([str(source)], tmp_path / "run", watch=seen.append)
        stage = path.parent.name.replace("_", " ")
        assert [name for name in seen if name in NEEDS] == [stage]
        assert f"stage {path.parent.name}: {path} is damaged or missing" in caplog.messages[-1]
    outcome = go(source, tmp_path / "run")
    assert reused(outcome) == STAGES
    assert resume.differing(whole, outcome.folder) == ()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"files": {}}', '{"files": 3, "values": {}}'])
def test_a_marker_that_is_none_counts_for_nothing(content: str, source: Path, tmp_path: Path) -> None:
    (kept_files(source, tmp_path) / "block" / MARKER).write_text(content)
    assert reused(go(source, tmp_path / "run")) == [stage for stage in STAGES if stage != "block"]


def test_stages_of_another_version_are_run_again_and_it_is_named(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for marker in kept_files(source, tmp_path).rglob(MARKER):
        values = json.loads(marker.read_text())
        marker.write_text(json.dumps(values | {"version": "0.0.7", "fingerprint": "of other code"}))
    with caplog.at_level(logging.WARNING, "pipeline"):
        assert reused(go(source, tmp_path / "run")) == []
    told = [m for m in caplog.messages if "0.0.7" in m]
    assert len(told) == 1 and "run again by" in told[0]


def test_a_run_folder_of_another_version_is_named(source: Path, tmp_path: Path) -> None:
    manifest = go(source, tmp_path / "run").folder / "manifest.json"
    values = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(values | {"version": "0.0.7"}))
    with pytest.raises(
        UsageError, match=r"as affiliation-resolver 0\.0\.7 made it, and this is .*--overwrite"
    ):
        go(source, tmp_path / "run")
    manifest.write_text(json.dumps(values | {"version": "9.0", "format": "affiliation-resolver run 2"}))
    for overwrite in (False, True):
        with pytest.raises(UsageError, match=r"made by affiliation-resolver 9\.0 in the format .* run 2"):
            go(source, tmp_path / "run", overwrite=overwrite)
    command = [sys.executable, "-m", "pipeline.cli", "report", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2 and "9.0" in done.stderr and len(done.stderr.splitlines()) == 1


# --- two at once


def test_two_runs_into_one_folder(tmp_path: Path) -> None:
    """The second refuses in one line; the first ends as it would; a killed one is in nobody's way."""
    source, output = tmp_path / "strings.csv", tmp_path / "run"
    resume.write_strings(source, 600)
    first = resume.start(source, output, ())
    lock = tmp_path / ".run.partial" / ".lock"
    while not lock.exists() and first.poll() is None:
        time.sleep(0.01)
    os.kill(first.pid, signal.SIGSTOP)
    second = resume.start(source, output, ["--overwrite"])
    printed, errors = second.communicate()
    assert second.returncode == 1 and printed == "" and len(errors.splitlines()) == 1
    assert f"another run is being made in {output}" in errors
    first.kill()
    first.communicate()
    manifest, _ = resume.finish(resume.start(source, output, ()))
    assert manifest["counts"]["rows"] == 600
    assert {p.name for p in tmp_path.iterdir()} == {"strings.csv", "run"}


# --- the store


def test_a_store_gives_back_what_it_was_given(tmp_path: Path) -> None:
    import pyarrow as pa

    table = pa.table({"a": ["x", None, "ü"], "b": [[1, 2], [], [3]]})
    parts = {"numbers": np.arange(5.0), "table": table, "values": {"n": 1.1, "none": None}}
    kept = StageStore(tmp_path).save("score", "f", parts)
    found = StageStore(tmp_path).find("score", "f")
    assert found == kept and found is not None
    assert np.array_equal(found.array("numbers"), parts["numbers"])
    assert np.array_equal(found.array("numbers", is_mapped=True), parts["numbers"])
    assert found.table("table").equals(table) and found.values == {"values": parts["values"]}
    assert StageStore(tmp_path).find("score", "g") is None
    assert StageStore(tmp_path).find("block", "f") is None


def test_a_store_borrows_from_another_without_touching_it(tmp_path: Path) -> None:
    StageStore(tmp_path / "old").save("score", "f", {"numbers": np.arange(3)})
    store = StageStore(tmp_path / "new", tmp_path / "old")
    found = store.find("score", "f")
    assert found is not None and found.folder == tmp_path / "new" / "score"
    store.save("score", "g", {"numbers": np.arange(4)})
    lent = StageStore(tmp_path / "old").find("score", "f")
    assert lent is not None and lent.digest == found.digest and len(lent.array("numbers")) == 3


def test_what_was_half_written_is_removed(tmp_path: Path) -> None:
    (StageStore(tmp_path).begin("read") / "rows.parquet").write_text("half")
    StageStore(tmp_path)
    assert list(tmp_path.iterdir()) == []


# --- memory


def test_a_memory_limit_cuts_work_smaller_and_alters_nothing(
    source: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `--memory-limit` gives it; the same run all the same."""
    taken: list[int] = []
    features = PairFeatures.of

    def counted(self: PairFeatures, left: Any, right: Any) -> Any:
        taken.append(len(left))
        return features(self, left, right)

    monkeypatch.setattr(PairFeatures, "of", counted)
    monkeypatch.setattr(import_module("pipeline.scoring.score"), "_BYTES_A_PAIR", 600_000)
    go(source, tmp_path / "unlimited")
    largest = max(taken)
    taken.clear()
    monkeypatch.setenv("AFFIL_MEMORY_LIMIT", "500MB")
    outcome = go(source, tmp_path / "run")
    assert max(taken) == 500_000_000 // 8 // 600_000 < largest
    assert resume.differing(whole, outcome.folder) == ()
    monkeypatch.delenv("AFFIL_MEMORY_LIMIT")
    assert go(source, tmp_path / "run").was_finished


@pytest.mark.parametrize(("size", "part"), [("4", "such as 4GB"), ("10MB", "500MB or more")])
def test_a_wrong_memory_limit_is_one_line(size: str, part: str, source: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pipeline.cli", "resolve", source, "--output", tmp_path / "run"]
    done = subprocess.run([*command, "--memory-limit", size], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2 and done.stdout == "" and len(done.stderr.splitlines()) == 1
    assert part in done.stderr and list(tmp_path.iterdir()) == []
