"""Registries as published: every form gives the same records, and what is wrong is said in one line."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
import zipfile
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from documents import ROOT, table
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cli import main
from pipeline.errors import AffilError, UsageError
from pipeline.registry import Registry, import_registry, short_id
from pipeline.registry.files import json_records
from pipeline.registry.relations import Edges, current_records, in_cycles
from pipeline.registry.schema import ACRONYM, ALIAS, FORMAT_KEY, NAME_FORMS, arrow_schema
from pipeline.registry.tables import COLUMNS, country_code

DOCUMENT = ROOT / "docs" / "registry.md"
PARTIAL = (
    Path(os.environ.get("AFFIL_DATA", ROOT / "../shared/data")) / "registry/ror_records_partial.jsonl.gz"
)


def v2(number: int, names: list[tuple[str, list[str], str | None]], **more: Any) -> dict[str, Any]:
    """A record as ROR's schema 2 has it."""
    place = {
        "geonames_id": 2988507,
        "geonames_details": {
            "country_code": "FR",
            "country_name": "France",
            "country_subdivision_code": "IDF",
            "country_subdivision_name": "Île-de-France",
            "lat": 48.85341,
            "lng": 2.3488,
            "name": "Paris",
        },
    }
    record = {
        "admin": {},
        "domains": ["institut.fr"],
        "established": 1901,
        "external_ids": [{"type": "isni", "preferred": "0002", "all": ["0001", "0002"]}],
        "id": f"https://ror.org/0{number:08d}",
        "links": [{"type": "website", "value": "https://institut.fr"}],
        "locations": [place],
        "names": [{"value": v, "types": t, "lang": lang} for v, t, lang in names],
        "relationships": [],
        "status": "active",
        "types": ["education"],
    }
    return record | more


def v1(record: dict[str, Any]) -> dict[str, Any]:
    """The same record as schema 1 has it."""
    of = {
        t: [n for n in record["names"] if t in n["types"]]
        for t in ("ror_display", "label", "alias", "acronym")
    }
    details = record["locations"][0]["geonames_details"]
    city = {"id": 2988507, "city": "Paris", "geonames_admin1": {"name": details["country_subdivision_name"]}}
    return {
        "id": record["id"],
        "name": of["ror_display"][0]["value"],
        "labels": [
            {"label": n["value"], "iso639": n["lang"]} for n in of["label"] if n not in of["ror_display"]
        ],
        "aliases": [n["value"] for n in of["alias"]],
        "acronyms": [n["value"] for n in of["acronym"]],
        "addresses": [
            {"lat": 48.85341, "lng": 2.3488, "city": "Paris", "state": None, "geonames_city": city}
        ],
        "country": {"country_code": "FR", "country_name": "France"},
        "links": [link["value"] for link in record["links"]],
        "external_ids": {
            e["type"].upper(): {"preferred": e["preferred"], "all": e["all"]} for e in record["external_ids"]
        },
        "established": record["established"],
        "status": record["status"],
        "types": [t.title() for t in record["types"]],
        "relationships": [r | {"type": r["type"].title()} for r in record["relationships"]],
    }


def flat(record: dict[str, Any]) -> dict[str, Any]:
    """The same record in the flat form."""
    details = record["locations"][0]["geonames_details"]
    place = {"city": "Paris", "region": details["country_subdivision_name"], "country": "France"}
    place |= {"country_code": "FR", "lat": details["lat"], "lng": details["lng"], "geonames_id": 2988507}
    ids = {e["type"]: list(dict.fromkeys([e["preferred"], *e["all"]])) for e in record["external_ids"]}
    return record | {"locations": [place], "links": ["https://institut.fr"], "external_ids": ids}


