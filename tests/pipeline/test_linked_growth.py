"""Adding to a run with a registry: links, ids and years are those of one run on the whole."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from pipeline.add_job import run_add_job
from pipeline.job import run_job
from pipeline.reading import ReadingSettings
from pipeline.registry import import_registry
from pipeline.settings import Settings

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
READING = ReadingSettings(id_column="id", count_column="n_papers", year_column="year")
TABLES = ("mentions", "institutions", "pairs", "timeline", "sources")


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def frame(run: Path, name: str) -> pd.DataFrame:
    return pd.read_parquet(run / f"{name}.parquet")


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The example in two files."""
    folder = tmp_path_factory.mktemp("parts")
    lines = (EXAMPLES / "affiliations.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    for name, own in (("a", lines[1:220]), ("b", lines[220:])):
        (folder / f"{name}.csv").write_text("".join([lines[0], *own]), encoding="utf-8")
    return [str(folder / "a.csv"), str(folder / "b.csv")]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    path = tmp_path_factory.mktemp("registry") / "example.parquet"
    import_registry(EXAMPLES / "registry.csv", path)
    return Settings().with_values(linking={"registry": str(path)})


@pytest.fixture(scope="module")
def whole(parts: list[str], settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_job(parts, tmp_path_factory.mktemp("whole") / "run", settings, READING).folder


@pytest.fixture(scope="module")
def grown(parts: list[str], settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    first = run_job(parts[:1], tmp_path_factory.mktemp("grown") / "run", settings, READING).folder
    kept = first.with_name("kept")
    shutil.copytree(first, kept)
    run_add_job(first, parts[1:])
    return first


def test_mentions_link_to_what_they_link_to_in_one_run_on_the_whole(grown: Path, whole: Path) -> None:
    columns = ["mention_id", "link_id", "link_name", "link_probability"]
    one, other = (frame(run, "mentions")[columns] for run in (grown, whole))
    assert one["link_id"].notna().sum() > 50
    pd.testing.assert_frame_equal(one, other)


def test_tables_have_the_columns_of_a_run(grown: Path, whole: Path) -> None:
    for name in TABLES:
        assert pq.read_schema(grown / f"{name}.parquet") == pq.read_schema(whole / f"{name}.parquet")


def test_rows_keep_what_the_user_had_and_are_nearly_all_the_same_record(grown: Path, whole: Path) -> None:
    one, other = read(grown / "resolved.csv"), read(whole / "resolved.csv")
    assert list(one[0]) == list(other[0])
    own = list(read(EXAMPLES / "affiliations.csv")[0])
    assert [[row[c] for c in own] for row in one] == [[row[c] for c in own] for row in other]
    for column in ("registry_id", "registry_id_then"):
        assert sum(bool(row[column]) for row in one) > 100
        assert sum(a[column] == b[column] for a, b in zip(one, other, strict=True)) > 0.97 * len(one)


def test_institutions_take_what_the_registry_says(grown: Path, whole: Path) -> None:
    one, other = (frame(run, "institutions").dropna(subset=["registry_id"]) for run in (grown, whole))
    names = [dict(zip(t["registry_id"], t["preferred_name"], strict=True)) for t in (one, other)]
    assert len(names[0].keys() & names[1].keys()) > 0.95 * len(names[1])
    assert all(names[0][i] == names[1][i] for i in names[0].keys() & names[1].keys())
    assert one["registry_id"].is_unique


def test_ids_of_institutions_go_on(grown: Path) -> None:
    before = frame(grown.with_name("kept"), "institutions")
    assert len(set(before["entity_id"]) & set(frame(grown, "institutions")["entity_id"])) > 0.9 * len(before)
    events = frame(grown, "ledger")
    assert set(events.loc[events["generation"] == 1, "event"]) >= {"grown", "born"}


def test_a_third_addition_to_a_grown_run_reads_it_as_the_first_did(grown: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(grown, run)
    more = tmp_path / "more.csv"
    more.write_text('id,affiliation,year,n_papers,institution\nz,"Charité, Berlin",2020,1,charite\n', "utf-8")
    assert run_add_job(run, [str(more)]).n_rows == 1
    rows = read(run / "resolved.csv")
    assert rows[-1]["id"] == "z" and rows[-1]["registry_id"] == "https://ror.org/001w7jn25"
    assert list(rows[0]) == list(read(grown / "resolved.csv")[0])
