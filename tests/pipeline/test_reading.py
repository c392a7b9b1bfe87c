"""Reading: every format, every kind of broken file, and strings that come back as they went in."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openpyxl import Workbook

from pipeline.errors import AffilError, UsageError
from pipeline.folding import fold_rows
from pipeline.formats import next_size
from pipeline.inputs import sniff_delimiter, sniff_kind
from pipeline.reading import ReadingSettings, stage_rows
from pipeline.rows import StagedRows, choose_column

STRINGS = [
    "Klinikum r.d. Isar, TU München",
    'The "old" clinic',
    "two\nlines",
    "win\r\nline",
    "a\rb",
    "nul\0byte",
    "😀 Univ",
    "جامعة القاهرة",
    "\u0378 unassigned",
    " padded ",
    "=1+1",
    "007",
    "",
    "e\u0301 is not é",
    "\ufeffmark",
    "a\u2028b\x85c",
    ";|\t,",
    "NULL",
    "nan",
]


def stage(path: Path | list[Path], tmp_path: Path, **options: str) -> StagedRows:
    paths = path if isinstance(path, list) else [path]
    return stage_rows(paths, tmp_path / "staged.parquet", ReadingSettings(**options))


def values(staged: StagedRows, column: str | None = None) -> Any:
    return (
        pq.read_table(staged.path)
        .column(staged.field(staged.column if column is None else column))
        .to_pylist()
    )


def write_csv(path: Path, header: list[str], rows: list[list[str]], **dialect: Any) -> Path:
    with path.open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle, quoting=csv.QUOTE_ALL, **dialect).writerows([header, *rows])
    return path


def write_jsonl(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_xlsx(path: Path, rows: list[Any]) -> Path:
    book = Workbook()
    for row in rows:
        book.active.append(row)
    book.save(path)
    return path


def packed(path: Path) -> Path:
    target = path.with_name(path.name + ".gz")
    target.write_bytes(gzip.compress(path.read_bytes()))
    return target


def one_of_each(folder: Path, texts: list[str]) -> list[Path]:
    numbered = [[str(n), text] for n, text in enumerate(texts)]
    folder.mkdir(exist_ok=True)
    pq.write_table(
        pa.table({"id": [str(n) for n in range(len(texts))], "affiliation": texts}), folder / "a.parquet"
    )
    return [
        write_csv(folder / "a.csv", ["id", "affiliation"], numbered),
        write_csv(folder / "b.csv", ["id", "affiliation"], numbered, delimiter=";", lineterminator="\n"),
        write_csv(folder / "a.tsv", ["id", "affiliation"], numbered, delimiter="\t"),
        write_jsonl(folder / "a.jsonl", [{"id": n, "affiliation": text} for n, text in numbered]),
        folder / "a.parquet",
    ]


@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize("is_packed", [False, True])
def test_every_format_gives_the_same_strings_back(tmp_path: Path, number: int, is_packed: bool) -> None:
    path = one_of_each(tmp_path / "in", STRINGS)[number]
    staged = stage(packed(path) if is_packed else path, tmp_path)
    assert values(staged) == STRINGS
    assert values(staged, "id") == [str(n) for n in range(len(STRINGS))]
    assert (staged.columns, staged.n_rows) == (("id", "affiliation"), len(STRINGS))
    rows = pq.read_table(staged.path)
    assert rows.column("__row").to_pylist() == list(range(1, len(STRINGS) + 1))
    assert set(rows.column("__file").to_pylist()) == {str(packed(path) if is_packed else path)}


printable = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(texts=st.lists(printable, min_size=1, max_size=12))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_strings_come_back(tmp_path: Path, texts: list[str]) -> None:
    for path in one_of_each(tmp_path / "in", texts):
        assert values(stage(path, tmp_path)) == texts


def test_text_is_one_string_a_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes('Univ A, "B"\r\n\nc\u2028d\x85e\nlast'.encode())
    staged = stage(tmp_path / "a.txt", tmp_path)
    assert values(staged) == ['Univ A, "B"', "", "c\u2028d\x85e", "last"]
    assert (staged.columns, staged.kind, staged.delimiter) == (("affiliation",), "text", None)
    assert values(stage(packed(tmp_path / "a.txt"), tmp_path)) == values(staged)


def test_xlsx_takes_the_first_sheet_as_text(tmp_path: Path) -> None:
    rows = [
        ["id", "affiliation", "n"],
        ["007", "Univ A", 3],
        [8, None, 2.5],
        [None, None, None],
        [9.0, "two\nlines"],
    ]
    path = write_xlsx(tmp_path / "a.xlsx", [*rows, [None], [None]])
    for staged in (stage(path, tmp_path), stage(packed(path), tmp_path)):
        assert values(staged) == ["Univ A", None, None, "two\nlines"]
        assert values(staged, "id") == ["007", "8", None, "9"]
        assert values(staged, "n") == ["3", "2.5", None, None]


def test_jsonl_keeps_numbers_as_written_and_unites_fields(tmp_path: Path) -> None:
    lines = '{"aff": "A", "n": 1.10, "big": 123456789012345678901234567890}\n\n'
    lines += '{"aff": "B", "ok": true, "l": [1, "é"]}\n'
    (tmp_path / "a.ndjson").write_text(lines, encoding="utf-8")
    staged = stage(tmp_path / "a.ndjson", tmp_path)
    assert staged.columns == ("aff", "n", "big", "ok", "l")
    assert values(staged, "n") == ["1.10", None]
    assert values(staged, "big") == ["123456789012345678901234567890", None]
    assert values(staged, "ok") == [None, "true"]
    assert "é" in str(values(staged, "l")[1])


def test_lone_surrogates_of_json_stay_as_their_escape(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"aff": "x\\ud800y"}\n{"aff": "\\ud83d\\ude00"}\n', encoding="utf-8")
    assert values(stage(tmp_path / "a.jsonl", tmp_path)) == ["x\\ud800y", "😀"]


def test_parquet_keeps_types_and_reads_any_kind_of_text(tmp_path: Path) -> None:
    table = pa.table(
        {
            "id": pa.array([7, 2**60, None]),
            "affiliation": pa.array(["A", None, "A"]).dictionary_encode(),
            "tags": pa.array([["x"], [], None]),
            "when": pa.array([0, 1, 2], pa.timestamp("us", "UTC")),
            "nothing": pa.nulls(3),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    staged = stage(tmp_path / "a.parquet", tmp_path)
    kept = pq.read_table(staged.path)
    assert [kept.schema.field(n).type for n in (0, 2, 3)] == [table.schema.field(n).type for n in (0, 2, 3)]
    assert kept.column(0).to_pylist() == [7, 2**60, None]
    assert values(staged) == ["A", None, "A"]
    assert fold_rows(staged).affiliations.n_occurrences.tolist() == [2]
    binary = pa.table({"affiliation": pa.array([b"caf\xc3\xa9"], pa.binary())})
    pq.write_table(binary, tmp_path / "b.parquet")
    assert values(stage(tmp_path / "b.parquet", tmp_path)) == ["café"]
    pq.write_table(pa.table({"affiliation": pa.array([b"caf\xe9"], pa.binary())}), tmp_path / "c.parquet")
    with pytest.raises(AffilError, match=r"c\.parquet, rows 1 to 1.*not UTF-8"):
        stage(tmp_path / "c.parquet", tmp_path)


def test_awkward_column_names_are_all_right(tmp_path: Path) -> None:
    header = ["", "ID", "id", "__row", "affiliation"]
    staged = stage(
        write_csv(tmp_path / "a.csv", header, [["1", "2", "3", "4", "A"]]), tmp_path, id_column="id"
    )
    assert staged.columns == tuple(header)
    assert [values(staged, name) for name in header] == [["1"], ["2"], ["3"], ["4"], ["A"]]


def test_several_files_are_one_table_in_the_columns_order_of_the_first(tmp_path: Path) -> None:
    first = write_csv(tmp_path / "a.csv", ["id", "affiliation"], [["1", "A"], ["2", "B"]])
    second = write_csv(tmp_path / "b.tsv", ["affiliation", "id"], [["C", "3"]], delimiter="\t")
    third = write_jsonl(tmp_path / "c.jsonl", [{"affiliation": "D"}])
    staged = stage([first, second, third], tmp_path)
    assert values(staged) == ["A", "B", "C", "D"]
    assert values(staged, "id") == ["1", "2", "3", None]
    rows = pq.read_table(staged.path)
    assert rows.column("__row").to_pylist() == [1, 2, 3, 4]
    assert rows.column("__file").to_pylist() == [str(first), str(first), str(second), str(third)]
    assert (staged.kind, staged.delimiter) == ("csv", ",")


def test_a_cell_of_ten_megabytes_and_small_batches_after_it(tmp_path: Path) -> None:
    texts = ["é" * 5_000_000, *(f"Univ {n}" for n in range(3000))]
    staged = stage(write_csv(tmp_path / "a.csv", ["affiliation"], [[text] for text in texts]), tmp_path)
    assert values(staged) == texts
    assert next_size(16, 1 << 30) == 1
    assert next_size(65_536, 1000) == 65_536


def test_one_row_and_all_duplicates(tmp_path: Path) -> None:
    assert stage(write_csv(tmp_path / "a.csv", ["aff"], [["A"]]), tmp_path).n_rows == 1
    staged = stage(write_csv(tmp_path / "b.csv", ["aff"], [["A"]] * 40_000), tmp_path)
    assert staged.n_rows == 40_000
    assert set(values(staged)) == {"A"}


def test_blank_lines_are_rows_of_one_column_and_nothing_with_more(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("aff\nA\n\nB\n", encoding="utf-8")
    assert values(stage(tmp_path / "a.csv", tmp_path)) == ["A", "", "B"]
    (tmp_path / "b.csv").write_text("\nid,aff\n1,A\n\n2,B\n\n", encoding="utf-8")
    assert values(stage(tmp_path / "b.csv", tmp_path)) == ["A", "B"]


def test_progress_ends_at_the_size_of_the_input(tmp_path: Path) -> None:
    path = packed(write_csv(tmp_path / "a.csv", ["aff"], [[str(n)] for n in range(5000)]))
    ticks: list[tuple[int, int]] = []
    stage_rows(
        [path, path], tmp_path / "s.parquet", on_progress=lambda done, total: ticks.append((done, total))
    )
    assert ticks == sorted(ticks)
    assert ticks[-1] == (2 * path.stat().st_size, 2 * path.stat().st_size)


class TestColumns:
    def test_guess_prefers_the_surest_name_and_then_the_only_column(self) -> None:
        assert (
            choose_column(["Institution", "Raw Affiliation-String", "id"], None) == "Raw Affiliation-String"
        )
        assert choose_column(["AFFILIATIONS"], None) == "AFFILIATIONS"
        assert choose_column(["whatever"], None) == "whatever"
        assert choose_column(["paper", "where"], None, taken=("paper", None)) == "where"

    def test_no_obvious_column_lists_them(self) -> None:
        with pytest.raises(UsageError, match=r"--column, one of: 'id', 'where'"):
            choose_column(["id", "where"], None)

    def test_missing_column_names_the_nearest(self, tmp_path: Path) -> None:
        path = write_csv(tmp_path / "a.csv", ["id", "Affiliation"], [["1", "A"]])
        with pytest.raises(
            UsageError, match=r"no column 'affilation'; .*'id', 'Affiliation'; did you mean 'Affil"
        ):
            stage(path, tmp_path, column="affilation")
        with pytest.raises(UsageError, match=r"no column 'pid'.*did you mean 'id'"):
            stage(path, tmp_path, id_column="pid")

    def test_same_name_twice_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(AffilError, match="two columns are named 'aff'"):
            stage(write_csv(tmp_path / "a.csv", ["aff", "x", "aff"], [["1", "2", "3"]]), tmp_path)

    @pytest.mark.parametrize("bad", ["0", "-1", "1.5", "", "x", "1e3", "1" * 12, " 2"])
    def test_counts_must_be_positive_integers(self, tmp_path: Path, bad: str) -> None:
        rows = [["A", "1"], ["B", "007"], ["C", bad]]
        with pytest.raises(AffilError, match=r"a\.csv, row 3: count .* no positive integer"):
            stage(write_csv(tmp_path / "a.csv", ["aff", "n"], rows), tmp_path, count_column="n")

    @pytest.mark.parametrize("bad", [0, -1, None, 1.5, float("nan")])
    def test_counts_of_parquet(self, tmp_path: Path, bad: float | None) -> None:
        pq.write_table(
            pa.table({"aff": ["A", "B"], "n": [2, bad] if bad != 1.5 else [2.0, bad]}), tmp_path / "a.pq"
        )
        with pytest.raises(AffilError, match="row 2: count"):
            stage(tmp_path / "a.pq", tmp_path, count_column="n")

    def test_count_column_cannot_be_the_affiliation(self) -> None:
        with pytest.raises(UsageError, match="cannot hold counts"):
            ReadingSettings(column="aff", count_column="aff")


class TestEncodings:
    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
    def test_marked_files(self, tmp_path: Path, encoding: str) -> None:
        (tmp_path / "a.csv").write_text("aff,id\nMünchen 😀,1\n", encoding=encoding)
        for asked in ({}, {"encoding": encoding}):
            staged = stage(tmp_path / "a.csv", tmp_path, **asked)
            assert (staged.columns, values(staged), staged.warnings) == (("aff", "id"), ["München 😀"], ())

    @pytest.mark.parametrize("mark", [codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE])
    def test_both_byte_orders(self, tmp_path: Path, mark: bytes) -> None:
        encoding = "utf-16-le" if mark == codecs.BOM_UTF16_LE else "utf-16-be"
        (tmp_path / "a.txt").write_bytes(mark + "北京大学\nŁódź".encode(encoding))
        assert values(stage(tmp_path / "a.txt", tmp_path)) == ["北京大学", "Łódź"]
        assert values(stage(tmp_path / "a.txt", tmp_path, encoding=encoding)) == ["北京大学", "Łódź"]

    @pytest.mark.parametrize(
        ("encoding", "texts"),
        [
            ("cp1252", ["Université de Besançon, Hôpital", "Universität für Bodenkultur", "Coruña, España"]),
            ("latin-1", ["Ministère de la Santé", "Systèmes à grande échelle", "Hôpital Necker"]),
            ("cp1250", ["Wydział Fizyki, Łódź, Polska", "Politechnika Śląska, Gliwice", "Gdańsk", "Poznań"]),
            ("cp1251", ["Московский государственный университет", "Институт физики НАН Украины, Киев"]),
            ("gb18030", ["北京大学物理学院,北京", "清华大学计算机科学与技术系", "中国科学院化学研究所"]),
            (
                "shift_jis",
                ["東京大学大学院理学系研究科", "京都大学医学部附属病院", "国立研究開発法人理化学研究所"],
            ),
            ("big5", ["國立臺灣大學醫學院附設醫院", "國立清華大學"]),
            ("euc_kr", ["서울대학교 의과대학", "한국과학기술원 전산학부"]),
        ],
    )
    def test_other_encodings_are_found_with_a_warning(
        self, tmp_path: Path, encoding: str, texts: list[str]
    ) -> None:
        rows = [*texts, *(f"Department of Physics {n}" for n in range(20))]
        (tmp_path / "a.txt").write_bytes("\n".join(rows).encode(encoding))
        staged = stage(tmp_path / "a.txt", tmp_path)
        assert values(staged) == rows
        assert len(staged.warnings) == 1
        assert "is not UTF-8 (byte offset" in staged.warnings[0]

    def test_an_encoding_that_could_be_several_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_bytes(b"Xyz\nB\xe8q \xf8w\n")
        with pytest.raises(
            AffilError, match=r"byte offset 5 is not UTF-8.*cannot be told.*cp1252.*give --encoding"
        ):
            stage(tmp_path / "a.txt", tmp_path)
        assert values(stage(tmp_path / "a.txt", tmp_path, encoding="cp1252")) == ["Xyz", "Bèq øw"]

    def test_mixed_encodings_are_refused_with_the_byte(self, tmp_path: Path) -> None:
        good = "Universität München\n".encode() * 60_000
        (tmp_path / "a.txt").write_bytes(good + b"Universit\xe4t\n" + good)
        with pytest.raises(
            AffilError, match=rf"byte offset {len(good) + 9} is not UTF-8, though 120000 of 120001"
        ):
            stage(tmp_path / "a.txt", tmp_path)

    def test_a_character_cut_off_at_the_end(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_bytes("Universität München\n北".encode()[:-1])
        with pytest.raises(AffilError, match="byte offset 22 is not UTF-8"):
            stage(tmp_path / "a.txt", tmp_path)

    def test_encoding_that_was_asked_for_is_held_to(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_bytes(b"caf\xe9")
        with pytest.raises(AffilError, match="byte offset 3 is not utf-8"):
            stage(tmp_path / "a.txt", tmp_path, encoding="utf8")
        with pytest.raises(UsageError, match="unknown encoding 'klingon'"):
            stage(tmp_path / "a.txt", tmp_path, encoding="klingon")
        with pytest.raises(UsageError, match="unknown encoding 'hex'"):
            stage(tmp_path / "a.txt", tmp_path, encoding="hex")

    def test_utf16_without_a_mark_is_not_taken_for_utf8(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_bytes("University of Somewhere".encode("utf-16-le"))
        with pytest.raises(AffilError, match="give --encoding utf-16-le"):
            stage(tmp_path / "a.txt", tmp_path)
        assert values(stage(tmp_path / "a.txt", tmp_path, encoding="utf-16-le")) == [
            "University of Somewhere"
        ]


def truncated(path: Path, share: float) -> Path:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path


def raw(name: str, content: bytes | str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return make


def folder_instead(folder: Path) -> Path:
    (folder / "d.csv").mkdir()
    return folder / "d.csv"


def cut_gzip(folder: Path) -> Path:
    rows = [[str(n), os.urandom(40).hex()] for n in range(3000)]
    return truncated(packed(write_csv(folder / "a.csv", ["id", "aff"], rows)), 0.6)


def cut_parquet(folder: Path) -> Path:
    pq.write_table(pa.table({"aff": ["A"] * 1000}), folder / "a.parquet")
    return truncated(folder / "a.parquet", 0.5)


def spoilt_parquet(folder: Path) -> Path:
    path = folder / "a.parquet"
    pq.write_table(pa.table({"aff": [f"Univ {n}" for n in range(1000)]}), path, write_page_checksum=True)
    content = bytearray(path.read_bytes())
    content[2000] ^= 1
    path.write_bytes(content)
    return path


def empty_parquet(folder: Path) -> Path:
    pq.write_table(pa.table({"aff": pa.array([], pa.string())}), folder / "a.parquet")
    return folder / "a.parquet"


def list_parquet(folder: Path) -> Path:
    pq.write_table(pa.table({"affiliations": [["A", "B"]]}), folder / "a.parquet")
    return folder / "a.parquet"


BROKEN: dict[str, tuple[Callable[[Path], Path], type[AffilError], str]] = {
    "no such file": (lambda folder: folder / "none.csv", UsageError, r"no such file: .*none\.csv"),
    "a folder": (folder_instead, UsageError, "is a folder"),
    "extension": (raw("a.docx", "x"), UsageError, r"'\.docx'; supported are \.csv, .*\.parquet.*\.gz"),
    "no extension": (raw("data.gz", "x"), UsageError, "unsupported extension ''"),
    "empty csv": (raw("a.csv", ""), AffilError, r"a\.csv is empty"),
    "empty gzip": (raw("a.csv.gz", gzip.compress(b"")), AffilError, "is empty"),
    "only a mark": (raw("a.csv", codecs.BOM_UTF8), AffilError, "no header line"),
    "empty lines": (raw("a.csv", "\n\n"), AffilError, "no header line"),
    "header only": (raw("a.csv", "id,aff\n"), AffilError, "has no rows"),
    "empty jsonl": (raw("a.jsonl", "\n\n"), AffilError, r"a\.jsonl has no rows"),
    "cut gzip": (cut_gzip, AffilError, r"a\.csv\.gz is truncated or not gzip"),
    "no gzip": (raw("a.csv.gz", "id,aff\n1,A\n"), AffilError, "is not gzip"),
    "cut parquet": (cut_parquet, AffilError, r"a\.parquet is truncated or broken"),
    "spoilt parquet": (spoilt_parquet, AffilError, r"a\.parquet is truncated or broken.*CRC"),
    "no parquet": (raw("a.parquet", "x" * 100), AffilError, r"a\.parquet is truncated or broken"),
    "empty parquet": (empty_parquet, AffilError, "has no rows"),
    "list column": (list_parquet, UsageError, "'affiliations' holds list.*not strings"),
    "no xlsx": (raw("a.xlsx", b"PK\x03\x04" + b"x" * 500), AffilError, r"a\.xlsx is no readable workbook"),
    "cut xlsx": (
        lambda folder: truncated(write_xlsx(folder / "a.xlsx", [["aff"], ["A"]]), 0.7),
        AffilError,
        r"a\.xlsx is no readable workbook",
    ),
    "empty xlsx": (lambda folder: write_xlsx(folder / "a.xlsx", []), AffilError, "first sheet is empty"),
    "header xlsx": (lambda folder: write_xlsx(folder / "a.xlsx", [["aff"]]), AffilError, "has no rows"),
    "wide xlsx": (
        lambda folder: write_xlsx(folder / "a.xlsx", [["aff"], ["A"], ["B", "C"]]),
        AffilError,
        r"row 2 .*a value in column 2",
    ),
    "stray quote": (
        raw("a.csv", 'id,aff\n1,A\n2,"B" C\n3,D\n'),
        AffilError,
        r"row 2 .*stray or unclosed quote",
    ),
    "open quote": (raw("a.csv", 'id,aff\n1,A\n2,"B\n3,D\n'), AffilError, r"row 2 .*stray or unclosed quote"),
    "quote in header": (raw("a.csv", 'id,"aff\n1,A\n'), AffilError, "header line is broken"),
    "few fields": (
        raw("a.csv", "id,aff,x\n1,A,\n2,B\n"),
        AffilError,
        r"row 2 .*has 2 fields, the header has 3",
    ),
    "many fields": (
        raw("a.csv", "id,aff\n1,A\n\n2,B,C\n"),
        AffilError,
        r"row 2 .*has 3 fields, the header has 2",
    ),
    "json": (raw("a.jsonl", '{"aff": "A"}\n\n{"aff": \n'), AffilError, r"a\.jsonl, line 3: not JSON"),
    "json list": (raw("a.jsonl", '["A"]\n'), AffilError, "line 1: not a JSON object"),
    "deep json": (raw("a.jsonl", '{"aff": ' + "[" * 100_000 + "\n"), AffilError, "line 1: not JSON"),
    "nested": (
        raw("a.jsonl", '{"aff": "A"}\n{"aff": ["B"]}\n'),
        AffilError,
        r"line 2: field 'aff' holds a list",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_input_is_one_line_that_says_where(tmp_path: Path, case: str) -> None:
    make, kind, message = BROKEN[case]
    path = make(tmp_path)
    with pytest.raises(kind, match=message) as caught:
        stage(path, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert type(caught.value) is kind
    assert path.name in str(caught.value) or "column" in str(caught.value)
    assert list((tmp_path / "out").iterdir()) == []


def test_error_rows_are_right_far_into_a_file(tmp_path: Path) -> None:
    rows = "".join(f'{n},"A\nB"\n' for n in range(1, 100_001))
    (tmp_path / "a.csv").write_text("id,aff\n" + rows + "x,y,z\n", encoding="utf-8")
    with pytest.raises(AffilError, match="row 100001 "):
        stage(tmp_path / "a.csv", tmp_path)
    (tmp_path / "a.csv").write_text("id,aff\n" + rows + 'x,"y"z\n', encoding="utf-8")
    with pytest.raises(AffilError, match="row 100001 "):
        stage(tmp_path / "a.csv", tmp_path)


def test_files_must_have_the_same_columns(tmp_path: Path) -> None:
    first = write_csv(tmp_path / "a.csv", ["id", "aff"], [["1", "A"]])
    second = write_csv(tmp_path / "b.csv", ["id", "affil"], [["1", "A"]])
    with pytest.raises(AffilError, match=r"b\.csv has other columns than .*a\.csv: 'affil', 'aff'"):
        stage([first, second], tmp_path)
    pq.write_table(pa.table({"id": ["1"], "aff": ["A"]}), tmp_path / "c.parquet")
    pq.write_table(pa.table({"id": [1], "aff": ["A"]}), tmp_path / "d.parquet")
    with pytest.raises(AffilError, match=r"d\.parquet: column 'id' has another type"):
        stage([tmp_path / "c.parquet", tmp_path / "d.parquet"], tmp_path)
    with pytest.raises(UsageError, match="Parquet and other formats"):
        stage([first, tmp_path / "c.parquet"], tmp_path)
    with pytest.raises(UsageError, match="no input"):
        stage([], tmp_path)


def test_a_failed_run_leaves_the_old_file(tmp_path: Path) -> None:
    staged = stage(write_csv(tmp_path / "a.csv", ["aff"], [["A"]]), tmp_path)
    before = staged.path.read_bytes()
    with pytest.raises(AffilError):
        stage(raw("b.csv", "aff\n" + "A\n" * 50_000 + '"B')(tmp_path), tmp_path)
    assert staged.path.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"a.csv", "b.csv", "staged.parquet"}


@pytest.mark.parametrize(
    ("content", "kind", "expected"),
    [
        (b"Univ A, Paris\nUniv B\n", "text", ["Univ A, Paris", "Univ B"]),
        (b"id,affiliation\n1,A\n", "csv", ["A"]),
        (b"id\taff\n1\tA\n", "tsv", ["A"]),
        (b"Affiliation\nA\n", "csv", ["A"]),
        (b'{"aff": "A"}\n', "jsonl", ["A"]),
        (b"Institute, University of X\n", "text", ["Institute, University of X"]),
        # Without the time: the content names the test, and all test processes must name it alike.
        (gzip.compress(b"id;aff\n1;A\n", mtime=0), "csv", ["A"]),
        (b"\xef\xbb\xbf" + "Köln\n".encode(), "text", ["Köln"]),
        ("id,aff\n1,Köln\n".encode("utf-16"), "csv", ["Köln"]),
    ],
)
def test_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, kind: str, expected: list[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    staged = stage_rows(["-"], tmp_path / "s.parquet")
    assert (staged.kind, values(staged)) == (kind, expected)
    assert [path.name for path in tmp_path.iterdir()] == ["s.parquet"]


def test_binary_formats_from_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(pa.table({"aff": ["A"]}), tmp_path / "a.parquet")
    write_xlsx(tmp_path / "a.xlsx", [["aff"], ["A"]])
    for name in ("a.parquet", "a.xlsx"):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO((tmp_path / name).read_bytes())))
        assert values(stage_rows(["-"], tmp_path / "s.parquet")) == ["A"]
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"")))
    with pytest.raises(AffilError, match="standard input is empty"):
        stage_rows(["-"], tmp_path / "s.parquet")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_named_pipe_is_read_like_standard_input(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(
        target=lambda: (tmp_path / "pipe").write_text("Univ A\nUniv B\n", encoding="utf-8")
    )
    writer.start()
    assert values(stage(tmp_path / "pipe", tmp_path)) == ["Univ A", "Univ B"]
    writer.join()


def test_sniffing() -> None:
    assert sniff_delimiter('"a,b";c;d\n1;2;3') == ";"
    assert sniff_delimiter("only") == ","
    assert sniff_delimiter("a|b") == "|"
    assert sniff_kind(b"{not json\n") == "text"
    assert sniff_kind(b"[1]\n") == "text"
    assert sniff_kind(b"") == "text"


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    code = (
        "import resource, sys; from pathlib import Path; from pipeline.reading import stage_rows\n"
        "stage_rows([sys.argv[1]], Path(sys.argv[2]))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = []
    for n_rows in (150_000, 600_000):
        path = tmp_path / "a.csv"
        path.write_text(
            "id,aff\n" + "".join(f"{n},Department {n} of Physics\n" for n in range(n_rows)), "utf-8"
        )
        command = [sys.executable, "-c", code, str(path), str(tmp_path / "s.parquet")]
        peaks.append(int(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    assert peaks[1] < 1.3 * peaks[0]