def csv_v2(record: dict[str, Any]) -> dict[str, Any]:
    """The same record as ROR's CSV of schema 2 has it."""

    def joined(kind: str) -> str:
        by_language: dict[str, list[str]] = {}
        for n in record["names"]:
            if kind in n["types"]:
                by_language.setdefault(n["lang"] or "no_lang_code", []).append(n["value"])
        return "; ".join(f"{lang}: {', '.join(values)}" for lang, values in by_language.items())

    of_type: dict[str, list[str]] = {}
    for r in record["relationships"]:
        of_type.setdefault(r["type"], []).append(r["id"])
    display = next(n for n in record["names"] if "ror_display" in n["types"])
    details = record["locations"][0]["geonames_details"]
    where = "locations.geonames_details"
    return {
        "id": record["id"],
        "domains": ";".join(record["domains"]),
        "established": record["established"],
        "external_ids.type.isni.all": "0001;0002",
        "external_ids.type.isni.preferred": "0002",
        "links.type.website": "https://institut.fr",
        "links.type.wikipedia": "",
        "locations.geonames_id": 2988507,
        f"{where}.country_code": "FR",
        f"{where}.country_subdivision_name": details["country_subdivision_name"],
        f"{where}.lat": details["lat"],
        f"{where}.lng": details["lng"],
        f"{where}.name": "Paris",
        "names.types.acronym": joined("acronym"),
        "names.types.alias": joined("alias"),
        "names.types.label": joined("label"),
        "names.types.ror_display": display["value"],
        "ror_display_lang": display["lang"] or "no_lang_code",
        "relationships": "; ".join(f"{kind}: {', '.join(ids)}" for kind, ids in of_type.items()),
        "status": record["status"],
        "types": "; ".join(record["types"]),
    }


def csv_v1(record: dict[str, Any]) -> dict[str, Any]:
    """The same record as ROR's CSV of schema 1 has it."""
    old = v1(record)
    return {
        "id": old["id"],
        "name": old["name"],
        "types": "; ".join(old["types"]),
        "status": old["status"],
        "links": "; ".join(old["links"]),
        "aliases": "; ".join(old["aliases"]),
        "labels": "; ".join(f"{n['iso639']}: {n['label']}" for n in old["labels"]),
        "acronyms": "; ".join(old["acronyms"]),
        "established": old["established"],
        "addresses[0].lat": 48.85341,
        "addresses[0].lng": 2.3488,
        "addresses[0].city": "Paris",
        "addresses[0].geonames_city.id": 2988507,
        "addresses[0].geonames_city.geonames_admin1.name": "Île-de-France",
        "country.country_code": "FR",
        "external_ids.ISNI.preferred": "0002",
        "external_ids.ISNI.all": "0001; 0002",
        "relationships": "; ".join(f"{r['type']}: {r['id']}" for r in old["relationships"]),
    }


def relation(kind: str, number: int) -> dict[str, str]:
    return {"type": kind, "id": f"https://ror.org/0{number:08d}", "label": "…"}


INSTITUTE = v2(
    1,
    [
        ("Hertz Institute", ["ror_display", "label"], "en"),
        ("Institut Hertz", ["label"], "fr"),
        ("Hertz Lab", ["alias"], None),
        ("HI", ["acronym"], None),
    ],
    relationships=[relation("child", 2)],
)
CENTRE = v2(
    2,
    [("Centre Laser", ["ror_display", "label"], "fr")],
    relationships=[relation("parent", 1), relation("predecessor", 3)],
)
CLOSED = v2(
    3,
    [("Atelier Laser", ["ror_display", "label"], "fr")],
    status="inactive",
    relationships=[relation("successor", 2)],
)
RECORDS = [INSTITUTE, CENTRE, CLOSED]


def as_csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def lines(records: list[dict[str, Any]]) -> str:
    return "\n".join(json.dumps(r) for r in records) + "\n"


def imported(path: Path, text: str | bytes | None = None) -> tuple[list[dict[str, Any]], list[str]]:
    """A file, with the content given, to what its registry file holds and the warnings."""
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    report = import_registry(path, path.parent / "out.parquet")
    return pq.read_table(path.parent / "out.parquet").to_pylist(), report.warnings


