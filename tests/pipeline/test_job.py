"""Files in, a run folder out: whatever the rows hold, all of them come back and the counts add up."""

import csv
import gzip
import json
import os
import shutil
import threading
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import Settings, UsageError
from pipeline.folding import RESOLVED_COLUMNS
from pipeline.job import JobOutcome, run_job
from pipeline.reading import ReadingSettings
from pipeline.stages import model_files

SCORER = Path(__file__).resolve().parents[2] / "pipeline" / "models" / "pair_scorer"


def write_csv(path: Path, rows: list[str], header: str = "affiliation") -> Path:
    with path.open("w", encoding="utf-8", newline="") as handle:
        csv.writer(handle, quoting=csv.QUOTE_ALL).writerows([[header], *([row] for row in rows)])
    return path


def check_nothing_lost(outcome: JobOutcome, rows: list[str]) -> None:
    """Every row in every place where it must be, and counts that agree with each other."""
    folder, counts = outcome.folder, outcome.manifest["counts"]
    sources = pd.read_parquet(folder / "sources.parquet")
    mentions = pd.read_parquet(folder / "mentions.parquet")
    institutions = pd.read_parquet(folder / "institutions.parquet")
    aside = pd.read_parquet(folder / "set_aside.parquet").query("is_whole")
    with (folder / "resolved.csv").open(encoding="utf-8", newline="") as handle:
        csv.field_size_limit(1 << 30)
        resolved = list(csv.DictReader(handle, strict=True))
    assert [row["affiliation"] for row in resolved] == rows
    assert sources["source_id"].tolist() == [str(i) for i in range(1, len(rows) + 1)]
    assert counts["rows"] == len(rows) == len(sources)
    main = mentions[mentions["role"] == "main"].set_index("affiliation_id")
    assert main.index.is_unique and set(main.index) == set(mentions["affiliation_id"])
    assert main["n_occurrences"].sum() + aside["n_occurrences"].sum() == len(rows)
    assert counts["set_aside"] == aside["n_occurrences"].sum()
    assert counts["distinct"] == len(main) + aside["affiliation_id"].notna().sum()
    assert counts["mentions"] == len(mentions) == institutions["n_mentions"].sum()
    assert counts["institutions"] == len(institutions) == institutions["entity_id"].nunique()
    assert set(mentions["entity_id"]) == set(institutions["entity_id"])
    assert mentions["mention_id"].is_unique
    for row, string_id in zip(resolved, sources["affiliation_id"], strict=True):
        known = isinstance(string_id, str) and string_id in main.index
        assert row["entity_id"] == (main.loc[string_id, "entity_id"] if known else "")
    assert (folder / "report.html").stat().st_size > 1000


CASES = {
    "one row": ["University of Oxford, UK"],
    "all the same": ["ETH Zürich, Switzerland"] * 500,
    "punctuation": ["...", "---", "(*)", "12345", "Univ Oxford"],
    "places": ["France", "Berlin, Germany", "UK", "University of Oxford, UK"],
    "only places": ["France", "Germany"],
    "blank": ["", " ", "\t", "\u200b"],
    "NUL bytes": ["Univ\0 Oxford, UK", "Univ Oxford, UK", "\0"],
    "emoji": ["🏫 University of Oxford 🇬🇧", "👩‍🔬👨‍🔬", "University of Oxford"],
    "right to left": [
        "جامعة القاهرة، مصر",
        "אוניברסיטת תל אביב, ישראל",
        "\u202eUniversity of Cairo\u202c, Egypt",
    ],
    "unassigned code points": ["Univ \U000e0fff Oxford", "\ufdd0\ufdd1", "\ue000 Institute", "\U0003ffff"],
    "combining marks": ["U" + "\u0301" * 500 + "niversity of Oxford", "\u0301\u0302"],
    "line breaks in cells": ["Dept of Physics\nUniversity of Oxford\r\nUK", "\r", "a\rb, University of X"],
    "formulas": ['=HYPERLINK("http://x")', "+1 University", "@Univ Oxford", "-Univ Oxford"],
    "fifty organisations": [
        "; ".join(f"University of {c}{i}, {c}" for i in range(25) for c in ("Oslo", "Bergen"))
    ],
    "two strings with one department": ["Department of Physics", "Dept. of Physics", "Dept of Phys."],
    "one word": ["CNRS", "cnrs", "C.N.R.S.", "x", "é"],
}


