"""Writing: whole files or none, safe cells, and errors of the disk in one line."""

from __future__ import annotations

import csv
import errno
import io
import os
import stat
import threading
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import AffilError
from pipeline.writing import (
    append_csv,
    atomic_path,
    csv_lines,
    safe_cells,
    side_by_side,
    unwritable,
    write_csv,
    write_json,
    write_parquet,
    write_text,
)


def read_back(text: str, delimiter: str = ",") -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))


def test_a_file_appears_whole_and_its_folder_with_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.txt"
    with atomic_path(path) as temporary:
        assert temporary.parent == path.parent
        temporary.write_text("done", encoding="utf-8")
        assert not path.exists()
    assert path.read_text(encoding="utf-8") == "done"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


def test_a_failure_keeps_the_old_file_and_leaves_nothing(tmp_path: Path) -> None:
    write_text("old", tmp_path / "a.txt")
    with pytest.raises(ZeroDivisionError), atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("half", encoding="utf-8")
        raise ZeroDivisionError
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_files_get_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    write_text("x", tmp_path / "a.txt")
    (tmp_path / "b.txt").write_text("x", encoding="utf-8")
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == stat.S_IMODE(
        (tmp_path / "b.txt").stat().st_mode
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    message = r"no space left: .*a\.txt \(free some space or choose another --output\)"
    with pytest.raises(AffilError, match=message), atomic_path(tmp_path / "a.txt"):
        Path("/dev/full").write_bytes(b"x" * 100_000)
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    write_text("x", tmp_path / "file")
    with pytest.raises(AffilError, match="choose another --output"):
        write_text("y", tmp_path / "file" / "a.txt")
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    with pytest.raises(AffilError, match="is a folder"):
        write_text("y", tmp_path / "folder")


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "no space left"),
        (errno.EACCES, "not allowed to write"),
        (errno.EROFS, "read-only file system"),
        (errno.EIO, "cannot write: out/a.txt"),
    ],
)
def test_errors_of_the_system_say_what_to_do(number: int, message: str) -> None:
    text = str(unwritable(OSError(number, os.strerror(number)), Path("out/a.txt")))
    assert message in text
    assert "out/a.txt" in text


def test_csv_cells_are_safe_and_lists_joined(tmp_path: Path) -> None:
    table = pa.table(
        {
            "name": ["=1+1", "+a", "-b", "@c", "\td", "\re", "a=b", "", None, "'f"],
            "n": [-1, 2, None, 4, 5, 6, 7, 8, 9, 10],
            "p": [0.5, float("nan"), None, *[1.0] * 7],
            "variants": [["=x", "y"], [], None, ["a", None, "b"], *[["z"]] * 6],
            "is_main": [True, False, None, *[True] * 7],
        }
    )
    write_csv(table, tmp_path / "a.csv")
    rows = read_back((tmp_path / "a.csv").read_bytes().decode("utf-8"))
    assert rows[0] == table.column_names
    assert [row[0] for row in rows[1:]] == ["'=1+1", "'+a", "'-b", "'@c", "'\td", "'\re", "a=b", "", "", "'f"]
    assert [row[1] for row in rows[1:5]] == ["-1", "2", "", "4"]
    assert [row[2] for row in rows[1:5]] == ["0.5", "", "", "1.0"]
    assert [row[3] for row in rows[1:5]] == ["'=x; y", "", "", "a; b"]
    assert [row[4] for row in rows[1:4]] == ["true", "false", ""]


@given(
    rows=st.lists(st.tuples(st.text(), st.text()), min_size=1),
    delimiter=st.sampled_from([",", "\t", ";"]),
)
def test_any_cells_come_back_from_csv(rows: list[tuple[str, str]], delimiter: str) -> None:
    handle = io.StringIO(newline="")
    append_csv(handle, list(zip(*rows, strict=True)), delimiter)
    assert read_back(handle.getvalue(), delimiter) == [list(row) for row in rows]


UTF8 = st.text(st.one_of(st.sampled_from(list(',;"\r\n')), st.characters(exclude_categories=["Cs"])))


@given(
    rows=st.lists(st.lists(st.one_of(st.none(), UTF8), min_size=3, max_size=3), min_size=1),
    n_columns=st.integers(1, 3),
    delimiter=st.sampled_from([",", "\t", ";"]),
    start=st.integers(0, 2),
)
def test_any_columns_come_back_from_csv(
    rows: list[list[str | None]], n_columns: int, delimiter: str, start: int
) -> None:
    columns = [pa.array(column, pa.string())[start:] for column in zip(*rows, strict=True)][:n_columns]
    text = str(csv_lines(columns, delimiter), "utf-8")
    expected = [[cell or "" for cell in row[:n_columns]] for row in rows[start:]]
    assert read_back(text, delimiter) == expected
    handle = io.StringIO(newline="")
    csv.writer(handle, delimiter=delimiter, lineterminator="\n").writerows(expected)
    assert "\r" in text or text == handle.getvalue()


@given(st.lists(st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"])))))
def test_no_cell_begins_a_formula(texts: list[str | None]) -> None:
    cells = safe_cells(pa.array(texts, pa.string())).to_pylist()
    assert not any(str(cell).startswith(("=", "+", "-", "@", "\t", "\r")) for cell in cells)
    assert [cell for cell, text in zip(cells, texts, strict=True) if cell not in (text, f"'{text}")] == []


def test_an_empty_table_is_a_header(tmp_path: Path) -> None:
    write_csv(pa.table({"a": pa.array([], pa.string())}), tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text(encoding="utf-8") == "a\n"
    write_parquet(pa.table({"a": pa.array([], pa.string())}), tmp_path / "a.parquet")
    assert pq.read_table(tmp_path / "a.parquet").num_rows == 0


@pytest.mark.parametrize("workers", ["1", "3"])
def test_what_is_called_at_once_is_over_in_the_end(monkeypatch: pytest.MonkeyPatch, workers: str) -> None:
    monkeypatch.setenv("AFFIL_WORKERS", workers)
    done: list[str] = []
    n_threads = threading.active_count()

    def late(name: str) -> None:
        if name == "wrong":
            raise AffilError("no space left")
        time.sleep(0.05)
        done.append(name)

    with side_by_side() as call:
        for name in "abcd":
            call(late, name)
    assert sorted(done) == list("abcd")
    with pytest.raises(AffilError, match="no space left"), side_by_side() as call:
        call(late, "e")
        call(late, "wrong")
    assert done[4:] == ["e"]
    assert threading.active_count() == n_threads


def test_json_is_utf8_and_finite(tmp_path: Path) -> None:
    write_json({"name": "München 😀", "n": [1, None]}, tmp_path / "a.json")
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert "München 😀" in text
    assert text.endswith("}\n")
    with pytest.raises(ValueError, match="JSON"):
        write_json({"p": float("nan")}, tmp_path / "b.json")
    assert not (tmp_path / "b.json").exists()
