"""Runs with a registry: conflicts, votes, merged clusters, and records that take what the registry says."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from documents import CONTRACT, EXAMPLE, ROOT, table
from hypothesis import given
from hypothesis import strategies as st

import pipeline
from pipeline.cli import main
from pipeline.clustering import Constraints
from pipeline.errors import UsageError
from pipeline.job import run_job
from pipeline.judgements import Judgements
from pipeline.linking import Linked, LinkingSettings, Links, are_conflicting, merged, parted, vote
from pipeline.registry import Registry, import_registry
from pipeline.report import read_run, render_report
from pipeline.resolution import Models, Resolution
from pipeline.settings import Settings
from pipeline.stage_log import StageLog

STRINGS = [
    *("University of Oxford, Oxford, UK", "Univ Oxford, Dept Phys, Oxford OX1 3PU, England"),
    *(
        "Oxford University, Department of Zoology, Oxford",
        "Universitätsklinikum Heidelberg, Heidelberg, Germany",
    ),
    *("Heidelberg University, Germany", "Universität Heidelberg, Institut für Physik, Heidelberg"),
    *("University of Ruritania, Strelsau", "Dept. of Physics"),
]
RECORDS = """id,name,alias,city,region,country,latitude,longitude,parent_id,type,domain
x/ox,University of Oxford,Oxford University,Oxford,England,GB,51.75,-1.25,,education,ox.uk
x/hd,Ruperto Carola,Heidelberg University|Universität Heidelberg,Heidelberg,,DE,49.4,8.7,,education,
x/uk,University Hospital Heidelberg,Universitätsklinikum Heidelberg,Heidelberg,,DE,,,x/hd,healthcare,
"""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("registry")
    (folder / "own.csv").write_text(RECORDS, encoding="utf-8")
    import_registry(folder / "own.csv", folder / "own.parquet")
    return folder / "own.parquet"


def with_registry(path: Path, **more: object) -> Settings:
    return Settings().with_values(linking={"registry": str(path), **more})


@pytest.fixture(scope="module")
def run(registry: Path) -> Resolution:
    return pipeline.resolve(STRINGS, with_registry(registry))


def test_a_model_given_by_hand_does_not_switch_the_registry_off(registry: Path, run: Resolution) -> None:
    models = Models(encoder=Models.load(Settings()).encoder)
    again = pipeline.resolve(STRINGS, with_registry(registry), models=models)
    assert again.institutions["registry_id"].tolist() == run.institutions["registry_id"].tolist()
    assert again.institutions["registry_id"].notna().any()


def test_the_bars_of_a_linked_run_do_not_run_backwards(registry: Path) -> None:
    heard: dict[str, list[tuple[int, int]]] = {}
    log = StageLog(lambda stage: lambda done, total: heard.setdefault(stage, []).append((done, total)))
    pipeline.resolve(STRINGS, with_registry(registry), stage_log=log)
    # Encoding and searching names is told of, not only the judging after it.
    assert len(heard["link"]) > 2
    for stage in ("score", "second pass", "link"):
        done = [d for d, _ in heard[stage]]
        assert done == sorted(done), stage
        assert heard[stage][-1][0] == heard[stage][-1][1], stage


def test_institutions_take_what_the_registry_says(run: Resolution) -> None:
    records = run.institutions.set_index("registry_id")
    oxford = records.loc["x/ox"]
    assert oxford["preferred_name"] == "University of Oxford" and oxford["n_mentions"] == 3
    assert (oxford["latitude"], oxford["longitude"], oxford["domains"]) == (51.75, -1.25, ["ox.uk"])
    assert oxford["provenance"][0] == "preferred_name=registry:names"
    for column in ("city", "region", "country_code"):
        assert f"{column}=registry:places" in oxford["provenance"]
    assert oxford["registry_probability"] >= LinkingSettings().min_link_probability
    heidelberg = records.loc["x/hd"]
    # The registry's display name, in no string; what the strings say stays as a variant.
    assert heidelberg["preferred_name"] == "Ruperto Carola"
    assert "Heidelberg University" in heidelberg["variant_names"]
    assert heidelberg["child_ids"] == ["x/uk"]
    assert records.loc["x/uk", "parent_ids"] == ["x/hd"]
    # A value that the registry lacks stays as the strings have it, and provenance says so.
    assert not [p for p in heidelberg["provenance"] if p.startswith("region=registry")]
    # Names of strings come first, each from a mention; those that only the registry has occur 0 times.
    named = zip(heidelberg["variant_names"], heidelberg["variant_counts"], strict=True)
    sources = [p.partition("=")[2] for p in heidelberg["provenance"] if p.startswith("variant_names=")]
    for (name, count), source in zip(named, sources, strict=True):
        strings = run.mentions.set_index("mention_id")["organization"]
        assert (count == 0) == (source == "registry:names")
        assert not count or strings[source] == name
    assert len(heidelberg["variant_languages"]) == len(sources)


def test_what_only_the_registry_joins_is_as_sure_as_its_links(run: Resolution) -> None:
    apart = run.rethreshold(1.0)
    oxford = apart.institutions.set_index("registry_id").loc["x/ox"]
    own = apart.mentions[apart.mentions["entity_id"] == oxford["entity_id"]]
    assert (own["match_probability"] >= own["link_probability"] - 1e-9).all()
    assert (
        oxford["confidence"] == pytest.approx(own["match_probability"].mean()) and oxford["confidence"] > 0.9
    )


def test_an_explanation_tells_what_the_registry_says(run: Resolution) -> None:
    same = run.explain(STRINGS[0], STRINGS[1])
    assert same.chain and all(c.registry and c.registry.startswith("same record: ") for c in same.chain)
    assert "University of Oxford (" in (same.chain[0].registry or "")
    assert pipeline.resolve(STRINGS).explain(STRINGS[0], STRINGS[1]).chain[0].registry is None


def test_what_no_pair_joins_is_told_to_be_the_registrys(
    run: Resolution, tmp_path: Path, registry: Path
) -> None:
    folder = run.rethreshold(1.0).write(tmp_path / "run")
    done = CliRunner().invoke(main, ["explain", str(folder), STRINGS[4], STRINGS[5]])
    assert done.exit_code == 0 and done.stdout.startswith("one institution"), done.output
    assert "only a judgement would part them" in done.stdout


def test_none_is_an_answer(run: Resolution) -> None:
    others = run.institutions[run.institutions["registry_id"].isna()]
    assert set(others["preferred_name"]) == {"University of Ruritania", "Dept. of Physics"}
    assert others["registry_probability"].isna().all()
    assert not [p for v in others["provenance"] for p in v if "registry:" in p]


def test_a_registry_of_other_organisations_changes_nothing(registry: Path, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("id,name\nx,Xylon Institute of Zymurgy\n", encoding="utf-8")
    import_registry(tmp_path / "x.csv", tmp_path / "x.parquet")
    plain = pipeline.resolve(STRINGS)
    linked = pipeline.resolve(STRINGS, with_registry(tmp_path / "x.parquet"))
    assert np.array_equal(plain.clusters.label, linked.clusters.label)
    both = linked.institutions[plain.institutions.columns]
    assert both.equals(plain.institutions)
    assert linked.institutions["registry_id"].isna().all()


def test_clusters_of_one_record_are_one(run: Resolution) -> None:
    apart = run.rethreshold(1.0)
    labels = {row.preferred_name: row.n_mentions for row in apart.institutions.itertuples()}
    # At a threshold that nothing reaches, only the registry joins.
    assert labels["University of Oxford"] == 3 and labels["Ruperto Carola"] == 2


def test_what_a_person_parts_stays_apart(registry: Path) -> None:
    plain = pipeline.resolve(STRINGS)
    raw = plain.parsed.affiliations.affiliation
    at = [i for i, a in enumerate(plain.parsed.affiliation) if "Oxford" in raw[a]]
    none = np.empty(0, np.int64)
    cannot = Constraints(none, none, np.array(at[:1]), np.array(at[1:2]))
    run = pipeline.resolve(STRINGS, with_registry(registry), constraints=cannot)
    assert run.clusters.label[at[0]] != run.clusters.label[at[1]]


def test_what_a_person_says_is_the_record_whatever_linking_says(registry: Path) -> None:
    oxford, department, ruritania = STRINGS[0], STRINGS[1], STRINGS[6]
    rows = [(oxford, "x/HD"), (ruritania, "x/ox"), (STRINGS[4], "x/nowhere")]
    said = Judgements.from_rows({"left": a, "right": b, "verdict": "is-id"} for a, b in rows)
    run = pipeline.resolve(STRINGS, with_registry(registry), judgements=said)
    entity = dict(zip(run.mentions["affiliation"], run.mentions["entity_id"], strict=True))
    records = run.institutions.set_index("entity_id")
    assert records.loc[entity[oxford], "registry_id"] == "x/hd"
    assert records.loc[entity[oxford], "registry_probability"] == 1
    # What the registry would call Oxford joins the string that a person calls so.
    assert entity[ruritania] == entity[department] != entity[oxford]
    assert records.loc[entity[ruritania], "registry_id"] == "x/ox"
    assert pd.isna(records.loc[entity[STRINGS[4]], "registry_id"])
    assert "1 mentions are judged to be an id that the registry lacks" in " ".join(run.warnings)
    again = run.rethreshold(0.9).institutions.set_index("registry_id")
    assert again.loc["x/hd", "n_mentions"] >= 1


def test_a_parent_stands_for_its_parts_where_asked(registry: Path) -> None:
    run = pipeline.resolve(STRINGS, with_registry(registry, granularity="parent"))
    ids = [i for i in run.institutions["registry_id"] if isinstance(i, str)]
    assert sorted(ids) == ["x/hd", "x/ox"]


def test_kmeans_has_nothing_to_link(registry: Path) -> None:
    settings = with_registry(registry).with_values(clustering={"clusterer": "kmeans", "n_clusters": 2})
    with pytest.raises(UsageError, match="leave --registry out"):
        Models.load(settings)


def links_of(rows: list[tuple[int, int, float]]) -> Links:
    """(mention, record, probability) rows to links."""
    rows = sorted(rows, key=lambda r: (r[0], -r[2], r[1]))
    mention, record, probability = (list(c) for c in zip(*rows, strict=True)) if rows else ([], [], [])
    ints = np.array(mention, np.int64), np.array(record, np.int64), np.zeros(len(rows), np.int64)
    return Links(*ints, np.array(probability, np.float64))


def test_sure_mentions_of_unrelated_records_do_not_match(registry: Path) -> None:
    held = Registry.read(registry)  # 0 Oxford, 1 Heidelberg, 2 its hospital.
    links = links_of([(0, 0, 0.99), (1, 1, 0.95), (2, 2, 0.97), (3, 1, 0.5), (3, 0, 0.4)])
    left, right = np.array([0, 0, 0, 1, 1]), np.array([1, 2, 3, 2, 3])
    found = are_conflicting(left, right, links, held, LinkingSettings())
    # 1 and 2 are related, and 3 is not sure of anything.
    assert found.tolist() == [True, True, False, False, False]
    off = LinkingSettings(min_conflict_probability=1.0)
    assert not are_conflicting(left, right, links, held, off).any()


def test_sure_conflicts_are_cannot_links_that_yield_to_people(registry: Path, run: Resolution) -> None:
    assert run.linking is not None
    raw = run.parsed.affiliations.affiliation
    main = {raw[a]: i for i, a in reversed(list(enumerate(run.parsed.affiliation)))}
    one, other = sorted((main[STRINGS[0]], main[STRINGS[4]]))
    ends = np.array([one]), np.array([other])
    sure = links_of([(main[STRINGS[0]], 0, 0.99), (main[STRINGS[4]], 1, 0.99)])
    linking = replace(run.linking, links=sure)
    assert len(linking.held(*ends, Constraints.none()).cannot_left) == 1
    none = np.empty(0, np.int64)
    assert len(linking.held(*ends, Constraints(*ends, none, none)).cannot_left) == 0
    # However probable the pair is, at whatever threshold.
    pair = replace(
        run.matches.pairs, **{k: v[:1] for k, v in vars(run.matches.pairs).items() if k != "combination"}
    )
    pair = replace(pair, left=ends[0], right=ends[1])
    alike = replace(run, matches=replace(run.matches, pairs=pair, probability=np.array([0.999])))
    label = replace(alike, linking=linking).rethreshold(0.1).clusters.label
    assert label[one] != label[other]
    assert (
        replace(alike, linking=None).rethreshold(0.1).clusters.label[one]
        == (replace(alike, linking=None).rethreshold(0.1).clusters.label[other])
    )


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=8),
    st.dictionaries(
        st.tuples(st.integers(0, 7), st.integers(0, 3)), st.integers(0, 10).map(lambda n: n / 10), max_size=14
    ),
)
def test_votes_are_those_of_plain_loops(
    clusters: list[int], given_links: dict[tuple[int, int], float]
) -> None:
    label = np.unique(clusters, return_inverse=True)[1].astype(np.int64)
    rows = [(m, r, p) for (m, r), p in given_links.items() if m < len(label)]
    found = vote(links_of(rows), label, LinkingSettings(min_link_probability=0.5))
    for cluster in range(label.max() + 1):
        members = np.flatnonzero(label == cluster).tolist()
        sure = {m: max([0.1, *(p for n, _, p in rows if n == m)]) for m in members}
        share = {
            r: sum(p * sure[m] for m, s, p in rows if m in members and s == r) / sum(sure.values())
            for r in range(4)
        }
        best = max(share.values())
        assert found.probability[cluster] == pytest.approx(best)
        if best > 0.5 + 1e-9:
            assert share[int(found.record[cluster])] == pytest.approx(best)
        if best < 0.5 - 1e-9:
            assert found.record[cluster] == -1


def test_clusters_of_several_sure_records_are_parted(registry: Path) -> None:
    held = Registry.read(registry)  # 0 Oxford, 1 Heidelberg, 2 its hospital.
    settings, label = LinkingSettings(min_link_probability=0.6), np.zeros(6, np.int64)
    rows = [(0, 1, 0.9), (1, 1, 0.9), (2, 0, 0.9), (3, 0, 0.8), (4, 2, 0.9), (5, 0, 0.3)]
    links, free = links_of(rows), np.ones(6, bool)
    assert vote(links, label, settings).record.tolist() == [-1]
    # Oxford leaves, whole; the hospital is a part of what stays, and the last is not sure of anything.
    assert parted(label, links, held, settings, free).tolist() == [0, 0, 1, 1, 0, 0]
    free[2] = False
    assert parted(label, links, held, settings, free).tolist() == [0, 0, 0, 1, 0, 0]
    # A cluster that takes a record stays whole.
    easy = LinkingSettings(min_link_probability=0.3)
    assert parted(label, links, held, easy, np.ones(6, bool)).tolist() == [0] * 6
    assert parted(label, links_of([]), held, settings, free).tolist() == [0] * 6


def test_what_a_person_joins_is_not_parted_by_links(registry: Path, run: Resolution) -> None:
    assert run.linking is not None
    rows = [(0, 1, 0.9), (1, 1, 0.9), (2, 0, 0.9), (3, 0, 0.9)]
    linking = replace(run.linking, links=links_of(rows))
    label, none = np.zeros(4, np.int64), np.empty(0, np.int64)
    assert linking.settled(label, Constraints.none()).tolist() == [0, 0, 1, 1]
    joined = Constraints(np.array([1]), np.array([2]), none, none)
    assert linking.settled(label, joined).tolist() == [0, 1, 1, 1]


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(-1, 1)), min_size=1, max_size=9),
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=4),
)
def test_merging_joins_one_record_and_keeps_cannot_links(
    items: list[tuple[int, int]], pairs: list[tuple[int, int]]
) -> None:
    label = np.unique([c for c, _ in items], return_inverse=True)[1].astype(np.int64)
    label = np.unique(label, return_inverse=True)[1]
    first = [int(np.flatnonzero(label == c)[0]) for c in range(label.max() + 1)]
    order = np.argsort(first)
    label = np.argsort(order)[label]  # Numbered by smallest member, as clustering does.
    record = np.array([items[int(np.flatnonzero(label == c)[0])][1] for c in range(label.max() + 1)])
    cannot = [(a, b) for a, b in pairs if a < len(label) and b < len(label) and label[a] != label[b]]
    ends = tuple(np.array([p[i] for p in cannot], np.int64) for i in (0, 1))
    found = merged(label, Linked(record, np.ones(len(record))), ends)
    assert found[0] == 0 and np.all(np.diff(np.maximum.accumulate(found)) <= 1)
    for a, b in cannot:
        assert found[a] != found[b]
    for a in range(len(label)):
        for b in range(len(label)):
            if label[a] == label[b]:
                assert found[a] == found[b]
            elif record[label[a]] != record[label[b]] or record[label[a]] < 0:
                assert found[a] != found[b]
            elif not cannot:
                assert found[a] == found[b]


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of the example with its registry."""
    folder = tmp_path_factory.mktemp("example")
    import_registry(ROOT / "examples" / "registry.csv", folder / "ror.parquet")
    asked = ["resolve", str(EXAMPLE), "--column", "affiliation", "--registry", str(folder / "ror.parquet")]
    done = CliRunner().invoke(main, [*asked, "--output", str(folder / "run"), "--quiet"])
    assert done.exit_code == 0, done.output
    return folder