@pytest.mark.parametrize("name", CASES)
def test_every_row_comes_back(name: str, tmp_path: Path) -> None:
    outcome = run_job([str(write_csv(tmp_path / "in.csv", CASES[name]))], tmp_path / "run")
    check_nothing_lost(outcome, CASES[name])


def test_what_is_set_aside_has_its_reason(tmp_path: Path) -> None:
    rows = ["", "  ", "France", "France", "...", "University of Oxford, UK"]
    outcome = run_job([str(write_csv(tmp_path / "in.csv", rows))], tmp_path / "run")
    aside = pd.read_parquet(tmp_path / "run" / "set_aside.parquet").query("is_whole")
    found = sorted(zip(aside["string"], aside["reason"], aside["n_occurrences"], strict=True))
    expected = [("", "blank", 1), ("  ", "blank", 1), ("...", "no_letters", 1), ("France", "only_place", 2)]
    assert found == expected
    assert outcome.manifest["counts"]["set_aside"] == 5
    assert outcome.manifest["counts"]["institutions"] == 1


def test_a_run_of_blank_rows_is_complete(tmp_path: Path) -> None:
    outcome = run_job([str(write_csv(tmp_path / "in.csv", CASES["blank"]))], tmp_path / "run")
    counts = outcome.manifest["counts"]
    assert (counts["rows"], counts["set_aside"], counts["distinct"], counts["institutions"]) == (4, 4, 0, 0)
    assert counts["largest_cluster"] == 0
    names = {p.name for p in outcome.folder.iterdir()}
    assert {"resolved.csv", "sources.parquet", "pairs.parquet", "report.html", "manifest.json"} <= names


