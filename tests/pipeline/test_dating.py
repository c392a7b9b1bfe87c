"""Records of years: mergers, the years in which records stood for strings, and rows that say a year."""

from __future__ import annotations

import csv
import json
import os
from itertools import pairwise
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from documents import CONTRACT, table
from hypothesis import given, settings
from hypothesis import strategies as st

import pipeline
from pipeline.cli import main
from pipeline.export import export_run
from pipeline.folding import MAX_YEAR, MIN_YEAR
from pipeline.linked_tables import NO_YEAR, RecordsOfYears
from pipeline.registry import Period, Registry, chain_of, import_registry, periods
from pipeline.settings import Settings

#: Two universities that merged in 2010, one of them renamed in 1995; one that was taken in by an old one; one
#: whose successor has no year; one record that was a mistake.
RECORDS = [
    ("m/new", "University of Strelsau", "active", 2010, []),
    ("m/north", "Northern University of Strelsau", "inactive", 1970, ["m/new"]),
    ("m/old", "Strelsau Teachers College", "inactive", 1950, ["m/south"]),
    ("m/south", "Southern University of Strelsau", "inactive", 1995, ["m/new"]),
    ("m/ancient", "Royal University of Zenda", "active", 1500, []),
    ("m/young", "Zenda Institute of Forestry", "inactive", 1960, ["m/ancient"]),
    ("m/undated", "Hentzau Polytechnic University", "active", None, []),
    ("m/before", "Hentzau College of Engineering", "inactive", 1960, ["m/undated"]),
    ("m/renamed", "Streslau Academy of Music", "active", 2001, []),
    ("m/conservatory", "Strelsau Conservatory", "inactive", 1900, ["m/renamed"]),
    ("m/twin", "Conservatory of Strelsau", "withdrawn", None, ["m/renamed"]),
]


def record(key: str, name: str, status: str, year: int | None, successors: list[str]) -> dict[str, object]:
    place = {"geonames_id": 1, "geonames_details": {"name": "Strelsau", "country_code": "RO"}}
    return {
        "id": f"https://example.org/{key}",
        "status": status,
        "names": [{"value": name, "types": ["ror_display", "label"], "lang": "en"}],
        "locations": [place],
        "established": year,
        "relationships": [{"type": "successor", "id": f"https://example.org/{s}"} for s in successors],
    }


@pytest.fixture(scope="module")
def registry_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mergers")
    (folder / "r.json").write_text(json.dumps([record(*row) for row in RECORDS]), encoding="utf-8")
    import_registry(folder / "r.json", folder / "r.parquet")
    return folder / "r.parquet"


def told(registry: Registry, named: str, current: str) -> list[tuple[str, int | None, int | None, bool]]:
    number = registry.number
    return [
        (registry.id[p.record].rpartition("/")[2], p.first, p.last, p.is_dated)
        for p in periods(registry, number[named], number[current])
    ]


def test_a_successor_takes_over_in_the_year_in_which_it_was_established(registry_file: Path) -> None:
    registry = Registry.read(registry_file)
    assert told(registry, "north", "new") == [("north", None, 2009, True), ("new", 2010, None, True)]
    assert told(registry, "old", "new") == [
        ("old", None, 1994, True),
        ("south", 1995, 2009, True),
        ("new", 2010, None, True),
    ]


def test_where_nobody_knows_when_todays_record_stands_in(registry_file: Path) -> None:
    registry = Registry.read(registry_file)
    # Established before what it took in, or nobody knows when.
    assert told(registry, "young", "ancient") == [("ancient", None, None, False)]
    assert told(registry, "before", "undated") == [("undated", None, None, False)]
    # A string that names the university of today, of a year in which there were two.
    assert told(registry, "new", "new") == [("new", None, 2009, False), ("new", 2010, None, True)]


