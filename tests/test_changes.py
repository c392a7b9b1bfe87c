"""From run to run, as a person meets it: `--previous`, `affil diff`, `affil trace`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from commands import affil, refuses

OLD = [
    "Department of Physics, University of Oxford, Oxford, UK",
    "University of Oxford, Oxford OX1 3PU, UK",
    "University of Oxford, Department of Statistics, UK",
    "ETH Zurich, Zurich, Switzerland",
    "Institute of Volcanology, Reykjavik, Iceland",
]
NEW = [
    *OLD[:4],
    "Univ Oxford, Dept Chem, Oxford, England",
    "<script>alert(1)</script> University of Cairo, Egypt",
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run, and one that follows it."""
    folder = tmp_path_factory.mktemp("runs")
    for name, strings, more in (("old", OLD, []), ("new", NEW, ["--previous", folder / "old"])):
        table = pd.DataFrame({"affiliation": strings})
        table.to_csv(folder / f"{name}.csv", index=False)
        done = affil("resolve", folder / f"{name}.csv", "--output", folder / name, "--quiet", *more)
        assert done.exit_code == 0, done.stderr
    return folder / "old", folder / "new"


def entity(run: Path, string: str) -> str:
    mentions = pd.read_parquet(run / "mentions.parquet")
    return str(mentions.loc[mentions["affiliation"] == string, "entity_id"].iloc[0])


def test_ids_go_on_in_every_table(runs: tuple[Path, Path]) -> None:
    old, new = runs
    for string in OLD[:4]:
        assert entity(old, string) == entity(new, string)
    mentions = pd.read_parquet(new / "mentions.parquet")
    resolved = pd.read_csv(new / "resolved.csv")
    institutions = pd.read_parquet(new / "institutions.parquet")
    assert set(mentions["entity_id"]) == set(institutions["entity_id"])
    assert set(resolved["entity_id"]) <= set(institutions["entity_id"])
    manifest = json.loads((new / "manifest.json").read_text())
    assert manifest["generation"] == 1 and manifest["previous"] == str(old)
    assert entity(old, OLD[0]) in (new / "report.html").read_text()


def test_the_same_again_is_not_run_again(runs: tuple[Path, Path]) -> None:
    old, new = runs
    command = ("resolve", new.with_suffix(".csv"), "--output", new, "--previous", old, "--json")
    assert json.loads(affil(*command).stdout)["was_finished"]
    refuses(affil(*command[:4], "--json"), "other input or settings")


def test_diff_tells_a_script(runs: tuple[Path, Path]) -> None:
    found = json.loads(affil("diff", *runs, "--json").stdout)
    assert {e["event"] for e in found["events"]} >= {"born", "grown", "ended"}
    assert found["counts"]["renumbered"] == 0
    ledger = pd.read_parquet(runs[1] / "ledger.parquet").to_dict("records")
    told = [(e["event"], e["entity_id"], e["n_mentions"]) for e in found["events"]]
    assert [(e["event"], e["entity_id"], e["n_mentions"]) for e in ledger] == told


def test_diff_tells_a_person(runs: tuple[Path, Path], tmp_path: Path) -> None:
    page = tmp_path / "changes.html"
    done = affil("diff", *runs, "--html", page)
    assert done.exit_code == 0 and "born" in done.stdout and "ended" in done.stdout
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"<script|\b(?:src|href)=[\"'](?!#)", text), "the page loads something"
    assert "Institute of Volcanology" in text
    assert "nothing changed" in affil("diff", runs[0], runs[0]).stdout


def test_the_page_escapes_names() -> None:
    from pipeline.report.changes import Row, render_changes

    row = Row("<script>x</script>", "e1", "<img src=x>", "e2", 3)
    text = render_changes({"merged": [row]}, [("merged", 1)], ("<b>", "new"))
    assert "&lt;script&gt;" in text and "<img" not in text and "<b>" not in text


def test_diff_of_runs_that_do_not_know_of_each_other_matches_by_overlap(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    done = affil("resolve", runs[1].with_suffix(".csv"), "--output", tmp_path / "alone", "--quiet")
    assert done.exit_code == 0
    linked = json.loads(affil("diff", *runs, "--json").stdout)["counts"]
    alone = json.loads(affil("diff", runs[0], tmp_path / "alone", "--json").stdout)["counts"]
    assert {k: v for k, v in alone.items() if k != "renumbered"} == {
        k: v for k, v in linked.items() if k != "renumbered"
    }


def test_trace(runs: tuple[Path, Path]) -> None:
    old, new = runs
    oxford, volcanology = entity(old, OLD[0]), entity(old, OLD[4])
    found = json.loads(affil("trace", new, oxford, volcanology, "--json").stdout)
    assert [t["current"] for t in found] == [oxford, None]
    assert [e["event"] for e in found[1]["events"]] == ["ended"]
    assert "grown" in affil("trace", new, oxford).stdout
    refuses(affil("trace", new, "e0123456789abcdef"), "ever had the id", "e0123456789abcdef")


def test_what_is_no_run_is_refused(runs: tuple[Path, Path], tmp_path: Path) -> None:
    source = runs[0].with_suffix(".csv")
    refuses(affil("resolve", source, "--output", tmp_path / "x", "--previous", tmp_path), "no finished run")
    refuses(affil("diff", tmp_path, runs[0]), "no finished run")
    refuses(affil("trace", tmp_path / "missing", "e1"), "no finished run")
    assert not (tmp_path / "x").exists()


def test_a_broken_ledger_is_told(runs: tuple[Path, Path], tmp_path: Path) -> None:
    import shutil

    shutil.copytree(runs[1], tmp_path / "run")
    (tmp_path / "run" / "ledger.parquet").write_bytes(b"PAR1")
    refuses(affil("trace", tmp_path / "run", "e1"), "missing or broken")
