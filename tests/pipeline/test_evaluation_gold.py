"""Gold files: formats, columns, folds, repeated strings, and one clear line for each mistake."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import pandas as pd
import pytest

from pipeline.errors import AffilError, UsageError
from pipeline.evaluation import Gold, read_gold

ROWS = [
    ("Univ. Bonn", "X", "train"),
    ("ETH Zürich, “D-MATH”", "Y", "train"),
    ('Dept. of "Surgery"\tMunich', "Z", "test"),
    ("nobody knows", "", "train"),
    ("Univ. Bonn", "X", "test"),
]
FRAME = pd.DataFrame(ROWS, columns=["affiliation", "cluster", "fold"])
EXPECTED = {"Univ. Bonn": ("X",), "ETH Zürich, “D-MATH”": ("Y",), 'Dept. of "Surgery"\tMunich': ("Z",)}


def as_dict(gold: Gold) -> dict[str, tuple[str, ...]]:
    return dict(zip(gold.affiliation, gold.labels, strict=True))


def write_json(path: Path, rows: list[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["g.csv", "g.tsv", "g.jsonl", "g.parquet"])
@pytest.mark.parametrize("is_gzipped", [False, True])
def test_every_format_reads_the_same(tmp_path: Path, name: str, is_gzipped: bool) -> None:
    path = tmp_path / name
    if name == "g.parquet":
        FRAME.to_parquet(path)
    elif name == "g.jsonl":
        FRAME.to_json(path, orient="records", lines=True)
    else:
        FRAME.to_csv(path, sep="," if name == "g.csv" else "\t", index=False, encoding="utf-8-sig")
    if is_gzipped:
        path = path.with_name(name + ".gz")
        path.write_bytes(gzip.compress((tmp_path / name).read_bytes()))
    gold = read_gold(path, "affiliation", "cluster")
    assert as_dict(gold) == EXPECTED
    assert gold.affiliation == sorted(EXPECTED)
    assert (gold.n_unlabelled, gold.n_conflicts) == (1, 0)
    assert as_dict(read_gold(path, "affiliation", "cluster", "test")) == {
        "Univ. Bonn": ("X",),
        'Dept. of "Surgery"\tMunich': ("Z",),
    }


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_lists_of_labels(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"g.{suffix}"
    frame = pd.DataFrame({"string": ["a", "b", "c", "a"], "labels": [["Y", "X", "Y"], [], None, ["Z"]]})
    frame.to_parquet(path) if suffix == "parquet" else frame.to_json(path, orient="records", lines=True)
    gold = read_gold(path, "string", "labels")
    assert as_dict(gold) == {"a": ("X", "Y", "Z")}
    assert (gold.n_unlabelled, gold.n_conflicts) == (2, 1)


def test_separator_cuts_labels_only_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "g.csv"
    path.write_text("string,labels\na,X | Y\nb,|\nc,Z\n", encoding="utf-8")
    assert as_dict(read_gold(path, "string", "labels", separator="|")) == {"a": ("X", "Y"), "c": ("Z",)}
    assert as_dict(read_gold(path, "string", "labels"))["a"] == ("X | Y",)


def test_whole_numbers_are_labels(tmp_path: Path) -> None:
    path = write_json(tmp_path / "g.jsonl", [{"s": "a", "c": 7}, {"s": "b", "c": "7"}, {"s": "c"}])
    gold = read_gold(path, "s", "c")
    assert gold.labels == [("7",), ("7",)]
    assert gold.memberships().n_entities == 1


def test_order_of_rows_does_not_matter(tmp_path: Path) -> None:
    for name, frame in (("a.csv", FRAME), ("b.csv", FRAME.iloc[::-1])):
        frame.to_csv(tmp_path / name, index=False)
    assert read_gold(tmp_path / "a.csv", "affiliation", "cluster") == read_gold(
        tmp_path / "b.csv", "affiliation", "cluster"
    )


def test_wrong_requests_name_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "g.csv"
    FRAME.to_csv(path, index=False)
    with pytest.raises(UsageError, match="no such gold file"):
        read_gold(tmp_path / "absent.csv", "affiliation", "cluster")
    with pytest.raises(UsageError, match="no column 'label'; columns there: affiliation, cluster, fold"):
        read_gold(path, "affiliation", "label")
    with pytest.raises(UsageError, match="no column 'part'"):
        read_gold(path, "affiliation", "cluster", "train", "part")
    with pytest.raises(UsageError, match="no labelled row in fold 'dev'; other folds there: test, train"):
        read_gold(path, "affiliation", "cluster", "dev")
    with pytest.raises(UsageError, match=r"unknown gold format '\.xlsx'; use one of \.csv"):
        read_gold(tmp_path / "g.xlsx", "affiliation", "cluster")
    FRAME.iloc[3:4].to_csv(path, index=False)
    with pytest.raises(UsageError, match="no row has both a string and a label in column 'cluster'"):
        read_gold(path, "affiliation", "cluster")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("g.jsonl", b'{"s": "a", "c": "X"}\n{oops\n', "line 2: not JSON"),
        ("g.jsonl", b"[1]\n", "line 1: expected a JSON object"),
        ("g.jsonl", b'{"s": "a", "c": {"id": 1}}\n', "line 1: a label must be a text"),
        ("g.jsonl", b'{"s": "a", "d": "X"}\n', "no column 'c'; columns there: s, d"),
        ("g.csv", b"", "no column 's'; columns there: none"),
        ("g.csv", "s,c\nZürich,X\n".encode("latin-1"), "not UTF-8"),
        ("g.csv", b"s,c\n" + b"a" * 200_000 + b",X\n", "line 2: field larger"),
        ("g.csv.gz", b"s,c\na,X\n", "cannot be read"),
        # Without the time: the content names the test, and all test processes must name it alike.
        ("g.csv.gz", gzip.compress(b"s,c\na,X\n" * 50, mtime=0)[:-12], "cannot be read"),
        ("g.parquet", b"PAR0", "not a Parquet file"),
    ],
)
def test_broken_files_name_the_place(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    # Reading tables raises this limit of the whole process.
    before = csv.field_size_limit(131_072)
    try:
        with pytest.raises(UsageError, match=message) as caught:
            read_gold(path, "s", "c")
    finally:
        csv.field_size_limit(before)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_short_rows_have_no_label(tmp_path: Path) -> None:
    path = tmp_path / "g.tsv"
    path.write_text("s\tc\na\n\nb\tX\n", encoding="utf-8")
    gold = read_gold(path, "s", "c")
    assert as_dict(gold) == {"b": ("X",)}
    assert gold.n_unlabelled >= 1


def test_gold_checks_itself() -> None:
    with pytest.raises(AffilError, match="at least one label"):
        Gold(["a"], [()])
    with pytest.raises(AffilError, match="twice"):
        Gold(["a", "a"], [("X",), ("Y",)])
