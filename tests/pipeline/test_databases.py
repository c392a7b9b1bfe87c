"""DuckDB tables in and out: every type comes back, names are quoted, a table of the user is never lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import duckdb
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from documents import ROOT, table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import export
from pipeline.cli import main
from pipeline.databases import is_address, read_address, read_rows, write_address
from pipeline.errors import AffilError, UsageError
from pipeline.export import EXPORTED, export_run
from pipeline.job import run_job, run_job_into
from pipeline.lookup_job import are_files
from pipeline.reading import ReadingSettings, stage_rows

STRINGS = [
    "Dept Phys, Univ Oxford, Oxford, UK",
    "University of Oxford, Oxford OX1 3PU, UK",
    "=1+1 University of Bonn, Bonn, Germany",
    "'University of Bonn', Germany",
    "",
    None,
    "two\nlines, ETH Zürich, Switzerland",
]
#: Tables that a run has only where it was asked for them.
OPTIONAL = {"affil_judgements", "affil_authorships", "affil_ledger", "affil_timeline"}
ALL = {f"affil_{name}" for name in EXPORTED} - OPTIONAL


def connect(path: Path) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(str(path))


def made(path: Path, sql: str = "", table: str = "works") -> Path:
    """A database with a table of the strings, and what else there should be."""
    with connect(path) as database:
        name = '"' + table.replace('"', '""') + '"'
        database.execute(f"CREATE TABLE {name} (id INTEGER, aff VARCHAR)")
        database.executemany(f"INSERT INTO {name} VALUES (?, ?)", [[n, s] for n, s in enumerate(STRINGS)])
        database.execute(sql or "SELECT 1")
    return path


def names_in(path: Path) -> set[str]:
    with duckdb.connect(str(path), read_only=True) as database:
        return {name for (name,) in database.execute("SELECT table_name FROM duckdb_tables()").fetchall()}


def run_cli(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["resolve", *arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stderr


def test_the_documented_tables_are_those_that_are_written() -> None:
    documented = table(ROOT / "docs" / "databases.md", "Tables out", "table")
    assert list(documented) == [f"affil_{name}" for name in EXPORTED]


def test_a_table_in_a_run_folder_and_tables_out(tmp_path: Path) -> None:
    path = made(tmp_path / "works.db")
    address = f"duckdb:///{path}?table=works&column=aff"
    done = CliRunner().invoke(
        main, ["resolve", address, "--output", str(tmp_path / "run"), "--into", f"duckdb:///{path}"]
    )
    assert done.exit_code == 0, done.output
    assert names_in(path) == {"works"} | ALL
    assert "affil_institutions" in done.output
    with connect(path) as database:
        own = database.sql("SELECT id, aff FROM affil_resolved").fetchall()
        assert own == list(enumerate(STRINGS))
        resolved = database.sql("FROM affil_resolved")
        kinds = dict(zip(resolved.columns, map(str, resolved.types), strict=True))
        assert kinds["id"] == "INTEGER" and kinds["match_probability"] == "DOUBLE"
        same = database.execute(
            "SELECT count(DISTINCT entity_id) FROM affil_resolved WHERE aff LIKE '%Oxford%'"
        ).fetchall()
        assert same == [(1,)]
        for name in ("mentions", "institutions", "pairs", "sources", "set_aside"):
            stored = database.sql(f"FROM affil_{name}").fetchall()
            assert stored == duckdb.sql(f"FROM '{tmp_path / 'run' / name}.parquet'").fetchall()
        ((fingerprint, text),) = database.execute("SELECT fingerprint, manifest FROM affil_run").fetchall()
    manifest = json.loads(text)
    assert fingerprint == manifest["fingerprint"] and manifest["inputs"] == [address]
    assert manifest["reading"]["column"] == "aff"
    # The run folder has the user's table with its types, and the same command again does nothing.
    assert str(pq.read_schema(tmp_path / "run" / "resolved.parquet").field("id").type) == "int32"
    again = run_job_into(f"duckdb:///{path}", [address], tmp_path / "run")
    assert again.was_finished and set(again.tables) == ALL


def test_csv_into_a_new_database_comes_back_without_apostrophes(tmp_path: Path) -> None:
    rows = ["=A1 University of Bonn, Germany", "'quoted' University, Bonn, Germany", ""]
    source = tmp_path / "in.csv"
    source.write_text("affiliation,Entity_ID\n" + "".join(f'"{r}",7\n' for r in rows), encoding="utf-8")
    into = f"duckdb:///{tmp_path / 'new.db'}?prefix=x_"
    outcome = run_job_into(into, [str(source)], tmp_path / "run")
    assert outcome.tables[0].startswith("x_")
    with connect(tmp_path / "new.db") as database:
        found = database.sql("FROM x_resolved")
        assert found.columns[:2] == ["affiliation", "Entity_ID"]
        assert found.columns[2] == "entity_id_affil"
        names = {name for (name,) in database.sql("SELECT preferred_name FROM x_institutions").fetchall()}
        assert [row[0] for row in found.fetchall()] == rows
        assert {row[3] for row in found.fetchall()} - {None} <= names
        assert found.fetchall()[2][2:] == (None, None, None)


TYPES = {
    "HUGEINT": "170141183460469231731687303715884105727::HUGEINT",
    "DECIMAL(18,3)": "12.340::DECIMAL(18,3)",
    "DATE": "DATE '2020-02-29'",
    "TIMESTAMP": "TIMESTAMP '2020-02-29 12:00:00.123456'",
    "INTERVAL": "INTERVAL 3 DAY",
    "BIT": "'0101'::BIT",
    "UNION": "union_value(a := 1)",
    "ENUM": "'a'::ENUM('a', 'b')",
    "UUID": "'00000000-0000-0000-0000-000000000001'::UUID",
    "LIST": "[1, 2]",
    "STRUCT": "{'a': 1, 'b': 'x'}",
    "MAP": "MAP {'a': 1}",
    "BLOB": "'\\xAA'::BLOB",
}


def test_columns_of_every_type_come_back(tmp_path: Path) -> None:
    path = tmp_path / "types.db"
    with connect(path) as database:
        values = ", ".join(f'{value} AS "{name}"' for name, value in TYPES.items())
        database.execute(f"CREATE TABLE works AS SELECT 'Univ Oxford' AS affiliation, {values}")
        database.execute("INSERT INTO works (affiliation) VALUES ('Univ Bonn')")
        wanted = database.sql("FROM works ORDER BY affiliation DESC").fetchall()
    into = f"duckdb:///{path}"
    run_job_into(into, [f"{into}?table=works"], tmp_path / "run")
    with connect(path) as database:
        rows = database.sql("FROM affil_resolved ORDER BY affiliation DESC").fetchall()
    as_text = {1 + list(TYPES).index(name) for name in ("INTERVAL", "BIT", "UNION", "UUID")}
    with connect(path) as database:
        texts = database.sql(
            'SELECT "INTERVAL"::VARCHAR, "BIT"::VARCHAR, "UNION"::VARCHAR, "UUID"::VARCHAR FROM works'
            " ORDER BY affiliation DESC"
        ).fetchall()
    for row, want, text in zip(rows, wanted, texts, strict=True):
        plain = [v for n, v in enumerate(row[: len(want)]) if n not in as_text]
        assert plain == [v for n, v in enumerate(want) if n not in as_text]
        assert [row[n] for n in sorted(as_text)] == [text[i] for i in (0, 1, 2, 3)]


HOSTILE = [
    'works"; DROP TABLE works; --',
    "works'; DROP TABLE works; --",
    "(SELECT 1)",
    "read_text('/etc/passwd')",
    "a.b",
    "sélect *",
    "select",
]


@pytest.mark.parametrize("table", HOSTILE)
def test_a_name_is_quoted_never_run(table: str, tmp_path: Path) -> None:
    path = made(tmp_path / "works.db")
    before = path.read_bytes()
    address = f"duckdb:///{path}?table={quote(table)}&column=aff"
    with pytest.raises(UsageError, match="has no table"):
        stage_rows([address], tmp_path / "staged.parquet")
    assert path.read_bytes() == before
    made(tmp_path / "hostile.db", table=table)
    staged = stage_rows([address.replace("works.db", "hostile.db")], tmp_path / "staged.parquet")
    assert staged.n_rows == len(STRINGS)
    into = f"duckdb:///{path}?prefix={quote(table)}"
    run = run_job_into(into, [address.replace("works.db", "hostile.db")], tmp_path / "run")
    assert f"{table}resolved" in run.tables and "works" in names_in(path)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_any_name_goes_through_an_address(name: str) -> None:
    found = read_address(f"duckdb:///a.db?table={quote(name, safe='')}")
    assert (found.table, found.path) == (name, Path("a.db"))
    named = Path(f"/x/{name.replace('/', '_').replace(chr(92), '_')}")
    assert read_address(f"duckdb:///{quote(str(named))}?table=t").path == named


BAD_ADDRESSES = {
    "duckdb://works.db?table=works": "three slashes",
    "duckdb:///": "three slashes",
    "duckdb:///x.db?tabel=works": "table, schema, column can stand",
    "duckdb:///x.db?table=": "with a value",
    "duckdb:///x.db?table=a&table=b": "each once",
    "duckdb:///x.db?table": "name=value",
    "postgresql://me:secret@host/base?table=works": "no password in an address",
    "sqlite:///x.db?table=works": "copy the table into one",
}


@pytest.mark.parametrize("address", BAD_ADDRESSES)
def test_an_address_that_is_none_is_one_line(address: str, tmp_path: Path) -> None:
    code, error = run_cli(address, "--output", str(tmp_path / "run"))
    assert code == 2 and BAD_ADDRESSES[address] in error and error.count("\n") == 1
    assert "secret" not in error
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    path = made(tmp_path / "works.db", "CREATE TABLE n AS SELECT 1 AS x")
    (tmp_path / "other.db").write_bytes(b"no database " * 1000)
    cases = {
        f"duckdb:///{path}?table=wroks": "no table 'wroks'; it has n, works; did you mean 'works'?",
        f"duckdb:///{path}": "which table? add ?table=NAME; it has n, works",
        f"duckdb:///{path}?table=works&column=adress": "no column 'adress'; the columns are: 'id', 'aff'",
        f"duckdb:///{path}?table=works&schema=nope": "schema 'nope', has no table 'works'; it has none",
        f"duckdb:///{path}?table=n": "holds int32, not strings",
        f"duckdb:///{tmp_path / 'none.db'}?table=works": "no such file",
        f"duckdb:///{tmp_path}?table=works": "is a folder",
        f"duckdb:///{tmp_path / 'other.db'}?table=works": "not a valid DuckDB database",
    }
    for address, message in cases.items():
        code, error = run_cli(address, "--output", str(tmp_path / "run"))
        assert code in (1, 2) and message in error and error.count("\n") == 1, error
        assert not (tmp_path / "run").exists() and not (tmp_path / "none.db").exists()
    with pytest.raises(UsageError, match="different columns"):
        stage_rows([f"duckdb:///{path}?table=works&column=aff"], tmp_path / "s", ReadingSettings("id"))
    with pytest.raises(UsageError, match="Parquet and other formats"):
        other = tmp_path / "in.txt"
        other.write_text("Univ Bonn\n")
        stage_rows([f"duckdb:///{path}?table=works&column=aff", other], tmp_path / "s")
    with pytest.raises(AffilError, match="has no rows"):
        stage_rows([f"duckdb:///{made_empty(tmp_path / 'empty.db')}?table=works"], tmp_path / "s")


def made_empty(path: Path) -> Path:
    with connect(path) as database:
        database.execute("CREATE TABLE works (aff VARCHAR)")
    return path


def test_views_are_read_but_a_broken_one_is_an_error(tmp_path: Path) -> None:
    path = made(
        tmp_path / "works.db",
        "CREATE TABLE gone (aff VARCHAR); CREATE VIEW broken AS SELECT * FROM gone; DROP TABLE gone;"
        "CREATE VIEW named AS SELECT id, aff AS affiliation FROM works WHERE id < 3 ORDER BY id",
    )
    staged = stage_rows([f"duckdb:///{path}?table=named"], tmp_path / "staged.parquet")
    assert (staged.n_rows, staged.column, staged.kind) == (3, "affiliation", "parquet")
    with pytest.raises(AffilError, match="gone"):
        stage_rows([f"duckdb:///{path}?table=broken"], tmp_path / "staged.parquet")


def test_two_schemas_and_upper_case(tmp_path: Path) -> None:
    path = made(
        tmp_path / "works.db", "CREATE SCHEMA raw; CREATE TABLE raw.works AS SELECT 'Univ Bonn' AS aff"
    )
    assert stage_rows([f"duckdb:///{path}?table=WORKS&schema=raw"], tmp_path / "s").n_rows == 1
    into = f"duckdb:///{path}?schema=raw"
    run_job_into(into, [f"duckdb:///{path}?table=works&column=aff"], tmp_path / "run")
    with connect(path) as database:
        assert database.execute("SELECT count(*) FROM raw.affil_resolved").fetchall() == [(len(STRINGS),)]
    with pytest.raises(UsageError, match="has no schema 'nope'"):
        run_job_into(f"duckdb:///{path}?schema=nope", [f"duckdb:///{path}?table=works"], tmp_path / "run2")


def test_a_database_in_use_is_one_line(tmp_path: Path) -> None:
    path = made(tmp_path / "works.db")
    code = (
        f"import duckdb, sys; c = duckdb.connect({str(path)!r}); print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1) as other:
        assert other.stdout is not None and other.stdout.readline()
        read = run_cli(f"duckdb:///{path}?table=works&column=aff", "--output", str(tmp_path / "run"))
        source = tmp_path / "in.txt"
        source.write_text("Univ Bonn\n")
        written = run_cli(str(source), "--output", str(tmp_path / "run"), "--into", f"duckdb:///{path}")
        other.communicate(b"")
    for code_found, error in (read, written):
        assert code_found == 1 and error.count("\n") == 1
        assert f"is open in another program (PID {other.pid})" in error
    assert not (tmp_path / "run").exists()


def test_a_table_of_the_user_is_never_replaced_unasked(tmp_path: Path) -> None:
    path = made(tmp_path / "works.db", "CREATE TABLE Affil_Mentions AS SELECT 42 AS mine")
    source = tmp_path / "in.txt"
    source.write_text("Univ Bonn\n")
    into = f"duckdb:///{path}"
    with pytest.raises(UsageError, match=r"Affil_Mentions.*--overwrite"):
        run_job_into(into, [str(source)], tmp_path / "run")
    assert not (tmp_path / "run").exists()  # Refused before the work.
    with connect(path) as database:
        assert database.sql("FROM affil_mentions").fetchall() == [(42,)]
    run_job_into(into, [str(source)], tmp_path / "run", overwrite=True)
    assert {name.lower() for name in names_in(path)} == {"works"} | ALL
    # Another run into the same tables.
    source.write_text("Univ Bonn\nUniv Oxford\n")
    with pytest.raises(UsageError, match="add --overwrite"):
        run_job_into(into, [str(source)], tmp_path / "second")
    run_job_into(into, [str(source)], tmp_path / "second", overwrite=True)
    with connect(path) as database:
        assert database.execute("SELECT count(*) FROM affil_resolved").fetchall() == [(2,)]


def test_a_view_is_never_replaced_and_an_input_neither(tmp_path: Path) -> None:
    path = made(tmp_path / "works.db", "CREATE VIEW affil_pairs AS SELECT 1 AS x", table="affil_sources")
    source = tmp_path / "in.txt"
    source.write_text("Univ Bonn\n")
    with pytest.raises(UsageError, match="'affil_pairs' is a view"):
        run_job_into(f"duckdb:///{path}", [str(source)], tmp_path / "run", overwrite=True)
    with pytest.raises(UsageError, match="is read and would be replaced"):
        run_job_into(
            f"duckdb:///{path}",
            [f"duckdb:///{path}?table=AFFIL_SOURCES&column=aff"],
            tmp_path / "run",
            overwrite=True,
        )


def test_an_error_in_the_middle_leaves_the_database_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, source = made(tmp_path / "works.db"), tmp_path / "in.txt"
    source.write_text("Univ Bonn\n")
    real = export._create

    def failing(database: Any, address: Any, name: str, select: str) -> None:
        if name == "resolved":
            raise duckdb.IOException("IO Error: Could not write file: No space left on device")
        real(database, address, name, select)

    monkeypatch.setattr(export, "_create", failing)
    for into in (path, tmp_path / "new.db"):
        with pytest.raises(AffilError, match=r"No space left.*The run is complete in"):
            run_job_into(f"duckdb:///{into}", [str(source)], tmp_path / f"run-{into.stem}")
    assert names_in(path) == {"works"}
    assert not (tmp_path / "new.db").exists()
    monkeypatch.undo()
    # The same command goes on from the run that is complete.
    again = run_job_into(f"duckdb:///{path}", [str(source)], tmp_path / "run-works")
    assert again.was_finished and set(again.tables) == ALL


def test_killed_in_the_middle_there_are_no_tables(tmp_path: Path) -> None:
    path, source = made(tmp_path / "works.db"), tmp_path / "in.txt"
    source.write_text("Univ Bonn\n")
    run_job([str(source)], tmp_path / "run")
    code = f"""