def test_the_columns_are_the_documented_ones(example: Path) -> None:
    found = pq.read_table(example / "run" / "institutions.parquet")
    plain = table(CONTRACT, "institutions", "column")
    more = table(CONTRACT, "institutions with a registry", "column")
    assert found.column_names == [*plain, *more]
    words = {"double": "float64"} | {f"list<element: {k}>": f"list of {k}" for k in ("string", "int64")}
    for column, (kind, null, _) in more.items():
        own = str(found.schema.field(column).type)
        assert words.get(own, own) == kind
        assert (found.column(column).null_count == 0) == null.startswith("never"), column


def test_a_record_has_all_that_the_registry_says(tmp_path: Path) -> None:
    row = {
        "id": "https://ror.org/000000001",
        "status": "active",
        "established": 1900,
        "types": ["education"],
        "domains": ["strelsau.example"],
        "links": [{"type": "website", "value": "https://strelsau.example"}],
        "names": [
            {"value": "University of Strelsau", "types": ["ror_display", "label"], "lang": "en"},
            {"value": "Universität Strelsau", "types": ["label"], "lang": "de"},
        ],
        "external_ids": [
            {"type": kind, "preferred": None, "all": [f"{kind}1"]}
            for kind in ("grid", "isni", "wikidata", "fundref")
        ],
        "locations": [
            {"geonames_details": {"name": "Strelsau", "country_code": "RO", "lat": 45.0, "lng": 25.0}}
        ],
        "relationships": [{"type": "predecessor", "id": "https://ror.org/000000002"}],
    }
    old = row | {
        "id": "https://ror.org/000000002",
        "status": "inactive",
        "established": 1850,
        "names": [{"value": "Strelsau Academy", "types": ["ror_display"], "lang": "en"}],
        "relationships": [{"type": "successor", "id": row["id"]}],
    }
    (tmp_path / "r.json").write_text(json.dumps([row, old]), encoding="utf-8")
    import_registry(tmp_path / "r.json", tmp_path / "r.parquet")
    strings = ["Universität Strelsau, Romania", "University of Strelsau, Strelsau, Romania"]
    found = pipeline.resolve(strings, with_registry(tmp_path / "r.parquet")).institutions
    record = found.set_index("registry_id").loc[row["id"]]
    assert record["external_ids"] == ["grid:grid1", "isni:isni1", "wikidata:wikidata1", "fundref:fundref1"]
    assert record["links"] == ["https://strelsau.example"] and record["established"] == 1900
    assert (record["earlier_names"], record["earlier_years"]) == (["Strelsau Academy"], [1899])
    assert record["earlier_ids"] == [old["id"]] and record["later_ids"] == []
    language = dict(zip(record["variant_names"], record["variant_languages"], strict=True))
    assert language == {"Universität Strelsau": "de"}