def test_a_renamed_organisation_has_its_one_predecessor_before(registry_file: Path) -> None:
    registry = Registry.read(registry_file)
    expected = [("conservatory", None, 2000, True), ("renamed", 2001, None, True)]
    assert told(registry, "renamed", "renamed") == expected
    # A withdrawn record is another name of what it was withdrawn for, not an organisation before it.
    assert [registry.id[r][-12:] for r in chain_of(registry, registry.number["renamed"])] == ["conservatory"]
    assert told(registry, "twin", "renamed") == expected


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["active", "inactive", "withdrawn"]), st.none() | st.integers(1900, 2000)),
        min_size=2,
        max_size=7,
    ),
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=8),
)
def test_every_year_has_one_record(rows: list[tuple[str, int | None]], pairs: list[tuple[int, int]]) -> None:
    import pyarrow as pa

    from pipeline.registry.schema import arrow_schema

    forward = [(a, b) for a, b in pairs if a < b < len(rows)]
    table = pa.Table.from_pylist(
        [
            {
                "id": str(i),
                "status": status,
                "names": [{"value": f"n{i}", "kinds": ["display"], "lang": None}],
                "places": [],
                "types": [],
                "domains": [],
                "links": [],
                "established": year,
                "external_ids": [],
                "relations": [{"type": "successor", "id": str(b)} for a, b in forward if a == i],
            }
            for i, (status, year) in enumerate(rows)
        ],
        arrow_schema(),
    )
    registry = Registry(table)
    for current, closed in registry.closed_of.items():
        for named in [current, *closed]:
            found = periods(registry, named, current)
            assert found[0].first is None and found[-1].last is None
            for one, after in pairwise(found):
                assert one.last is not None and after.first == one.last + 1
                assert one.first is None or one.first <= one.last
            assert all(p.record == current for p in found if not p.is_dated)
            assert found[-1].record == current
            assert all(registry.status[p.record] == "inactive" or p.record == current for p in found)


ROWS = [
    ("Northern University of Strelsau, Strelsau, Romania", "1999"),
    ("Northern University of Strelsau, Strelsau, Romania", "2015"),
    ("Strelsau Teachers College, Strelsau, Romania", "1960-05-01"),
    ("Strelsau Teachers College, Strelsau, Romania", "2000"),
    ("Zenda Institute of Forestry, Romania", "1970"),
    ("University of Strelsau, Strelsau, Romania", "2020"),
    ("Northern University of Strelsau, Strelsau, Romania", "0"),
    ("Northern University of Strelsau, Strelsau, Romania", "20222"),
    ("Northern University of Strelsau, Strelsau, Romania", ""),
    ("Kyoto University, Japan", "1999"),
    ("", "1999"),
]
#: Record then, and whether that is dated; rows without a year have today's.
THEN = [
    *(("north", "true"), ("new", "true"), ("old", "true"), ("south", "true"), ("ancient", "false")),
    *(("new", "true"), ("new", "false"), ("new", "false"), ("new", "false"), ("", "true"), ("", "")),
]


