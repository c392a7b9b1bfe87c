"""Folding: equal strings once with their counts, blanks set aside, and the way back to the user's rows."""

from __future__ import annotations

import csv
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import folding
from pipeline.errors import AffilError, UsageError
from pipeline.folding import (
    Folded,
    added_names,
    fold_rows,
    fold_values,
    resolved_path,
    sources_of,
    write_resolved,
    write_sources,
)
from pipeline.reading import ReadingSettings, stage_rows
from pipeline.records import affiliation_id
from pipeline.rows import StagedRows

AWKWARD = [
    "nul\0byte",
    "\0x",
    "😀 Univ",
    "a\r\nb",
    "جامعة",
    "\u0378",
    "é",
    "e\u0301",
    "'quoted'",
    "\ue000",
    "x" * 100_000,
]
BLANK = [
    "",
    " ",
    "\t\r\n",
    "\u00a0",
    "\u3000",
    "\u200b",
    "\ufeff",
    "\u2028",
    "\x00",
    "\u180e",
    "\u2060\u00ad",
    "\u3164",
]
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)


def stage(rows: list[list[str]], tmp_path: Path, **options: str) -> StagedRows:
    path = tmp_path / "in.csv"
    with path.open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle, quoting=csv.QUOTE_ALL).writerows(rows)
    return stage_rows([path], tmp_path / "staged.parquet", ReadingSettings(**options))


def counted(folded: Folded) -> dict[str, int]:
    found = folded.affiliations
    return dict(zip(found.affiliation, found.n_occurrences.tolist(), strict=True))


def is_blank(text: str) -> bool:
    return folded_blank([text])


def folded_blank(values: list[str]) -> bool:
    return len(fold_values(values).affiliations) == 0


def test_ids_are_those_of_records_and_ordered() -> None:
    found = fold_values(AWKWARD).affiliations
    assert found.affiliation_id == [affiliation_id(text) for text in found.affiliation]
    assert found.affiliation_id == sorted(found.affiliation_id)
    assert sorted(found.affiliation) == sorted(AWKWARD)
    assert found.n_occurrences.dtype == np.int64


@pytest.mark.parametrize("blank", [*BLANK, None])
def test_what_shows_nothing_is_blank(blank: str | None) -> None:
    folded = fold_values([blank, "A", blank])
    assert folded.affiliations.affiliation == ["A"]
    aside = folded.set_aside
    assert (aside.string, aside.reason, aside.n_occurrences) == ([blank or ""], ["blank"], [2])
    assert (aside.is_whole, aside.affiliation, folded.n_rows) == ([True], [-1], 3)


@pytest.mark.parametrize("text", ["-", "\u200bA", "0", "\u0378", "́", "?"])
def test_what_shows_something_is_not_blank(text: str) -> None:
    assert not is_blank(text)


def test_nothing_and_only_blanks() -> None:
    assert len(fold_values([]).affiliations) == 0
    assert fold_values([]).n_rows == 0
    assert fold_values([None, ""]).set_aside.n_occurrences == [2]


def test_every_container_folds_alike() -> None:
    values = ["A", None, "B", "A"]
    expected = fold_values(values)
    assert counted(expected) == {"A": 2, "B": 1}
    containers = [
        tuple(values),
        pd.Series(values, index=[3, 1, 2, 0]),
        pd.Series(values, dtype="object"),
        pd.Series(["A", np.nan, "B", "A"]),
        pd.Series(values, dtype="category"),
        np.array(values, dtype=object),
        pa.array(values),
        pa.chunked_array([values[:2], values[2:]]),
    ]
    for container in containers:
        found = fold_values(container)
        assert (counted(found), found.set_aside) == (counted(expected), expected.set_aside)


def test_counts_are_added_up() -> None:
    folded = fold_values(["A", "B", "A", ""], np.array([3, 1, 4, 2]))
    assert counted(folded) == {"A": 7, "B": 1}
    assert folded.set_aside.n_occurrences == [2]
    assert folded.n_rows == 4


def test_a_lone_surrogate_is_kept_as_its_escape() -> None:
    assert fold_values(["x\ud800"]).affiliations.affiliation == ["x\\ud800"]


def test_wrong_values_name_their_place() -> None:
    with pytest.raises(UsageError, match=r"value 1 \(from 0\) is of type int"):
        fold_values(["A", 7])  # type: ignore[list-item]
    with pytest.raises(UsageError, match="not one string"):
        fold_values("Univ A")
    with pytest.raises(UsageError, match="2 counts for 1 values"):
        fold_values(["A"], [1, 2])
    for bad in (0, -1, 1.5, True, None):
        with pytest.raises(UsageError, match=r"count 0 \(from 0\)"):
            fold_values(["A"], [bad])  # type: ignore[list-item]


