"""Authorships: works as they are published in, a row for every string of every author out."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from pipeline.cli import main

OXFORD, OX = "Department of Physics, University of Oxford, Oxford, UK", "Univ Oxford, Oxford, England"
FUWAI = "Fuwai Hospital, Chinese Academy of Medical Sciences, Beijing, China"

OPENALEX = [
    {
        "id": "https://openalex.org/W1",
        "authorships": [
            {
                "author_position": "first",
                "author": {"id": "https://openalex.org/A1", "display_name": "Ada"},
                "raw_affiliation_strings": [OXFORD, FUWAI],
            },
            {
                "author": {"id": "https://openalex.org/A2", "display_name": "Bo"},
                "raw_affiliation_strings": [],
            },
        ],
    },
    {"id": "https://openalex.org/W2", "authorships": []},
    {
        "id": "https://openalex.org/W3",
        "cited_by_count": 3,
        "authorships": [
            {"author": {"id": None, "orcid": None}, "raw_affiliation_strings": [OX, OX]},
        ],
    },
]
CROSSREF = [
    {
        "DOI": "10.1/a",
        "author": [
            {
                "given": "Ada",
                "family": "L",
                "ORCID": "https://orcid.org/1",
                "sequence": "first",
                "affiliation": [{"name": OXFORD}, {"name": FUWAI}],
            },
            {"name": "A Consortium", "affiliation": []},
        ],
    },
    {"DOI": "10.1/b"},
    {"DOI": "10.1/c", "author": [{"family": "M", "affiliation": [{"name": OX}]}]},
]
DATACITE = [
    {
        "id": "10.2/a",
        "attributes": {
            "doi": "10.2/a",
            "creators": [
                {
                    "name": "L, Ada",
                    "nameIdentifiers": [{"nameIdentifier": "https://orcid.org/1"}],
                    "affiliation": [OXFORD, {"name": FUWAI}],
                },
                {"name": "Bo"},
            ],
        },
    },
    {"doi": "10.2/c", "creators": [{"name": "M", "affiliation": OX}]},
]
WORKS = {"openalex": OPENALEX, "crossref": CROSSREF, "datacite": DATACITE}


def affil(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["resolve", *map(str, arguments)])


def authorships(run: Path) -> pd.DataFrame:
    """The table with None, not NaN, for null."""
    return pd.DataFrame(pq.read_table(run / "authorships.parquet").to_pylist(), dtype=object)


def jsonl(path: Path, works: list[Any]) -> Path:
    path.write_text("".join(json.dumps(work) + "\n" for work in works), encoding="utf-8")
    return path


@pytest.mark.parametrize("publisher", list(WORKS))
def test_works_as_published_become_authorships(publisher: str, tmp_path: Path) -> None:
    source = jsonl(tmp_path / "works.jsonl", WORKS[publisher])
    done = affil(source, "--output", tmp_path / "run", "--works", publisher, "--quiet")
    assert done.exit_code == 0, done.stderr
    rows = authorships(tmp_path / "run")
    assert rows["affiliation"].tolist() == [OXFORD, FUWAI, None, OX]
    assert rows["position"].tolist() == ["1", "1", "2", "1"]
    assert rows["work_id"].nunique() == 2 and rows["author_id"].iloc[0] == rows["author_id"].iloc[1]
    assert rows["author_id"].iloc[3] is None
    oxford, fuwai, none, ox = (row for _, row in rows.iterrows())
    assert oxford["entity_ids"] == ox["entity_ids"]
    assert (oxford["country_code"], fuwai["country_code"]) == ("GB", "CN")
    assert len(fuwai["parent_entity_ids"]) == 1
    assert fuwai["parent_entity_ids"][0] not in fuwai["entity_ids"]
    assert rows["is_assigned"].tolist() == [True, True, False, True]
    assert none["entity_ids"] == [] and none["affiliation_id"] is None
    resolved = pd.read_csv(tmp_path / "run" / "resolved.csv")
    assert len(resolved) == 4 and "author_name" in resolved.columns


def test_a_table_with_author_columns_keeps_every_row_and_its_order(tmp_path: Path) -> None:
    strings = [OXFORD, "Department of Physics", None, FUWAI, "12345", OX, ""]
    table = pa.table(
        {
            "work": pa.array(range(7), pa.int64()),
            "who": ["a", None, "b", "", "c", "d", "e"],
            "pos": pa.array([1, 2, None, 1, 1, 1, 1], pa.int32()),
            "affiliation": strings,
        }
    )
    pq.write_table(table, tmp_path / "in.parquet")
    options = ("--author-columns", "work,who,pos", "--quiet")
    done = affil(tmp_path / "in.parquet", "--output", tmp_path / "run", *options)
    assert done.exit_code == 0, done.stderr
    rows = authorships(tmp_path / "run")
    assert rows["work_id"].tolist() == [str(n) for n in range(7)]
    assert rows["author_id"].tolist() == ["a", None, "b", None, "c", "d", "e"]
    assert rows["position"].tolist() == ["1", "2", None, "1", "1", "1", "1"]
    assert rows["is_assigned"].tolist() == [True, False, False, True, False, True, False]
    mentions = pd.read_parquet(tmp_path / "run" / "mentions.parquet")
    for _, row in rows[rows["is_assigned"].astype(bool)].iterrows():
        mine = mentions[(mentions["affiliation_id"] == row["affiliation_id"]) & mentions["has_organization"]]
        named = set(mine[mine["role"] != "parent"]["entity_id"])
        assert set(row["entity_ids"]) == named and len(row["entity_ids"]) == len(named)
        assert row["entity_ids"][0] == mine[mine["role"] == "main"]["entity_id"].item()
        assert len(row["preferred_names"]) == len(row["match_probabilities"]) == len(named)


def test_packed_works_in_two_files_are_one_corpus(tmp_path: Path) -> None:
    one = jsonl(tmp_path / "a.jsonl", OPENALEX[:1])
    two = tmp_path / "b.jsonl.gz"
    two.write_bytes(gzip.compress(json.dumps(OPENALEX[2]).encode()))
    done = affil(one, two, "--output", tmp_path / "run", "--works", "openalex", "--quiet")
    assert done.exit_code == 0, done.stderr
    assert pq.read_metadata(tmp_path / "run" / "authorships.parquet").num_rows == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--author-columns", "work,who"), "three names, of work, author, position; got 'work,who'"),
        (("--author-columns", "work,who,possition"), "no column 'possition'; the columns are"),
        (("--works", "openalex"), "works are read from JSONL"),
        (("--works", "openalex", "--column", "affiliation"), "works bring their own columns"),
    ],
)
def test_wrong_columns_are_one_clear_line(options: tuple[str, ...], message: str, tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("work,who,position,affiliation\nw,a,1,University of Oxford\n")
    done = affil(source, "--output", tmp_path / "run", *options)
    assert done.exit_code == 2 and message in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("works", "message"),
    [
        ([{"id": "W1"}], "no work has authors in a field 'authorships'"),
        ([{"id": "W1", "authorships": ["Ada"]}], "line 1: 'authorships' is not as openalex writes it"),
        (
            [OPENALEX[0], {"id": "W2", "authorships": [{"raw_affiliation_strings": [["X"]]}]}],
            "line 2: 'authorships' is not as openalex writes it",
        ),
    ],
)
def test_works_of_another_kind_are_one_clear_line(works: list[Any], message: str, tmp_path: Path) -> None:
    source = jsonl(tmp_path / "works.jsonl", works)
    done = affil(source, "--output", tmp_path / "run", "--works", "openalex")
    assert done.exit_code == 1 and message in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()