def expected(tmp_path: Path) -> list[dict[str, Any]]:
    return imported(tmp_path / "v2.json", json.dumps(RECORDS, indent=4))[0]


def test_schema_2_keeps_everything(tmp_path: Path) -> None:
    rows, warnings = imported(tmp_path / "v2.json", json.dumps(RECORDS, indent=4))
    assert warnings == []
    assert rows[0] == {
        "id": "https://ror.org/000000001",
        "status": "active",
        "names": [
            {"value": "Hertz Institute", "kinds": ["display", "label"], "lang": "en"},
            {"value": "Institut Hertz", "kinds": ["label"], "lang": "fr"},
            {"value": "Hertz Lab", "kinds": ["alias"], "lang": None},
            {"value": "HI", "kinds": ["acronym"], "lang": None},
        ],
        "places": [
            {
                "city": "Paris",
                "region": "Île-de-France",
                "country_code": "FR",
                "latitude": 48.85341,
                "longitude": 2.3488,
                "geonames_id": 2988507,
            }
        ],
        "types": ["education"],
        "domains": ["institut.fr"],
        "links": ["https://institut.fr"],
        "established": 1901,
        "external_ids": [{"type": "isni", "values": ["0002", "0001"]}],
        "relations": [{"type": "child", "id": "https://ror.org/000000002"}],
    }