def test_mentions_have_the_documented_columns(example: Path) -> None:
    found = pq.read_table(example / "run" / "mentions.parquet")
    more = table(CONTRACT, "mentions with a registry", "column")
    assert found.column_names == [*table(CONTRACT, "mentions", "column"), *more]
    assert [str(found.schema.field(c).type) for c in more] == ["string", "string", "double"]
    rows = found.filter(pc.equal(found["organization"], "University of Oxford")).to_pylist()
    assert {r["link_id"] for r in rows} == {"https://ror.org/052gg0110"}
    assert all(0 <= p <= 1 for p in found["link_probability"].to_pylist() if p is not None)


def test_the_report_shows_the_registry(example: Path) -> None:
    page = (example / "run" / "report.html").read_text(encoding="utf-8")
    assert page.count('<p class="part-title">Registry</p>') >= 10
    card = page[page.index('href="https://ror.org/052gg0110"') :][:2000]
    wanted = ("strings say so by themselves", "education", "ox.ac.uk", "51.7522, -1.2560", "preferred name")
    assert [w for w in wanted if w not in card] == []
    # Without a registry nothing of it is there.
    without = replace(read_run(example / "run"), institutions=plain(example))
    assert 'part-title">Registry' not in render_report(without)


def plain(example: Path) -> pd.DataFrame:
    found = pd.read_parquet(example / "run" / "institutions.parquet")
    return found[list(table(CONTRACT, "institutions", "column"))]


