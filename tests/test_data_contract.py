"""The data contract against the files of a run, in both directions."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from documents import CONTRACT, EXAMPLE, table

from blocking.pairs import RULES
from pipeline.cli import main
from pipeline.job import run_job
from pipeline.ledger import EVENTS
from pipeline.reading import ReadingSettings
from pipeline.stages import NEEDS

TABLES = ("mentions", "institutions", "sources", "pairs", "set_aside", "judgements", "authorships", "ledger")
#: A string or more for each reason for which something is set aside, and one with a parent.
MORE = [
    "",
    "12345",
    "Paris, France",
    "University of Bonn, Germany, jane@example.org",
    "University of Bonn, Tel. +49 228 730 0000",
    "University of Bonn, https://orcid.org/0000-0002-1825-0097",
    "University of Bonn, www.example.org",
    "Correspondence to: University of Bonn, Germany",
    "Present address: University of Bonn, Germany",
    "Prof. Hans Schmitz, Department of Physics, University of Bonn",
    "Prof. Dr., Department of Physics, University of Bonn",
    "Fuwai Hospital, Chinese Academy of Medical Sciences",
]

#: One with a reason, a name and a date, and one without.
JUDGEMENTS = """left,right,verdict,reason,judged_by,judged_at
"Cairo Univ, Fac Med, Dept Pediat, Cairo, Egypt","University of Bonn, www.example.org",no,towns,Ada,2026-01-02
"University of Bonn, www.example.org",Mars University,must-link,,,
"""


def type_name(kind: pa.DataType) -> str:
    """An Arrow type in the words of the contract."""
    if pa.types.is_dictionary(kind):
        return f"{type_name(kind.value_type)} (dictionary)"
    if pa.types.is_list(kind):
        return f"list of {type_name(kind.value_type)}"
    return {"double": "float64", "float": "float32"}.get(str(kind), str(kind))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the example and `MORE`."""
    folder = tmp_path_factory.mktemp("contract")
    with (folder / "more.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "affiliation", "year", "n_papers", "institution"])
        writer.writerows([f"d{n}", text, n % 2 or "", 1, ""] for n, text in enumerate(MORE))
    said = folder / "judgements.csv"
    said.write_text(JUDGEMENTS, encoding="utf-8")
    reading = ReadingSettings(
        id_column="id", count_column="n_papers", author_columns=("id", "institution", "year")
    )
    inputs = [str(EXAMPLE), str(folder / "more.csv")]
    return run_job(inputs, folder / "run", reading=reading, judgements=said).folder


@pytest.fixture(scope="module")
def followed(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that follows that one: some strings are gone, two are new."""
    folder = tmp_path_factory.mktemp("followed")
    more = folder / "more.csv"
    rows = ["n1,University of Nowhere,,1,", '"n2","Cairo University, Cairo, Egypt, North Africa",,1,']
    more.write_text("\n".join(["id,affiliation,year,n_papers,institution", *rows]) + "\n", encoding="utf-8")
    return run_job([str(EXAMPLE), str(more)], folder / "run", previous=run).folder


@pytest.fixture
def home(name: str, run: Path, followed: Path) -> Path:
    """The run that has the table `name`."""
    return followed if name == "ledger" else run


@pytest.mark.parametrize("name", TABLES)
def test_columns_and_types_are_the_documented_ones(home: Path, name: str) -> None:
    schema = pq.read_schema(home / f"{name}.parquet")
    documented = [(column, cells[0]) for column, cells in table(CONTRACT, name, "column").items()]
    assert [(field.name, type_name(field.type)) for field in schema] == documented


@pytest.mark.parametrize("name", TABLES)
def test_a_column_that_is_never_null_has_no_null_and_the_others_have(home: Path, name: str) -> None:
    found = pq.read_table(home / f"{name}.parquet")
    assert found.num_rows
    for column, (_, null, _) in table(CONTRACT, name, "column").items():
        n_null = found.column(column).null_count
        # Every row of this run lacks a reranker's logit; every other column has both.
        assert (n_null == 0) == null.startswith("never"), (
            f"{name}.{column}: {n_null} nulls, documented: {null}"
        )


@pytest.mark.parametrize("name", ["mentions", "institutions"])
def test_csv_files_have_the_columns_of_the_parquet_files(run: Path, name: str) -> None:
    with (run / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = list(csv.reader(file))
    assert header == list(table(CONTRACT, name, "column"))
    assert len(rows) == pq.read_metadata(run / f"{name}.parquet").num_rows


def test_resolved_adds_the_documented_columns_to_the_users_own(run: Path, tmp_path: Path) -> None:
    mine = pyarrow.csv.read_csv(EXAMPLE, parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True))
    documented = [(column, cells[0]) for column, cells in table(CONTRACT, "resolved", "column").items()]
    with (run / "resolved.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == [*mine.column_names, *(column for column, _ in documented)]
    assert len(rows) - 1 == len(mine) + len(MORE)
    pq.write_table(mine.slice(0, 5), tmp_path / "mine.parquet")
    folder = run_job([str(tmp_path / "mine.parquet")], tmp_path / "run").folder
    added = list(pq.read_schema(folder / "resolved.parquet"))[len(mine.column_names) :]
    assert [(field.name, type_name(field.type)) for field in added] == documented


def test_the_folders_hold_the_documented_files(run: Path, followed: Path) -> None:
    text = CONTRACT.read_text(encoding="utf-8")
    files = re.findall(r"^\| (`.+?) \|", text[: text.index("## Ids")], flags=re.MULTILINE)
    documented = {name for cell in files for name in re.findall(r"`(\w+\.\w+)`", cell)}
    found = [path for folder in (run, followed) for path in folder.iterdir()]
    assert {path.name for path in found if path.is_file()} == documented
    assert {path.name for path in found if path.is_dir()} == {"stages"}
    assert "| `stages/` |" in text


def test_the_stages_are_the_documented_ones(run: Path) -> None:
    """With the one that only a registry brings."""
    documented = {name.replace(" ", "_") for name in table(CONTRACT, "stages", "stage")}
    assert documented == {name.replace(" ", "_") for name in NEEDS}
    assert {path.name for path in (run / "stages").iterdir()} == documented - {"link"}


def test_ids_derive_as_documented(run: Path) -> None:
    mentions = pq.read_table(run / "mentions.parquet").to_pylist()
    members: dict[str, list[str]] = {}
    for row in mentions:
        assert row["affiliation_id"] == "a" + hashlib.md5(row["affiliation"].encode()).hexdigest()[:16]
        assert re.fullmatch(re.escape(row["affiliation_id"]) + r"-\d+", row["mention_id"])
        assert (row["role"] == "main") == row["mention_id"].endswith("-0")
        members.setdefault(row["entity_id"], []).append(row["mention_id"])
    assert {row["role"] for row in mentions} == {"main", "parent", "partner"}
    assert [
        e for e, ids in members.items() if e != "e" + hashlib.md5(min(ids).encode()).hexdigest()[:16]
    ] == []


@pytest.mark.parametrize("name", [*TABLES, "resolved"])
def test_example_rows_are_rows_of_the_run(home: Path, name: str) -> None:
    text = CONTRACT.read_text(encoding="utf-8")
    found = re.search(rf"<!-- example: {name} -->\nExample:\n\n```json\n(.*?)```", text, flags=re.DOTALL)
    assert found, f"no example row of {name}"
    row = json.loads(found[1])
    if name == "resolved":
        with (home / "resolved.csv").open(encoding="utf-8", newline="") as file:
            rows: list[dict[str, Any]] = list(csv.DictReader(file))
    else:
        rows = pq.read_table(home / f"{name}.parquet").to_pylist()
    assert list(row) == list(rows[0])
    # Figures move when a model is fitted again; what a string says of itself does not.
    fixed = {
        *("affiliation", "affiliation_id", "mention_id", "source_id", "string", "reason", "preferred_name"),
        *(
            "role",
            "left_mention_id",
            "right_mention_id",
            "left_id",
            "right_id",
            "verdict",
            "work_id",
            "author_id",
            "position",
            "event",
        ),
    }
    wanted = {column: value for column, value in row.items() if column in fixed}
    assert [r for r in rows if all(r[column] == value for column, value in wanted.items())]


def test_events_are_the_documented_ones(followed: Path) -> None:
    assert list(table(CONTRACT, "ledger", "event")) == list(EVENTS)
    found = pq.read_table(followed / "ledger.parquet").column("event").to_pylist()
    assert {"born", "grown", "ended"} <= set(found)


def test_reasons_and_rules_are_the_documented_ones(run: Path) -> None:
    reasons = pq.read_table(run / "set_aside.parquet").column("reason").to_pylist()
    assert set(reasons) == set(table(CONTRACT, "set_aside", "reason"))
    assert list(table(CONTRACT, "pairs", "rule")) == list(RULES)
    proposed = pq.read_table(run / "pairs.parquet").column("rule").unique().to_pylist()
    assert {rule for names in proposed for rule in names.split("+")} <= set(RULES)


def test_csv_text_never_starts_a_formula(run: Path) -> None:
    with (run / "mentions.csv").open(encoding="utf-8", newline="") as file:
        strings = [row["affiliation"] for row in csv.DictReader(file)]
    raw = pq.read_table(run / "mentions.parquet").column("affiliation").to_pylist()
    assert [s for s in raw if s.startswith("=")], "the example has a row that begins with ="
    assert strings == [f"'{s}" if s.startswith(("=", "+", "-", "@", "\t", "\r")) else s for s in raw]
    with (run / "resolved.csv").open(encoding="utf-8", newline="") as file:
        assert any(row["affiliation"].startswith("=") for row in csv.DictReader(file))


def test_the_manifest_has_the_documented_keys(run: Path) -> None:
    labels = ["--gold", str(EXAMPLE), "--cluster-column", "institution", "--separator", "|"]
    done = CliRunner().invoke(main, ["evaluate", str(run), *labels, "--save"])
    assert done.exit_code == 0, done.output
    assert set(json.loads((run / "manifest.json").read_text())) == set(
        table(CONTRACT, "manifest.json", "key")
    )
