"""PostgreSQL tables in and out, on a server that the tests start: types, order, quoting, one transaction."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow.parquet as pq
import pytest

driver = pytest.importorskip("adbc_driver_postgresql.dbapi", reason="no PostgreSQL driver")

from pipeline import export  # noqa: E402
from pipeline.databases import read_address  # noqa: E402
from pipeline.errors import AffilError, UsageError  # noqa: E402
from pipeline.export import EXPORTED  # noqa: E402
from pipeline.job import run_job, run_job_into  # noqa: E402
from pipeline.reading import stage_rows  # noqa: E402

#: Where Debian keeps the programs of its newest server.
PROGRAMS = max(Path("/usr/lib/postgresql").glob("*/bin"), default=Path("/usr/bin"))
#: Tables that a run has only where it was asked for them.
OPTIONAL = {"affil_judgements", "affil_authorships", "affil_ledger", "affil_timeline"}
ALL = {f"affil_{name}" for name in EXPORTED} - OPTIONAL
STRINGS = [
    "Dept Phys, Univ Oxford, Oxford, UK",
    "University of Oxford, Oxford OX1 3PU, UK",
    "ETH Zürich",
    "",
    None,
]


def program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path=str(PROGRAMS))
    if found is None:
        pytest.skip(f"no {name}: no PostgreSQL server is installed")
    return found


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a server, without a base."""
    initdb, postgres = program("initdb"), program("postgres")
    # Not in the folder of the tests: that is closed to others, and the server refuses to run as root.
    with tempfile.TemporaryDirectory(prefix="affil-postgres-", ignore_cleanup_errors=True) as folder:
        user: dict[str, Any] = {}
        if os.getuid() == 0:
            try:
                shutil.chown(folder, "postgres")
            except LookupError:
                pytest.skip("no user postgres, and the server does not run as root")
            user = {"user": "postgres", "extra_groups": []}
        data = str(Path(folder) / "data")
        command = [initdb, "-D", data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-sync"]
        subprocess.run(command, check=True, capture_output=True, cwd="/", **user)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        options = ["-p", str(port), "-k", "", "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
        with subprocess.Popen([postgres, "-D", data, *options], cwd="/", stderr=-3, **user) as process:
            address = f"postgresql://postgres@127.0.0.1:{port}"
            for _ in range(400):
                try:
                    driver.connect(f"{address}/postgres").close()
                    break
                except driver.Error:
                    time.sleep(0.05)
            yield address
            # Clients that are still there do not hold it up.
            process.send_signal(signal.SIGINT)


@pytest.fixture
def base(server: str, request: pytest.FixtureRequest) -> str:
    """The address of a base of its own, with a table of the strings."""
    name = f"b{abs(hash(request.node.name))}"
    with driver.connect(f"{server}/postgres", autocommit=True) as connection:
        execute(connection, f"CREATE DATABASE {name}")
    with driver.connect(f"{server}/{name}") as connection:
        execute(connection, "CREATE TABLE works (id int, aff text)")
        for number, string in enumerate(STRINGS):
            with connection.cursor() as cursor:
                cursor.execute("INSERT INTO works VALUES ($1, $2)", (number, string))
        connection.commit()
    return f"{server}/{name}"


def execute(connection: Any, sql: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall() if sql.startswith("SELECT") else []


def select(base: str, sql: str) -> list[Any]:
    with driver.connect(base) as connection:
        return execute(connection, sql)


def change(base: str, sql: str) -> None:
    with driver.connect(base) as connection:
        execute(connection, sql)
        connection.commit()


def names_in(base: str) -> set[str]:
    return {
        n for (n,) in select(base, "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace")
    }


def test_a_table_in_a_run_folder_and_tables_out(base: str, tmp_path: Path) -> None:
    outcome = run_job_into(base, [f"{base}?table=works&column=aff"], tmp_path / "run")
    assert set(outcome.tables) == ALL and names_in(base) == {"works"} | ALL
    assert sorted(select(base, "SELECT id, aff FROM affil_resolved")) == list(enumerate(STRINGS))
    sql = "SELECT count(DISTINCT entity_id) FROM affil_resolved WHERE aff LIKE '%Oxford%'"
    assert select(base, sql) == [(1,)]
    for name in ("mentions", "institutions", "pairs", "sources", "set_aside"):
        stored = pq.read_metadata(tmp_path / "run" / f"{name}.parquet").num_rows
        assert select(base, f"SELECT count(*) FROM affil_{name}") == [(stored,)]
    columns = "SELECT column_name, data_type FROM information_schema.columns"
    kinds = dict(select(base, f"{columns} WHERE table_name = 'affil_resolved'"))
    assert kinds["id"] == "integer" and kinds["match_probability"] == "double precision"
    again = run_job_into(base, [f"{base}?table=works&column=aff"], tmp_path / "run")
    assert again.was_finished and set(again.tables) == ALL


def test_types_come_as_they_are_or_as_text(base: str, tmp_path: Path) -> None:
    change(
        base,
        "CREATE TABLE kinds AS SELECT 'Univ Bonn'::text AS affiliation, 1.50::numeric(10,2) AS n,"
        " DATE '2020-02-29' AS d, '{\"a\": 1}'::jsonb AS j, INTERVAL '3 days' AS i, ARRAY['x','y'] AS a,"
        " 2::smallint AS s, true AS b",
    )
    staged = stage_rows([f"{base}?table=kinds"], tmp_path / "s.parquet")
    row = pq.read_table(staged.path).to_pylist()[0]
    found = {name: row[staged.field(name)] for name in staged.columns}
    assert found["n"] == "1.50" and found["j"] == '{"a": 1}' and found["i"] == "3 days"
    assert found["a"] == "{x,y}" and found["s"] == 2 and found["b"] is True
    assert found["d"].isoformat() == "2020-02-29"


HOSTILE = ['works"; DROP TABLE works; --', "works'; DROP TABLE works; --", "(SELECT 1)", "WORKS"]


@pytest.mark.parametrize("table", HOSTILE)
def test_a_name_is_quoted_never_run(table: str, base: str, tmp_path: Path) -> None:
    address = f"{base}?table={quote(table)}&column=aff"
    with pytest.raises(UsageError, match=r"has no table .*; it has works"):
        stage_rows([address], tmp_path / "s.parquet")
    quoted = '"' + table.replace('"', '""') + '"'
    change(base, f"CREATE TABLE {quoted} AS SELECT * FROM works")
    assert stage_rows([address], tmp_path / "s.parquet").n_rows == len(STRINGS)
    assert "works" in names_in(base)


def test_what_is_in_the_way_stays(base: str, tmp_path: Path) -> None:
    source = tmp_path / "in.txt"
    source.write_text("Univ Bonn\n")
    change(base, "CREATE TABLE affil_mentions AS SELECT 42 AS mine")
    with pytest.raises(UsageError, match="add --overwrite"):
        run_job_into(base, [str(source)], tmp_path / "run")
    assert not (tmp_path / "run").exists() and select(base, "SELECT * FROM affil_mentions") == [(42,)]
    run_job_into(base, [str(source)], tmp_path / "run", overwrite=True)
    assert names_in(base) == {"works"} | ALL
    change(base, "CREATE VIEW x_pairs AS SELECT 1 AS x")
    with pytest.raises(UsageError, match="'x_pairs' is a view"):
        run_job_into(f"{base}?prefix=x_", [str(source)], tmp_path / "run", overwrite=True)
    with pytest.raises(UsageError, match="has no schema 'nope'"):
        run_job_into(f"{base}?schema=nope", [str(source)], tmp_path / "run")
    with pytest.raises(UsageError, match="is read and would be replaced"):
        run_job_into(base, [f"{base}?table=affil_resolved"], tmp_path / "other", overwrite=True)


def test_an_error_in_the_middle_leaves_the_base_as_it_was(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "in.txt"
    # A zero byte is valid in our tables, and PostgreSQL has no text with one.
    source.write_text("Univ Bonn\nUniv\0 Oxford\n")
    with pytest.raises(AffilError, match="The run is complete in"):
        run_job_into(base, [str(source)], tmp_path / "run")
    assert names_in(base) == {"works"}
    assert (tmp_path / "run" / "manifest.json").exists()
    assert {p.name for p in (tmp_path / "run").iterdir() if p.name.startswith(".")} == set()
    monkeypatch.setattr(export, "_resolved", lambda *_: "SELECT 1 / 0 FROM nothing")
    with pytest.raises(AffilError):
        run_job_into(base, [str(source)], tmp_path / "run")
    assert names_in(base) == {"works"}


def test_a_server_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(AffilError, match=r"127\.0\.0\.1:1/base: .*refused.*; check the address"):
        run_job(["postgresql://postgres@127.0.0.1:1/base?table=works"], tmp_path / "run")


def test_parts_that_are_not_ours_go_to_the_server() -> None:
    found = read_address("postgres://me@host:5/base?table=a&sslmode=require&column=c")
    assert found.server == "postgresql://me@host:5/base?sslmode=require"
    assert (found.table, found.column, found.schema) == ("a", "c", "public")
