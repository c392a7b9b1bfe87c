import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline import resolve
from pipeline.errors import AffilError, UsageError
from pipeline.evaluation import evaluate
from pipeline.evaluation.gold import Gold
from pipeline.report import read_run
from pipeline.run_folder import (
    FORMAT,
    check_is_run,
    check_output,
    fingerprint_of,
    read_frames,
    read_manifest,
    save_evaluation,
)
from pipeline.tables import TABLES, entities_of_strings

STRINGS = [
    "University of Oxford, UK",
    "Univ Oxford, Oxford, UK",
    "ETH Zurich, Switzerland",
    "CNRS; Univ Lyon 1, France",
]


@pytest.fixture(scope="module")
def result():
    return resolve(STRINGS)


@pytest.fixture
def run(result, tmp_path: Path) -> Path:
    return result.write(tmp_path / "run")


def names(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


def make_run(folder: Path, fingerprint: str = "f") -> Path:
    """A folder in, the same with the least that stands for a run out."""
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"format": FORMAT, "fingerprint": fingerprint}))
    return folder


# --- check_output


def test_a_new_or_empty_folder_may_be_written(tmp_path: Path) -> None:
    (tmp_path / ".DS_Store").touch()
    assert check_output(tmp_path, "f", overwrite=False) is False
    assert check_output(tmp_path / "new" / "run", "f", overwrite=False) is False
    assert check_is_run(tmp_path) is None


def test_the_same_run_is_known_and_another_is_not_overwritten_unasked(run: Path) -> None:
    fingerprint = read_manifest(run)["fingerprint"]
    assert check_output(run, fingerprint, overwrite=False) is True
    assert check_output(run, fingerprint, overwrite=True) is True
    with pytest.raises(UsageError, match="other input or settings; add --overwrite"):
        check_output(run, "another", overwrite=False)
    assert check_output(run, "another", overwrite=True) is False


@pytest.mark.parametrize("lost", ["pairs.parquet", "report.html", "mentions.csv"])
def test_a_run_that_lost_a_file_is_made_again(run: Path, lost: str) -> None:
    (run / lost).unlink()
    assert check_output(run, read_manifest(run)["fingerprint"], overwrite=False) is False


def test_what_is_not_of_the_run_is_protected(run: Path) -> None:
    (run / "notes.txt").touch()
    assert check_output(run, read_manifest(run)["fingerprint"], overwrite=False) is True
    with pytest.raises(UsageError, match=r"notes\.txt"):
        check_output(run, "another", overwrite=True)
    (run / "pairs.parquet").unlink()
    with pytest.raises(UsageError, match=r"notes\.txt"):
        check_output(run, read_manifest(run)["fingerprint"], overwrite=False)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"format": "something else 1"}', '{"fingerprint": "f"}'])
def test_a_foreign_manifest_is_no_run(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    assert read_manifest(tmp_path) is None
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="holds something that is no run"):
            check_output(tmp_path, "f", overwrite)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    with pytest.raises(UsageError, match="is a file, not a folder"):
        check_output(tmp_path / "x", "f", overwrite=True)


# --- reading back, saving an evaluation


def test_tables_come_back_as_they_were(result, run: Path) -> None:
    frames = read_frames(run)
    for name in TABLES:
        kept, own = getattr(frames, name), getattr(result, name)
        assert list(kept.columns) == list(own.columns)
        assert len(kept) == len(own)
    assert frames.mentions["mention_id"].tolist() == result.mentions["mention_id"].tolist()
    kept, own = (x.pairs["rescored_logit"].to_numpy() for x in (frames, result))
    assert np.array_equal(kept, own, equal_nan=True)
    lists = [list(v) for v in frames.institutions["variant_names"]]
    assert lists == result.institutions["variant_names"].tolist()