def test_every_packing_gives_the_same(tmp_path: Path) -> None:
    wanted, text = expected(tmp_path), json.dumps(RECORDS)
    assert imported(tmp_path / "a.jsonl", lines(RECORDS))[0] == wanted
    assert imported(tmp_path / "a.jsonl.gz", gzip.compress(lines(RECORDS).encode()))[0] == wanted
    assert imported(tmp_path / "flat.jsonl", lines([flat(r) for r in RECORDS]))[0] == wanted
    assert imported(tmp_path / "bom.json", b"\xef\xbb\xbf" + text.encode())[0] == wanted
    with zipfile.ZipFile(tmp_path / "v1.63-2025-04-03-ror-data.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("__MACOSX/._v1.63-ror-data.json", b"\x00\x05")
        archive.writestr("v1.63-ror-data.csv", as_csv([csv_v1(r) for r in RECORDS]))
        archive.writestr("v1.63-ror-data.json", json.dumps([v1(r) for r in RECORDS]))
        archive.writestr("v1.63-ror-data_schema_v2.json", text)
    assert imported(tmp_path / "v1.63-2025-04-03-ror-data.zip")[0] == wanted


def test_csv_of_schema_2_gives_the_same(tmp_path: Path) -> None:
    rows = imported(tmp_path / "v2.csv", as_csv([csv_v2(r) for r in RECORDS]))[0]
    for row, wanted in zip(rows, expected(tmp_path), strict=True):
        names = {(n["value"], k) for n in row["names"] for k in n["kinds"]}
        assert names == {(n["value"], k) for n in wanted["names"] for k in n["kinds"]}
        assert row | {"names": 0} == wanted | {"names": 0}


def test_schema_1_gives_what_it_holds(tmp_path: Path) -> None:
    wanted = expected(tmp_path)
    for row in wanted:  # Schema 1 has neither domains nor languages of displayed names.
        row["domains"] = []
        row["names"][0]["lang"] = None
    assert imported(tmp_path / "v1.json", json.dumps([v1(r) for r in RECORDS]))[0] == wanted
    assert imported(tmp_path / "v1.csv", as_csv([csv_v1(r) for r in RECORDS]))[0] == wanted


def test_names_of_csv_with_commas_stay_whole(tmp_path: Path) -> None:
    record = v2(
        1,
        [
            ("University of California, Davis", ["ror_display", "label"], "en"),
            ("UCD", ["acronym"], "en"),
            ("UC", ["acronym"], "en"),
        ],
    )
    (row,), _ = imported(tmp_path / "v2.csv", as_csv([csv_v2(record)]))
    found = {n["value"]: n["kinds"] for n in row["names"]}
    assert set(found) == {"University of California, Davis", "UCD", "UC"}


def test_a_list_of_ones_own(tmp_path: Path) -> None:
    text = (
        "id,name,alias_1,alias_2,acronym,city,country,parent_id,successor_id,status\n"
        "a,Hertz Institute,Institut Hertz|Hertz Lab,Hertz House,HI,Metz,France,,,\n"
        "b,Laser Centre,,,,Metz,FR,a,,\n"
        "c,Laser Workshop,,,,,Atlantis,,b,inactive\n"
    )
    rows, warnings = imported(tmp_path / "own.csv", text)
    kinds = {n["value"]: n["kinds"] for n in rows[0]["names"]}
    assert [v for v, k in kinds.items() if k == [ALIAS]] == ["Institut Hertz", "Hertz Lab", "Hertz House"]
    assert [v for v, k in kinds.items() if k == [ACRONYM]] == ["HI"]
    assert [row["places"][0]["country_code"] for row in rows] == ["FR", "FR", None]
    assert rows[1]["relations"] == [{"type": "parent", "id": "a"}]
    assert warnings == ["1 records have no country that is known; they are linked by name alone"]
    registry = Registry.read(tmp_path / "out.parquet")
    assert registry.current.tolist() == [0, 1, 1]
    assert country_code("Deutschland") == "DE" and country_code("") is None


def test_the_document_tells_the_forms() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    own = text[text.index("### A list of your own") : text.index("### What is checked")]
    assert tuple(re.findall(r"^\| `(\w+)` \|", own, flags=re.MULTILINE)) == tuple(COLUMNS)
    assert list(table(DOCUMENT, "The file", "column")) == [*arrow_schema().names, NAME_FORMS]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("geo.json", '{"type": "FeatureCollection", "features": []}', "record 1: not a registry record"),
        ("list.json", "[1, 2]", "record 1: not an object"),
        ("cut.json", json.dumps(RECORDS)[:-40], "record 3: not JSON, or truncated"),
        ("unclosed.json", json.dumps(RECORDS)[:-1], "ends in the middle, after record 3"),
        ("empty.json", "[]", "no record with a name"),
        ("empty.csv", "id,name\n", "no record with a name"),
        ("other.csv", "code,title\n1,A\n", "no column 'id'"),
        ("odd.csv", "id,name,colour\n1,A,red\n", "unknown column 'colour'"),
        ("cell.csv", "id,name,latitude\n1,A,north\n", "row 1: could not convert"),
        ("wide.csv", "id,name\n1,A,B\n", "row 1: 3 cells, the header has 2"),
        ("latin.csv", "id,name\n1,Universität\n".encode("latin-1"), "not UTF-8"),
        ("odd.json", '[{"id": "1", "names": ["A"]}]', "record 1: a registry record of a form"),
        ("deep.json", "[" + '{"a":' * 100_000, "nested too deeply"),
        ("a.xml", "<a/>", "unsupported extension '.xml'"),
        ("cut.zip", b"PK\x03\x04 and no more", "truncated or broken"),
        # Without the time: the content names the test, and all test processes must name it alike.
        ("cut.json.gz", gzip.compress(json.dumps(RECORDS).encode(), mtime=0)[:-20], "truncated or broken"),
    ],
)
def test_what_is_no_registry_is_refused_in_one_line(
    tmp_path: Path, name: str, text: str | bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    done = CliRunner().invoke(
        main, ["registry", "import", str(tmp_path / name), "--output", str(tmp_path / "out.parquet")]
    )
    assert done.exit_code in (1, 2), done.output
    (line,) = done.stderr.splitlines()
    assert message in line and name in line
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_truncated_zip_is_refused(tmp_path: Path) -> None:
    whole = tmp_path / "whole.zip"
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "ror.json", json.dumps([v2(i, [(f"Name {i}", ["ror_display"], None)]) for i in range(99)])
        )
    for cut in (whole.stat().st_size // 2, whole.stat().st_size - 10):
        (tmp_path / "cut.zip").write_bytes(whole.read_bytes()[:cut])
        with pytest.raises(AffilError, match=r"cut\.zip is truncated or broken"):
            import_registry(tmp_path / "cut.zip", tmp_path / "out.parquet")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme.txt", "no registry")
    with pytest.raises(UsageError, match=r"holds no registry: readme\.txt"):
        import_registry(tmp_path / "other.zip", tmp_path / "out.parquet")


def test_what_cannot_be_used_is_counted(tmp_path: Path) -> None:
    records = [
        v2(
            1,
            [("One", ["ror_display"], None)],
            relationships=[relation("parent", 2), relation("related", 77)],
        ),
        v2(2, [("Two", ["label"], None)], relationships=[relation("parent", 3), relation("parent", 4)]),
        v2(3, [("Three", ["ror_display"], None)], relationships=[relation("child", 1), relation("child", 3)]),
        v2(4, [("Four", ["ror_display"], None)], relationships=[relation("friend", 1)]),
        v2(4, [("Four again", ["ror_display"], None)]),
        v2(5, [(" ", ["ror_display"], None)]),
        v2(6, [("Six", ["ror_display"], None)], status="asleep", locations=[]),
    ]
    rows, warnings = imported(tmp_path / "a.json", json.dumps(records))
    assert [short_id(row["id"]) for row in rows] == [f"0{i:08d}" for i in (1, 2, 3, 4, 6)]
    # 1 → 2 → 3, whose child 1 closes no circle, but 3 is its own child; then 1 ↔ 3 does.
    assert [w.split(" ", 1) for w in warnings] == [
        ["1", "records without an id or a name were left out"],
        ["1", "records have the id of an earlier one and were left out"],
        ["1", "records have a status that is none of active, inactive, withdrawn and count as active"],
        ["1", "records have no country that is known; they are linked by name alone"],
        ["1", "relations lead to records that the file lacks and were left out"],
        ["1", "relations are none of parent, child, successor, predecessor, related and were left out"],
        ["1", "relations make a record its own parent or successor in a circle and were left out"],
    ]
    assert rows[1]["names"][0]["kinds"] == ["display", "label"]
    assert rows[0]["relations"] == [{"type": "parent", "id": "https://ror.org/000000002"}]


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7), st.booleans()), max_size=14))
def test_cycles_are_those_of_networkx(pairs: list[tuple[int, int, bool]]) -> None:
    source = np.array([a for a, _, _ in pairs], np.int64)
    target = np.array([b for _, b, _ in pairs], np.int64)
    edges = Edges(source, target, ["parent" if up else "child" for _, _, up in pairs])
    graph = nx.DiGraph([(a, b) if up else (b, a) for a, b, up in pairs])
    of = {node: i for i, part in enumerate(nx.strongly_connected_components(graph)) for node in part}
    assert in_cycles(edges, 8).tolist() == [of[a] == of[b] for a, b, _ in pairs]