@pytest.fixture(scope="module")
def run(registry_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dated")
    with (folder / "works.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["work", "author", "position", "affiliation", "year"])
        writer.writerows([f"w{n}", "a", "1", *row] for n, row in enumerate(ROWS))
    asked = ["resolve", str(folder / "works.csv"), "--registry", str(registry_file), "--year-column", "year"]
    more = ["--author-columns", "work,author,position", "--output", str(folder / "run"), "--json"]
    done = CliRunner().invoke(main, [*asked, *more])
    assert done.exit_code == 0, done.output
    return folder / "run"


def test_every_row_has_the_record_of_its_year(run: Path) -> None:
    with (run / "resolved.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    found = [(r["registry_id_then"].rpartition("/")[2], r["is_dated"]) for r in rows]
    assert found == THEN
    # The institution is one, with its whole history.
    assert len({r["entity_id"] for r in rows[:4]}) == 1
    assert {r["registry_id"] for r in rows[:4]} == {"https://example.org/m/new"}


def test_a_database_has_the_same_rows_with_their_types(run: Path, tmp_path: Path) -> None:
    tables = export_run(run, f"duckdb:///{tmp_path / 'works.db'}")
    assert {"affil_timeline", "affil_authorships"} <= set(tables)
    with duckdb.connect(str(tmp_path / "works.db")) as database:
        sql = "SELECT registry_id_then, is_dated, match_probability FROM affil_resolved"
        rows = database.execute(sql).fetchall()
    found = [
        ((then or "").rpartition("/")[2], "" if dated is None else str(dated).lower())
        for then, dated, _ in rows
    ]
    assert found == THEN
    assert all(probability is None or isinstance(probability, float) for *_, probability in rows)


def test_authorships_have_the_records_of_their_year(run: Path) -> None:
    rows = pq.read_table(run / "authorships.parquet").to_pylist()
    found = [
        (
            (r["registry_ids_then"][0] or "").rpartition("/")[2] if r["registry_ids_then"] else "",
            str(r["is_dated"][0]).lower() if r["is_dated"] else "",
        )
        for r in rows
    ]
    assert found == THEN
    assert rows[0]["registry_ids"] == ["https://example.org/m/new"]


def test_the_tables_are_the_documented_ones(run: Path) -> None:
    kinds = {"string": "string", "int64": "int64", "bool": "bool", "double": "float64"}

    def types(name: str) -> list[tuple[str, str]]:
        schema = pq.read_schema(run / f"{name}.parquet")
        lists = {f"list<element: {kind}>": f"list of {word}" for kind, word in kinds.items()}
        return [(f.name, (kinds | lists)[str(f.type)]) for f in schema]

    assert types("timeline") == [(n, c[0]) for n, c in table(CONTRACT, "timeline", "column").items()]
    parts = [table(CONTRACT, "authorships", c) for c in ("column", "registry column", "year column")]
    assert types("authorships") == [(n, c[0]) for part in parts for n, c in part.items()]
    with (run / "resolved.csv").open(encoding="utf-8") as lines:
        assert lines.readline().rstrip().endswith(",registry_id,registry_id_then,is_dated")


def test_years_that_are_none_are_counted(run: Path) -> None:
    (warning,) = (w for w in json.loads((run / "manifest.json").read_text())["warnings"] if "year" in w)
    assert warning.startswith("2 rows have a year in column 'year' that is none from 1000 to 2100")
    assert "'0'" in warning


def test_a_year_column_needs_a_registry_and_must_be_there(registry_file: Path, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("affiliation,year\nUniversity of Oxford,2000\n", encoding="utf-8")
    asked = ["resolve", str(tmp_path / "x.csv"), "--output", str(tmp_path / "run"), "--year-column"]
    done = CliRunner().invoke(main, [*asked, "year"])
    assert done.exit_code == 2 and "give --registry FILE" in done.stderr
    done = CliRunner().invoke(main, [*asked, "yaer", "--registry", str(registry_file)])
    assert done.exit_code == 2 and "did you mean 'year'" in done.stderr


def test_a_result_in_memory_has_its_timeline(registry_file: Path) -> None:
    chosen = Settings().with_values(linking={"registry": str(registry_file)})
    result = pipeline.resolve([row[0] for row in ROWS], chosen)
    assert result.timeline is not None
    years = RecordsOfYears.of(result.timeline)
    mention = result.mentions.set_index("affiliation").loc[ROWS[0][0], "mention_id"]
    assert years.at(mention, "x", 1999) == ("https://example.org/m/north", True)
    assert years.at(mention, "x", NO_YEAR) == ("x", False)
    assert years.spans([mention]) == [(0, 2009), (2010, NO_YEAR - 1), (NO_YEAR, NO_YEAR)]
    assert pipeline.resolve([row[0] for row in ROWS]).timeline is None
    assert MIN_YEAR < 1088 and MAX_YEAR < NO_YEAR


DATA = Path(os.environ.get("AFFIL_DATA", "../shared/data")) / "registry" / "ror_records_partial.jsonl.gz"


@pytest.mark.skipif(not DATA.is_file(), reason="needs the registry of the labelled data (AFFIL_DATA)")
def test_real_mergers(tmp_path: Path) -> None:
    wanted = {
        *("05f82e368", "0220k9r37", "02n7qrg46"),  # Paris Cité of Paris Descartes and Paris Diderot, 2019.
        *("043htjv09", "02en5vm52", "01yvrd251", "025xed883"),  # Cergy; Sorbonne Université.
        "057qpr032",  # Bordeaux, older than what it took in.
    }
    import gzip

    with gzip.open(DATA, "rt", encoding="utf-8") as lines:
        rows = [line for line in lines if any(f'ror.org/{i}"' in line[:120] for i in wanted)]
        lines.seek(0)
        chain = [line for line in lines if any(f"ror.org/{i}" in line for i in wanted)]
    (tmp_path / "r.jsonl").write_text("".join(dict.fromkeys([*rows, *chain])), encoding="utf-8")
    import_registry(tmp_path / "r.jsonl", tmp_path / "r.parquet")
    registry = Registry.read(tmp_path / "r.parquet")
    cite = registry.number["05f82e368"]
    for old in ("0220k9r37", "02n7qrg46"):
        named = registry.number[old]
        assert periods(registry, named, cite) == [
            Period(named, None, 2018, True),
            Period(cite, 2019, None, True),
        ]
    bordeaux = registry.number["057qpr032"]
    taken_in = chain_of(registry, bordeaux)
    assert taken_in
    for named in taken_in:
        assert periods(registry, named, bordeaux) == [Period(bordeaux, None, None, False)]

    strings = [
        "Université Paris Descartes, Sorbonne Paris Cité, Paris, France",
        "Université Paris Diderot, Paris, France",
    ]
    chosen = Settings().with_values(linking={"registry": str(tmp_path / "r.parquet")})
    result = pipeline.resolve(strings, chosen)
    years, mains = RecordsOfYears.of(result.timeline), result.mentions.query("role == 'main'")
    main_of = mains.set_index("affiliation")["mention_id"]
    for string, then in ((strings[0], "0220k9r37"), (strings[1], "02n7qrg46")):
        assert years.at(main_of[string], None, 2010)[0] == f"https://ror.org/{then}", string
        assert years.at(main_of[string], None, 2022) == ("https://ror.org/05f82e368", True), string