def test_an_empty_result_has_the_columns_and_types_of_a_full_one(result, tmp_path: Path) -> None:
    empty = resolve([None, "", "  ", "..."])
    full, none = read_frames(result.write(tmp_path / "a")), read_frames(empty.write(tmp_path / "b"))
    for name in TABLES[:3]:
        assert len(getattr(none, name)) == 0
        ours, theirs = getattr(none, name).dtypes, getattr(full, name).dtypes
        assert list(ours.index) == list(theirs.index)
        for column, kind in theirs.items():
            if kind in (float, int, bool):
                assert ours[column] == kind, (name, column)
        assert getattr(empty, name).dtypes.drop(["rule"], errors="ignore").map(str).to_dict().keys() <= set(
            theirs.index
        )
    assert none.set_aside["reason"].tolist() == ["blank", "blank", "no_letters"]


def test_what_is_no_run_cannot_be_read(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no finished run"):
        read_frames(tmp_path / "none")
    (run / "pairs.parquet").write_bytes(b"PAR1 broken")
    with pytest.raises(UsageError, match="missing or broken"):
        read_frames(run)
    (run / "pairs.parquet").unlink()
    with pytest.raises(UsageError, match="missing or broken"):
        read_frames(run)


def test_every_string_has_one_main_entity(result) -> None:
    table = entities_of_strings(result.frames).to_pandas()
    assert sorted(table["affiliation_id"]) == sorted(result.mentions["affiliation_id"].unique())
    assert set(table["preferred_name"]) <= set(result.institutions["preferred_name"])


@pytest.fixture
def evaluation(result):
    gold = Gold(sorted(STRINGS[:3]), [("eth",), ("oxford",), ("oxford",)])
    return evaluate(result.mentions, gold, pairs=result.pairs)


def test_an_evaluation_is_kept_in_manifest_and_report(run: Path, evaluation) -> None:
    before = read_manifest(run)
    save_evaluation(run, read_run(run), evaluation)
    after = read_manifest(run)
    assert after["evaluation"]["b3_f1"] == evaluation.value("b3_f1")
    assert after["evaluation"]["pair_f1"] == evaluation.value("pair_f1")
    assert after["evaluation"]["n_gold_strings"] == 3
    assert all(isinstance(v, int | float) for v in after["evaluation"].values())
    assert {k: v for k, v in after.items() if k != "evaluation"} == before
    assert "B³" in (run / "report.html").read_text(encoding="utf-8")
    other = replace(evaluation, measures=evaluation.measures[:1])
    save_evaluation(run, read_run(run), other)
    assert "b3_f1" not in read_manifest(run)["evaluation"]
    assert not [n for n in names(run) if n.endswith(".tmp")]


def test_an_evaluation_that_cannot_be_written_leaves_the_run_as_it_was(
    run: Path, evaluation, monkeypatch
) -> None:
    before = {p.name: p.read_bytes() for p in run.iterdir()}

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(AffilError, match="no space left"):
        save_evaluation(run, read_run(run), evaluation)
    assert {p.name: p.read_bytes() for p in run.iterdir()} == before


# --- fingerprints


def test_a_fingerprint_names_content_order_and_settings(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_text("one")
    b.write_text("two")
    known = fingerprint_of([a, b], {"x": 1, "y": 2})
    assert len(known) == 16 and int(known, 16) >= 0
    assert fingerprint_of([a, b], {"y": 2, "x": 1}) == known
    assert fingerprint_of([b, a], {"x": 1, "y": 2}) != known
    assert fingerprint_of([a], {"x": 1, "y": 2}) != known
    assert fingerprint_of([a, b], {"x": 1, "y": 3}) != known
    os.utime(a, (0, 0))
    assert fingerprint_of([Path(shutil.copy(a, tmp_path / "c")), b], {"x": 1, "y": 2}) == known
    a.write_text("one more")
    assert fingerprint_of([a, b], {"x": 1, "y": 2}) != known


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no such file: .*none"):
        fingerprint_of([tmp_path / "none"], {})
    with pytest.raises(UsageError, match="is a folder"):
        fingerprint_of([tmp_path], {})


def test_frames_are_what_a_person_meets(result) -> None:
    assert isinstance(result.institutions, pd.DataFrame)
    assert result.institutions["n_occurrences"].is_monotonic_decreasing
    assert result.mentions["affiliation_id"].is_monotonic_increasing