@pytest.mark.parametrize(
    "unit",
    ["x", "Department of Physics, University of Oxford, Oxford, UK; "],
)
def test_a_cell_of_ten_megabytes(unit: str, tmp_path: Path) -> None:
    rows = [unit * (10_000_000 // len(unit)), "University of Oxford, UK"]
    outcome = run_job([str(write_csv(tmp_path / "in.csv", rows))], tmp_path / "run")
    check_nothing_lost(outcome, rows)
    assert outcome.manifest["seconds"] < 60


def test_lone_surrogates_come_as_escapes(tmp_path: Path) -> None:
    """JSON can say what UTF-8 cannot hold."""
    path = tmp_path / "in.jsonl"
    path.write_text(
        '{"affiliation": "Univ \\ud800 Oxford, UK"}\n{"affiliation": "Univ Oxford, UK"}\n'
        '{"affiliation": "\\udfff"}\n'
    )
    outcome = run_job([str(path)], tmp_path / "run")
    check_nothing_lost(outcome, ["Univ \\ud800 Oxford, UK", "Univ Oxford, UK", "\\udfff"])


def test_parquet_comes_back_as_parquet_with_its_types(tmp_path: Path) -> None:
    table = pa.table(
        {
            "affiliation": ["Univ Oxford, UK", None, "France"],
            "year": [1999, 2000, None],
            "entity_id": [1.5, 2.5, 3.5],
        }
    )
    pq.write_table(table, tmp_path / "in.parquet")
    outcome = run_job([str(tmp_path / "in.parquet")], tmp_path / "run")
    resolved = pq.read_table(outcome.folder / "resolved.parquet")
    assert resolved.select(table.column_names).equals(table)
    assert resolved.column_names[3:] == ["entity_id_affil", *RESOLVED_COLUMNS[1:]]
    assert resolved["preferred_name"].to_pylist()[1:] == [None, None]


def test_row_order_alters_no_table_but_the_users_own(tmp_path: Path) -> None:
    rows = [
        "Univ Oxford, UK",
        "University of Oxford, UK",
        "ETH Zurich",
        "ETH Zürich, Switzerland",
        "CNRS, France",
        "Paris",
    ]
    a = run_job([str(write_csv(tmp_path / "a.csv", rows))], tmp_path / "ra").folder
    b = run_job([str(write_csv(tmp_path / "b.csv", rows[::-1]))], tmp_path / "rb").folder
    for name in ("mentions", "institutions", "pairs", "set_aside"):
        assert (a / f"{name}.parquet").read_bytes() == (b / f"{name}.parquet").read_bytes(), name


def test_a_pipe_is_read_once(tmp_path: Path) -> None:
    """`affil resolve <(zcat …)`: what was hashed could not be read again."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    content = gzip.compress(b"affiliation\nUniv Oxford\nETH Zurich\n")
    for was_finished in (False, True):
        writer = threading.Thread(target=pipe.write_bytes, args=(content,))
        writer.start()
        outcome = run_job([str(pipe)], tmp_path / "run")
        writer.join()
        assert outcome.was_finished is was_finished
        assert outcome.manifest["counts"]["rows"] == 2


def test_other_input_columns_or_settings_are_another_run(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("affiliation,key\nUniv Oxford,k1\n")
    run_job([str(path)], tmp_path / "run")
    assert run_job([str(path)], tmp_path / "run").was_finished
    others = (
        (Settings().with_values(clustering={"min_match_probability": 0.9}), None),
        (None, ReadingSettings(id_column="key")),
    )
    for settings, reading in others:
        with pytest.raises(UsageError, match="other input or settings"):
            run_job([str(path)], tmp_path / "run", settings, reading)
    shutil.copy(path, tmp_path / "same.csv")
    assert run_job([str(tmp_path / "same.csv")], tmp_path / "run").was_finished
    path.write_text("affiliation,key\nUniv Oxford,k2\n")
    with pytest.raises(UsageError, match="other input or settings"):
        run_job([str(path)], tmp_path / "run")


def test_a_model_that_was_fitted_again_makes_another_run(tmp_path: Path) -> None:
    own = Path(shutil.copytree(SCORER, tmp_path / "scorer"))
    named = {
        "scoring": {"model": str(own / "model.json")},
        "calibration": {"file": str(own / "calibration.json")},
    }
    settings = Settings().with_values(**named)
    path = str(write_csv(tmp_path / "in.csv", ["Univ Oxford, UK", "University of Oxford, UK"]))
    run_job([path], tmp_path / "run", settings)
    assert run_job([path], tmp_path / "run", settings).was_finished
    (own / "calibration.json").write_text(json.dumps({"slope": 0.5, "intercept": -1.0}))
    with pytest.raises(UsageError, match="other input or settings"):
        run_job([path], tmp_path / "run", settings)
    assert not run_job([path], tmp_path / "run", settings, overwrite=True).was_finished


def test_models_are_refused_before_a_row_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.job.stage_rows", lambda *_: pytest.fail("rows were read"))
    path = str(write_csv(tmp_path / "in.csv", ["Univ Oxford"]))
    wrong = (
        {"scoring": {"reranker": str(tmp_path / "none")}},
        {"calibration": {"file": str(tmp_path / "none.json")}},
    )
    for values in wrong:
        with pytest.raises(UsageError, match="no such"):
            run_job([path], tmp_path / "run", Settings().with_values(**values))


def test_the_manifest_tells_how_the_run_was_made(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "in.csv", ["Univ Oxford, UK", "ETH"])
    stages: list[str] = []

    def watch(stage: str) -> None:
        stages.append(stage)

    manifest = run_job([str(path)], tmp_path / "run", watch=watch).manifest
    assert manifest["inputs"] == [str(path)]
    assert manifest["reading"] == {
        "column": "affiliation",
        "id_column": None,
        "count_column": None,
        "encoding": None,
        "author_columns": None,
        "works": None,
        "year_column": None,
    }
    assert [s["name"] for s in manifest["stages"]] == stages
    wanted = [
        "read",
        "clean",
        "parse",
        "normalize",
        "block",
        "score",
        "second pass",
        "calibrate",
        "cluster",
        "consolidate",
        "write",
    ]
    assert [s for s in stages if s in wanted] == wanted
    assert Settings.from_dict(manifest["settings"]) == Settings()
    assert manifest["settings_fingerprint"] == Settings().fingerprint()
    assert manifest == json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["seconds"] == pytest.approx(sum(s["seconds"] for s in manifest["stages"]), abs=0.01)


def test_a_file_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    name = os.fsdecode(str(tmp_path).encode() + b"/caf\xe9.csv")
    with pytest.raises(UsageError, match=r"caf\\udce9\.csv is not valid UTF-8; rename"):
        run_job([name], tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_run_with_other_shipped_models_is_another_run() -> None:
    found = {path.name for section in Settings().to_dict() for path in model_files(Settings(), section)}
    assert {"model.json", "calibration.json", "document_frequency.tsv.gz"} <= found
    chosen = Settings().with_values(blocking={"encoder": "built-in"})
    assert "model.safetensors" in {path.name for path in model_files(chosen, "blocking")}