import time
from pipeline import export
real = export._create
def slow(database, address, name, select):
    real(database, address, name, select)
    if name == "pairs":
        print("now", flush=True)
        time.sleep(60)
export._create = slow
export.export_run({str(tmp_path / "run")!r}, "duckdb:///{path}")
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=-1, cwd=Path(__file__).parents[2]) as other:
        assert other.stdout is not None and other.stdout.readline() == b"now\n"
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
    time.sleep(0.1)
    assert names_in(path) == {"works"}
    assert set(export_run(tmp_path / "run", f"duckdb:///{path}")) == ALL


def test_columns_that_duckdb_cannot_hold_are_named(tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("affiliation,x,X\nUniv Bonn,1,2\n")
    with pytest.raises(UsageError, match=r"column 'x'.*The run is complete"):
        run_job_into(f"duckdb:///{tmp_path / 'new.db'}", [str(source)], tmp_path / "run")
    assert (tmp_path / "run" / "manifest.json").exists() and not (tmp_path / "new.db").exists()


def test_another_column_of_the_same_table_is_another_run(tmp_path: Path) -> None:
    path = tmp_path / "works.db"
    with connect(path) as database:
        database.execute("CREATE TABLE works AS SELECT 'Univ Bonn' AS a, 'Univ Oxford' AS b")
    run_job([f"duckdb:///{path}?table=works&column=a"], tmp_path / "run")
    with pytest.raises(UsageError, match="other input or settings"):
        run_job([f"duckdb:///{path}?table=works&column=b"], tmp_path / "run")


def test_addresses_are_told_from_files() -> None:
    assert all(map(is_address, ("duckdb:///a", "DuckDB:///a", "postgresql+psycopg://h/d")))
    assert not any(map(is_address, ("-", "duckdb", "a.csv", "http.csv", "C:/a.csv", "s3://x/y")))
    with pytest.raises(UsageError, match="prefix, schema"):
        write_address("duckdb:///a.db?table=x")
    assert are_files(["duckdb:///a.db?table=t"], Path("found.parquet"))
    with pytest.raises(UsageError, match="no such file"):
        read_rows(read_address("duckdb:///nowhere.db?table=t"))


def test_patterns_name_files(tmp_path: Path) -> None:
    import pyarrow as pa

    for number in range(3):
        table = pa.table({"affiliation": [f"Univ Bonn {number}"]})
        pq.write_table(table, tmp_path / f"part-{number}.parquet")
    (tmp_path / "part-9.parquet").mkdir()
    (tmp_path / "odd[1].txt").write_text("Univ Oxford\n")
    outcome = run_job([str(tmp_path / "part-*.parquet")], tmp_path / "run")
    assert outcome.manifest["inputs"] == [str(tmp_path / f"part-{n}.parquet") for n in range(3)]
    assert outcome.manifest["counts"]["rows"] == 3
    one = run_job([str(tmp_path / "odd[1].txt")], tmp_path / "odd")
    assert one.manifest["counts"]["rows"] == 1
    for pattern in ("none-*.parquet", "part-[9].parquet"):
        with pytest.raises(UsageError, match="no file matches"):
            run_job([str(tmp_path / pattern)], tmp_path / "none")