def test_ids_of_a_registry_cannot_run_in_the_report(tmp_path: Path) -> None:
    bad = "javascript:alert(1)"
    text = f"id,name,city,country,type\n{bad},University of Strelsau,Strelsau,RO,<script>x</script>\n"
    (tmp_path / "r.csv").write_text(text, encoding="utf-8")
    import_registry(tmp_path / "r.csv", tmp_path / "r.parquet")
    strings = ["University of Strelsau, Strelsau, Romania", "Univ Strelsau, Strelsau, Romania"]
    pipeline.resolve(strings, with_registry(tmp_path / "r.parquet")).write(tmp_path / "run")
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert bad in page and f'href="{bad}' not in page
    assert "<script>x" not in page


def test_every_row_of_the_user_gets_its_id(example: Path) -> None:
    with (example / "run" / "resolved.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert list(rows[0])[-1] == "registry_id"
    right = [r for r in rows if r["institution"] == "university-of-oxford"]
    assert {r["registry_id"] for r in right} == {"https://ror.org/052gg0110"}
    assert {r["registry_id"] for r in rows if r["institution"] == "university-of-nairobi"} == {""}
    manifest = json.loads((example / "run" / "manifest.json").read_text())
    assert "link" in [stage["name"] for stage in manifest["stages"]]


def test_another_registry_is_another_run(example: Path) -> None:
    asked = ["resolve", str(EXAMPLE), "--column", "affiliation", "--output", str(example / "run"), "--quiet"]
    with_it = [*asked, "--registry", str(example / "ror.parquet")]
    before = (example / "run" / "manifest.json").stat().st_mtime_ns
    assert CliRunner().invoke(main, with_it).exit_code == 0
    assert (example / "run" / "manifest.json").stat().st_mtime_ns == before
    done = CliRunner().invoke(main, asked)
    assert done.exit_code == 2 and "other input or settings" in done.stderr
    refused = CliRunner().invoke(
        main, [*asked[:-3], "--output", str(example / "new"), "--registry", str(EXAMPLE)]
    )
    assert refused.exit_code == 2 and "affil registry import" in refused.stderr
    assert not (example / "new").exists()


def test_a_result_in_memory_has_the_same(example: Path) -> None:
    with EXAMPLE.open(encoding="utf-8", newline="") as lines:
        strings = [row["affiliation"] for row in csv.DictReader(lines)]
    run = pipeline.resolve(strings, with_registry(example / "ror.parquet"))
    written = pq.read_table(example / "run" / "institutions.parquet")
    assert sorted(i for i in run.institutions["registry_id"] if isinstance(i, str)) == sorted(
        i for i in written["registry_id"].to_pylist() if i
    )
    assert replace(run).institutions.equals(run.institutions)


def test_links_are_kept_and_what_people_say_of_them_is_heeded_anew(registry: Path, tmp_path: Path) -> None:
    """A vote at another threshold and a new judgement redo the clusters, a larger search the links."""
    source, said = tmp_path / "in.csv", tmp_path / "said.csv"
    source.write_text("affiliation\n" + "".join(f'"{s}"\n' for s in STRINGS), encoding="utf-8")

    def go(name: str, *, judged: bool = False, **linking: object) -> tuple[set[str], bytes]:
        settings = Settings().with_values(linking={"registry": str(registry), **linking})
        more: dict[str, Path] = {"judgements": said} if judged else {}
        done = run_job([str(source)], tmp_path / name, settings, overwrite=True, **more)
        made = {stage["name"] for stage in done.manifest["stages"] if not stage["is_reused"]}
        return made & {"block", "link", "cluster"}, (done.folder / "institutions.parquet").read_bytes()

    assert go("run")[0] == {"block", "link", "cluster"}
    made, found = go("run", min_link_probability=0.9)
    assert made == {"cluster"} and found == go("fresh", min_link_probability=0.9)[1]
    said.write_text(f'left,right,verdict\n"{STRINGS[6]}",x/hd,is-id\n', encoding="utf-8")
    made, found = go("run", judged=True)
    assert made == {"cluster"} and found == go("other", judged=True)[1]
    assert go("run", judged=True, n_candidates=3)[0] >= {"link"}