@given(
    st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=12),
    st.lists(st.sampled_from(["active", "inactive", "withdrawn"]), min_size=8, max_size=8),
)
def test_closed_records_lead_to_active_ones(pairs: list[tuple[int, int]], status: list[str]) -> None:
    forward = [(min(a, b), max(a, b)) for a, b in pairs if a != b]  # No cycles: numbers grow.
    source, target = (
        np.array(column, np.int64) for column in (zip(*forward, strict=True) if forward else ([], []))
    )
    state = np.array(status)
    current = current_records(
        8, state == "active", state == "withdrawn", Edges(source, target, ["successor"] * len(forward))
    )
    graph = nx.DiGraph(forward)
    graph.add_nodes_from(range(8))
    # A path ends at the first active record.
    graph.remove_edges_from([(a, b) for a, b in forward if status[a] == "active"])
    for record in range(8):
        ends = {n for n in {record} | nx.descendants(graph, record) if status[n] == "active"}
        if len(ends) == 1:
            assert current[record] == ends.pop()
        else:
            assert current[record] == (-1 if status[record] == "withdrawn" else record)


@given(
    st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=9), max_size=3), max_size=5), st.booleans()
)
def test_records_are_read_as_json_reads_them(records: list[dict[str, str]], is_array: bool) -> None:
    text = json.dumps(records, indent=1) if is_array else lines(records)
    assert [record for _, record in json_records(io.StringIO(text), "x")] == records