@given(values=st.lists(texts, min_size=1, max_size=15))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_files_fold_as_lists_do(tmp_path: Path, values: list[str]) -> None:
    staged = stage([["aff"], *([value] for value in values)], tmp_path)
    from_file, from_list = fold_rows(staged), fold_values(values)
    assert counted(from_file) == counted(from_list)
    assert from_file.affiliations.affiliation_id == from_list.affiliations.affiliation_id
    assert from_file.set_aside == from_list.set_aside
    blanks = dict(zip(from_file.set_aside.string, from_file.set_aside.n_occurrences, strict=True))
    assert Counter(values) == counted(from_file) | blanks


def test_order_of_rows_does_not_matter(tmp_path: Path) -> None:
    rows = [[text] for text in AWKWARD]
    forth, back = stage([["aff"], *rows], tmp_path), None
    first = fold_rows(forth)
    back = stage([["aff"], *rows[::-1]], tmp_path)
    assert fold_rows(back).affiliations.affiliation_id == first.affiliations.affiliation_id


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_count_column(tmp_path: Path, kind: str) -> None:
    if kind == "csv":
        staged = stage([["n", "aff"], ["2", "A"], ["003", "A"], ["1", " "]], tmp_path, count_column="n")
    else:
        pq.write_table(pa.table({"n": [2.0, 3.0, 1.0], "aff": ["A", "A", " "]}), tmp_path / "in.parquet")
        chosen = ReadingSettings(count_column="n")
        staged = stage_rows([tmp_path / "in.parquet"], tmp_path / "staged.parquet", chosen)
    folded = fold_rows(staged)
    assert counted(folded) == {"A": 5}
    assert folded.set_aside.n_occurrences == [1]
    assert folded.n_rows == 3


def test_two_strings_with_one_id_stop_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folding, "_ID", "'a' || md5(raw)[:1]")
    with pytest.raises(AffilError, match="two strings have one id"):
        fold_values([str(n) for n in range(40)])


def test_sources_have_every_row_in_order(tmp_path: Path) -> None:
    n = 150_000
    rows = [[f"W{i}", "" if i % 7 == 0 else f"Univ {i % 1000}"] for i in range(n)]
    staged = stage([["id", "aff"], *rows], tmp_path, id_column="id")
    write_sources(staged, tmp_path / "out" / "sources.parquet")
    found = pq.read_table(tmp_path / "out" / "sources.parquet")
    assert found.column_names == ["source_id", "affiliation_id"]
    assert found.column("source_id").to_pylist() == [row[0] for row in rows]
    expected = [affiliation_id(row[1]) if row[1] else None for row in rows]
    assert found.column("affiliation_id").to_pylist() == expected
    memory = sources_of([row[1] for row in rows], [row[0] for row in rows])
    assert memory.equals(found.cast(memory.schema))


def test_sources_without_ids_are_row_numbers(tmp_path: Path) -> None:
    staged = stage([["aff"], ["A"], [" "]], tmp_path)
    write_sources(staged, tmp_path / "it's.parquet")
    found = pq.read_table(tmp_path / "it's.parquet").to_pydict()
    assert found == {"source_id": ["1", "2"], "affiliation_id": [affiliation_id("A"), None]}
    assert sources_of(["A", " "]).to_pydict() == found
    with pytest.raises(UsageError, match="1 ids for 2 values"):
        sources_of(["A", "B"], ["x"])


def entities(texts: list[str], name: str = "Univ") -> pa.Table:
    return pa.table(
        {
            "affiliation_id": [affiliation_id(text) for text in texts],
            "entity_id": [f"e{n}" for n in range(len(texts))],
            "preferred_name": [f"{name} {n}" for n in range(len(texts))],
            "match_probability": [0.5 + n / 100 for n in range(len(texts))],
        }
    )


def resolved(staged: StagedRows, table: pa.Table, tmp_path: Path) -> list[list[str]]:
    path = resolved_path(staged, tmp_path)
    write_resolved(staged, table, path)
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.reader(handle, delimiter=staged.delimiter or ",", strict=True))