def test_a_chunk_may_end_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    text = json.dumps(RECORDS, indent=2)
    for size in (1, 7, 1000):
        monkeypatch.setattr("pipeline.registry.files._CHUNK", size)
        assert [record for _, record in json_records(io.StringIO(text), "x")] == RECORDS


def test_only_registry_files_are_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such registry"):
        Registry.read(tmp_path / "none.parquet")
    (tmp_path / "a.parquet").write_text("no")
    with pytest.raises(UsageError, match="is no registry file"):
        Registry.read(tmp_path / "a.parquet")
    import_registry(_written(tmp_path / "v2.jsonl", lines(RECORDS)), tmp_path / "out.parquet")
    older = pq.read_table(tmp_path / "out.parquet").replace_schema_metadata({FORMAT_KEY: b"0"})
    pq.write_table(older, tmp_path / "older.parquet")
    with pytest.raises(UsageError, match="no registry file of this version"):
        Registry.read(tmp_path / "older.parquet")
    registry = Registry.read(tmp_path / "out.parquet")
    assert registry.name == ["Hertz Institute", "Centre Laser", "Atelier Laser"]
    assert registry.current.tolist() == [0, 1, 1]
    assert [column.tolist() for column in registry.parents] == [[1], [0]]
    assert registry.names.record.tolist() == [0, 0, 0, 0, 1, 2]
    assert registry.names.is_kind(ACRONYM).tolist() == [False, False, False, True, False, False]
    assert registry.place("city") == ["Paris"] * 3


def _written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_the_command_says_what_it_read(tmp_path: Path) -> None:
    path = _written(tmp_path / "a.jsonl", lines([*RECORDS, INSTITUTE]))
    done = CliRunner().invoke(
        main, ["registry", "import", str(path), "--output", str(tmp_path / "r.parquet")]
    )
    assert done.exit_code == 0
    assert done.stdout.endswith("r.parquet: 3 records (2 active, 1 inactive), 6 names\n")
    assert done.stderr == "affil: 1 records have the id of an earlier one and were left out\n"
    asked = ["registry", "import", str(path), "--output", str(tmp_path / "r.parquet"), "--json"]
    assert json.loads(CliRunner().invoke(main, asked).stdout)["n_records"] == 3


@pytest.mark.skipif(not PARTIAL.is_file(), reason="no registry (AFFIL_DATA)")
def test_a_real_registry_is_read_whole(tmp_path: Path) -> None:
    with gzip.open(PARTIAL, "rt", encoding="utf-8") as records:
        first = [next(records) for _ in range(3000)]
    path = _written(tmp_path / "part.jsonl", "".join(first))
    rows, _ = imported(path)
    own = [json.loads(line) for line in first]
    assert [row["id"] for row in rows] == [r["id"] for r in own]
    assert [[n["value"] for n in row["names"]] for row in rows] == [
        [n["value"] for n in r["names"]] for r in own
    ]
    assert [row["places"][0]["city"] for row in rows] == [r["locations"][0]["city"] for r in own]