def test_resolved_has_the_users_table_and_three_columns_more(tmp_path: Path) -> None:
    rows = [["007", text, "=1+1"] for text in [*AWKWARD, " ", "A", "A", "unknown"]]
    staged = stage([["", "aff", "note"], *rows], tmp_path)
    found = resolved(staged, entities(["A", *AWKWARD], "=Univ"), tmp_path)
    assert found[0] == ["", "aff", "note", "entity_id", "preferred_name", "match_probability"]
    assert [row[:3] for row in found[1:]] == rows
    by_text = {row[1]: row[3:] for row in found[1:]}
    assert by_text["A"] == ["e0", "'=Univ 0", "0.5"]
    assert by_text["nul\0byte"] == ["e1", "'=Univ 1", "0.51"]
    assert by_text[" "] == by_text["unknown"] == ["", "", ""]


@given(values=st.lists(st.tuples(texts, texts), min_size=1, max_size=10))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_resolved_alters_no_cell(tmp_path: Path, values: list[tuple[str, str]]) -> None:
    staged = stage([["x", "aff"], *map(list, values)], tmp_path)
    found = resolved(staged, entities([values[0][1]]), tmp_path)
    assert [tuple(row[:2]) for row in found[1:]] == values
    assert [bool(row[2]) for row in found[1:]] == [text == values[0][1] for _, text in values]


def test_resolved_of_many_rows_keeps_their_order(tmp_path: Path) -> None:
    rows = [[str(n), f"Univ {n * 7919 % 5000}"] for n in range(150_000)]
    names = [f"Univ {n}" for n in range(5000)]
    found = resolved(stage([["id", "aff"], *rows], tmp_path), entities(names), tmp_path)
    assert [row[:2] for row in found[1:]] == rows
    assert all(row[2] == f"e{row[1][5:]}" for row in found[1:])


def test_resolved_has_the_delimiter_of_the_input(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("id\taff\n1\tA, B\n", encoding="utf-8")
    staged = stage_rows([tmp_path / "a.tsv"], tmp_path / "staged.parquet")
    assert resolved(staged, entities(["A, B"]), tmp_path)[1] == ["1", "A, B", "e0", "Univ 0", "0.5"]
    assert (tmp_path / "resolved.tsv").read_text(encoding="utf-8").startswith("id\taff\tentity_id\t")
    (tmp_path / "a.txt").write_text("A, B\n", encoding="utf-8")
    staged = stage_rows([tmp_path / "a.txt"], tmp_path / "staged.parquet")
    assert resolved(staged, entities(["A, B"]), tmp_path)[1] == ["A, B", "e0", "Univ 0", "0.5"]


def test_resolved_parquet_keeps_types_and_names(tmp_path: Path) -> None:
    table = pa.table(
        {
            "entity_id": [1, 2, 3],
            "aff": pa.array(["A", None, "B"]).dictionary_encode(),
            "tags": [["x"], None, []],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    staged = stage_rows([tmp_path / "a.parquet"], tmp_path / "staged.parquet")
    path = resolved_path(staged, tmp_path)
    write_resolved(staged, entities(["A", "B"], "=U"), path)
    found = pq.read_table(path)
    added = ["entity_id_affil", "preferred_name", "match_probability"]
    assert found.column_names == [*table.column_names, *added]
    assert found.schema.field("entity_id").type == pa.int64()
    assert found.select(["entity_id", "tags"]).to_pydict() == table.select(["entity_id", "tags"]).to_pydict()
    assert found.column("aff").to_pylist() == ["A", None, "B"]
    assert found.column("entity_id_affil").to_pylist() == ["e0", None, "e1"]
    assert found.column("preferred_name").to_pylist() == ["=U 0", None, "=U 1"]
    assert found.column("match_probability").to_pylist() == [0.5, None, 0.51]


def test_names_that_clash_get_a_suffix() -> None:
    assert added_names(["aff"]) == ["entity_id", "preferred_name", "match_probability"]
    assert added_names(["entity_id", "entity_id_affil"])[0] == "entity_id_affil_affil"


def test_one_string_with_two_entities_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AffilError, match="one affiliation_id twice"):
        write_resolved(stage([["aff"], ["A"]], tmp_path), entities(["A", "A"]), tmp_path / "r.csv")
    assert not (tmp_path / "r.csv").exists()


def test_no_entities_at_all(tmp_path: Path) -> None:
    empty = entities(["A"]).slice(0, 0)
    assert resolved(stage([["aff"], ["A"]], tmp_path), empty, tmp_path)[1] == ["A", "", "", ""]


def test_a_staged_file_that_is_gone_is_one_line(tmp_path: Path) -> None:
    staged = stage([["aff"], ["A"]], tmp_path)
    staged.path.unlink()
    with pytest.raises(AffilError, match=re.escape(str(staged.path))) as caught:
        fold_rows(staged)
    assert "\n" not in str(caught.value)
