"""Adding to a finished run: nothing is lost, ids go on, the result is near that of one run on the whole."""

from __future__ import annotations

import csv
import json
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from commands import affil, refuses
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blocking.hashing import HashingEncoder
from pipeline.add_job import run_add_job
from pipeline.errors import UsageError
from pipeline.evaluation.memberships import Memberships
from pipeline.evaluation.metrics import overlap
from pipeline.index import AffiliationIndex
from pipeline.index.codes import coded
from pipeline.job import run_job
from pipeline.reading import ReadingSettings
from pipeline.settings import Settings

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "affiliations.csv"
READING = ReadingSettings(id_column="id", count_column="n_papers")


def write(rows: list[dict[str, str]], path: Path) -> str:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


ROWS = read(EXAMPLE)


def frame(run: Path, name: str) -> pd.DataFrame:
    return pd.read_parquet(run / f"{name}.parquet")


def digest(run: Path) -> dict[str, bytes]:
    return {str(p.relative_to(run)): p.read_bytes() for p in sorted(run.rglob("*")) if p.is_file()}


def hold_together(run: Path) -> None:
    """What every run folder fulfils: tables that agree with each other, and with the ledger."""
    mentions, institutions = frame(run, "mentions"), frame(run, "institutions")
    pairs, sources = frame(run, "pairs"), frame(run, "sources")
    assert mentions["affiliation_id"].is_monotonic_increasing and mentions["mention_id"].is_unique
    assert institutions["entity_id"].is_unique
    sizes = mentions.groupby("entity_id").size()
    assert sizes.to_dict() == institutions.set_index("entity_id")["n_mentions"].to_dict()
    means = mentions.groupby("entity_id")["match_probability"].mean()
    confidence = institutions.set_index("entity_id")["confidence"]
    assert np.allclose(means.sort_index(), confidence.sort_index())
    order = [(-r.n_occurrences, -r.n_mentions, r.entity_id) for r in institutions.itertuples()]
    assert order == sorted(order)
    row = {key: i for i, key in enumerate(mentions["mention_id"])}
    ends = [
        (row[a], row[b]) for a, b in zip(pairs["left_mention_id"], pairs["right_mention_id"], strict=True)
    ]
    assert ends == sorted(set(ends)) and all(a < b for a, b in ends)
    counts = Counter(sources["affiliation_id"].dropna())
    aside = frame(run, "set_aside")
    whole = set(aside.loc[aside["is_whole"], "affiliation_id"].dropna())
    assert set(counts) == set(mentions["affiliation_id"]) | whole
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["counts"]["rows"] == len(sources)
    assert manifest["counts"]["institutions"] == len(institutions)
    ledger = frame(run, "ledger")
    assert ledger["generation"].is_monotonic_increasing
    assert set(ledger["generation"]) <= set(range(1, manifest["generation"] + 1))


def agreement(one: Path, other: Path) -> float:
    """B³ F1 between the partitions of two runs of the same strings."""
    tables = [frame(run, "mentions") for run in (one, other)]
    assert tables[0]["mention_id"].tolist() == tables[1]["mention_id"].tolist()
    rows = np.arange(len(tables[0]))
    first, second = (Memberships.of(rows, pd.factorize(t["entity_id"])[0], len(rows)) for t in tables)
    shared = overlap(first, second)
    precision, recall = float(shared.precision.mean()), float(shared.recall.mean())
    return 2 * precision * recall / (precision + recall)


@pytest.fixture(scope="module")
def batches(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The example in three files, with some strings in two of them."""
    folder = tmp_path_factory.mktemp("batches")
    parts = [ROWS[:160], ROWS[150:260], [*ROWS[250:350], ROWS[0] | {"id": "again", "n_papers": "5"}]]
    return [write(part, folder / f"{n}.csv") for n, part in enumerate(parts)]


@pytest.fixture(scope="module")
def first(batches: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_job([batches[0]], tmp_path_factory.mktemp("first") / "run", reading=READING).folder


@pytest.fixture(scope="module")
def grown(first: Path, batches: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first batch, and the two others added."""
    folder = tmp_path_factory.mktemp("grown") / "run"
    shutil.copytree(first, folder)
    for batch in batches[1:]:
        run_add_job(folder, [batch])
        hold_together(folder)
    return folder


@pytest.fixture(scope="module")
def whole(batches: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_job(batches, tmp_path_factory.mktemp("whole") / "run", reading=READING).folder


@pytest.fixture
def copy(first: Path, tmp_path: Path) -> Path:
    """A run that a test may add to."""
    shutil.copytree(first, tmp_path / "run")
    return tmp_path / "run"


def test_rows_are_those_of_one_run_on_the_whole(grown: Path, whole: Path) -> None:
    own = [{k: v for k, v in row.items() if k in ROWS[0]} for row in read(grown / "resolved.csv")]
    assert own == [{k: v for k, v in row.items() if k in ROWS[0]} for row in read(whole / "resolved.csv")]
    assert frame(grown, "sources").equals(frame(whole, "sources"))
    for row, entity in zip(read(grown / "resolved.csv"), _entities(grown), strict=True):
        assert row["entity_id"] == entity


def _entities(run: Path) -> list[str]:
    """The main institution of every row, by way of the tables."""
    mentions = frame(run, "mentions").query("role == 'main'")
    of = dict(zip(mentions["affiliation_id"], mentions["entity_id"], strict=True))
    return [of.get(i, "") for i in frame(run, "sources")["affiliation_id"]]


def test_what_strings_say_is_that_of_one_run_on_the_whole(grown: Path, whole: Path) -> None:
    for name in ("mentions", "set_aside"):
        one, other = frame(grown, name), frame(whole, name)
        fixed = [c for c in one.columns if c not in ("entity_id", "match_probability")]
        key = ["affiliation_id", "mention_id"] if name == "mentions" else fixed
        one, other = (t[fixed].sort_values(key, ignore_index=True) for t in (one, other))
        assert one.equals(other)
        assert pq.read_schema(grown / f"{name}.parquet") == pq.read_schema(whole / f"{name}.parquet")


def test_institutions_are_near_those_of_one_run_on_the_whole(grown: Path, whole: Path) -> None:
    assert agreement(grown, whole) > 0.93
    for name in ("institutions", "pairs"):
        assert pq.read_schema(grown / f"{name}.parquet") == pq.read_schema(whole / f"{name}.parquet")


def test_ids_go_on(first: Path, grown: Path) -> None:
    before, after = (frame(run, "mentions").set_index("mention_id")["entity_id"] for run in (first, grown))
    ledger = frame(grown, "ledger")
    merged = set(ledger.loc[ledger["event"] == "merged", "entity_id"])
    assert set(before) - set(after) == merged & set(before)
    assert len(set(before) & set(after)) > 0.9 * before.nunique()
    both = before.index.intersection(after.index)
    assert len(both) == len(before), "an old mention is lost"


def test_the_ledger_accounts_for_every_mention(first: Path, grown: Path) -> None:
    sizes = Counter(frame(first, "mentions")["entity_id"])
    for row in frame(grown, "ledger").to_dict("records"):
        if row["event"] in ("born", "grown"):
            sizes[row["entity_id"]] += row["n_mentions"]
        elif row["event"] in ("merged", "split"):
            sizes[row["entity_id"]] -= row["n_mentions"]
            sizes[row["other_id"]] += row["n_mentions"]
        else:
            assert row["event"] == "renamed", row
    assert +sizes == Counter(frame(grown, "mentions")["entity_id"])


def test_the_index_grows_with_the_run(grown: Path) -> None:
    from pipeline.index import AffiliationIndex

    head = (grown / "index" / "index.json").read_bytes()
    index = AffiliationIndex.load(grown)
    assert (grown / "index" / "index.json").read_bytes() == head, "the index was made again"
    mentions = frame(grown, "mentions").query("role == 'main'")
    assert index.lookup(mentions["affiliation"])["entity_id"].tolist() == mentions["entity_id"].tolist()


def test_the_manifest_and_the_report_tell_of_it(grown: Path, batches: list[str]) -> None:
    manifest = json.loads((grown / "manifest.json").read_text())
    assert manifest["generation"] == 2 and manifest["inputs"] == batches
    assert [one["inputs"] for one in manifest["added"]] == [[b] for b in batches[1:]]
    largest = frame(grown, "institutions").sort_values("n_mentions").iloc[-1]
    assert largest["entity_id"] in (grown / "report.html").read_text()
    assert not [p for p in grown.iterdir() if p.name.startswith(".")]


def test_the_same_rows_are_not_added_twice(grown: Path, batches: list[str]) -> None:
    before = digest(grown)
    done = affil("add", grown, batches[2])
    assert done.exit_code == 0 and "already" in done.stdout
    assert digest(grown) == before


def test_asked_to_they_are_and_only_counts_grow(copy: Path, batches: list[str]) -> None:
    n = len(ROWS[:160])
    found = json.loads(affil("add", copy, batches[0], "--again", "--json").stdout)
    assert found["n_rows"] == n and found["n_new_strings"] == 0
    hold_together(copy)
    assert not len(frame(copy, "ledger").query("event != 'renamed'"))
    assert len(read(copy / "resolved.csv")) == 2 * n


#: Both names of the bridge are in the table of known names, and would be one institution without it.
UNKNOWN = Settings().with_values(normalization={"known_names": "none"})


def test_a_bridge_joins_two_institutions_and_the_id_forwards(tmp_path: Path) -> None:
    old = ["中山大学，广州 510630", "Sun Yat-sen University, 135 Xingang West Road, Guangzhou 510275, China"]
    bridge = "中山大学 (Sun Yat-sen University), 广州"
    source = write([{"affiliation": text} for text in old], tmp_path / "old.csv")
    run = run_job([source], tmp_path / "run", UNKNOWN).folder
    before = set(frame(run, "mentions")["entity_id"])
    run_add_job(run, [write([{"affiliation": bridge}], tmp_path / "new.csv")])
    hold_together(run)
    after, ledger = set(frame(run, "mentions")["entity_id"]), frame(run, "ledger")
    assert len(before) == 2 and len(after) == 1 and after < before
    merged = ledger.query("event == 'merged'")
    assert merged["entity_id"].tolist() == list(before - after)
    assert merged["other_id"].tolist() == list(after)
    trace = json.loads(affil("trace", run, *(before - after), "--json").stdout)
    assert trace[0]["current"] == next(iter(after))


def test_judgements_of_the_run_hold_for_what_comes(tmp_path: Path) -> None:
    strings = ["University of Oxford, Oxford, UK", "Univ Oxford, Oxford, England"]
    source = write([{"affiliation": strings[0]}], tmp_path / "old.csv")
    said = tmp_path / "judgements.csv"
    write([{"left": strings[0], "right": strings[1], "verdict": "different"}], said)
    run = run_job([source], tmp_path / "run", judgements=said).folder
    assert not frame(run, "judgements")["is_known"].iloc[0]
    run_add_job(run, [write([{"affiliation": strings[1]}], tmp_path / "new.csv")])
    assert frame(run, "judgements")["is_known"].iloc[0]
    assert frame(run, "mentions")["entity_id"].nunique() == 2


SOME = ["", "12345", "Paris, France", *(row["affiliation"] for row in ROWS[:40])]


@settings(deadline=None, max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(SOME), min_size=1, max_size=8), st.data())
def test_any_rows_in_any_parts_are_all_there(tmp_path: Path, rows: list[str], data: Any) -> None:
    cut = data.draw(st.integers(1, len(rows)))
    place = Path(tempfile.mkdtemp(dir=tmp_path))
    parts = [[{"affiliation": text} for text in part] for part in (rows[:cut], rows[cut:])]
    run = run_job([write(parts[0], place / "a.csv")], place / "run").folder
    if parts[1]:
        run_add_job(run, [write(parts[1], place / "b.csv")])
        hold_together(run)
    assert [row["affiliation"] for row in read(run / "resolved.csv")] == rows
    n_blank = sum(not text for text in rows)
    aside = frame(run, "set_aside")
    assert aside.loc[aside["reason"] == "blank", "n_occurrences"].sum() == n_blank


def test_columns_of_one_file_only_are_empty_in_the_others_rows(copy: Path, tmp_path: Path) -> None:
    rows = [{"id": "x1", "raw": "University of Nowhere", "n_papers": "2", "note": "=1+1"}]
    new = write(rows, tmp_path / "new.csv")
    refuses(affil("add", copy, new), "no column 'affiliation'", "raw")
    assert affil("add", copy, new, "--column", "raw", "--quiet").exit_code == 0
    found = read(copy / "resolved.csv")
    assert list(found[0])[:6] == [*ROWS[0], "note"] and "raw" not in found[0]
    assert found[-1]["affiliation"] == "University of Nowhere" and found[-1]["note"] == "=1+1"
    assert found[-1]["year"] == "" and found[0]["note"] == ""
    assert found[-1]["entity_id"]


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    table = pd.DataFrame({"affiliation": ["University of Oxford, UK", None], "year": [2001, 2002]})
    table.to_parquet(tmp_path / "old.parquet")
    table.assign(affiliation="Univ. of Oxford, England").to_parquet(tmp_path / "new.parquet")
    table.assign(year=["x", "y"]).to_parquet(tmp_path / "bad.parquet")
    run = run_job([str(tmp_path / "old.parquet")], tmp_path / "run").folder
    before = digest(run)
    refuses(affil("add", run, tmp_path / "bad.parquet"), "'year'", "int64")
    assert {k: v for k, v in digest(run).items() if "index" not in k} == before
    run_add_job(run, [str(tmp_path / "new.parquet")])
    found = pd.read_parquet(run / "resolved.parquet")
    assert found["year"].tolist() == [2001, 2002, 2001, 2002] and found["year"].dtype == np.int64
    assert len(set(found["entity_id"].dropna())) == 1


def test_codes_of_vectors_grow_with_them(
    copy: Path, batches: list[str], whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.index.codes.LEAST_CODED", 10)
    monkeypatch.setattr("pipeline.growth.RELEARN", 100)
    run_add_job(copy, [batches[1]])
    first = AffiliationIndex.load(copy).store.codes("neighbours")
    run_add_job(copy, [batches[2]])
    store = AffiliationIndex.load(copy).store
    grown = store.codes("neighbours")
    assert first is not None and grown is not None
    assert len(grown.code) > len(first.code) and np.array_equal(grown.book, first.book)
    assert np.array_equal(grown.code, coded(grown.book, store.array("vectors_neighbours")))
    hold_together(copy)
    assert agreement(copy, whole) > 0.93


def test_new_texts_are_encoded_once(copy: Path, batches: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    AffiliationIndex.load(copy)
    asked, encode = list[str](), HashingEncoder.encode

    def counted(self: HashingEncoder, texts: list[str], **more: Any) -> Any:
        asked.extend(texts)
        return encode(self, texts, **more)

    monkeypatch.setattr(HashingEncoder, "encode", counted)
    monkeypatch.setattr("pipeline.growth.RELEARN", 100)
    run_add_job(copy, [batches[1]])
    assert len(asked) == len(set(asked)) > 50


def test_authorships_grow(tmp_path: Path) -> None:
    columns = {"work": "w1", "author": "a1", "position": "1"}
    old = write([columns | {"affiliation": "University of Oxford, UK"}], tmp_path / "old.csv")
    new = write([columns | {"work": "w2", "affiliation": "ETH Zurich"}], tmp_path / "new.csv")
    reading = ReadingSettings("affiliation", author_columns=("work", "author", "position"))
    run = run_job([old], tmp_path / "run", reading=reading).folder
    run_add_job(run, [new])
    assert frame(run, "authorships")["work_id"].tolist() == ["w1", "w2"]


def test_long_stages_tell_how_far_they_are(copy: Path, batches: list[str]) -> None:
    heard: dict[str, list[int]] = {}
    run_add_job(
        copy, [batches[1]], watch=lambda stage: lambda done, _: heard.setdefault(stage, []).append(done)
    )
    for stage in ("parse", "compare", "cluster"):
        assert heard[stage] == sorted(heard[stage]) and heard[stage][-1] > 0


def test_what_cannot_grow_is_refused(tmp_path: Path, batches: list[str], copy: Path) -> None:
    import pipeline

    refuses(affil("add", tmp_path, batches[0]), "no finished run")
    refuses(affil("add", copy, tmp_path / "missing.csv"), "no such file")
    bare = pipeline.resolve(["University of Oxford"]).write(tmp_path / "bare")
    refuses(affil("add", bare, batches[0]), "no table of yours")
    kmeans = Settings().with_values(clustering={"clusterer": "kmeans", "n_clusters": 3})
    few = write(ROWS[:6], tmp_path / "few.csv")
    groups = run_job([few], tmp_path / "groups", kmeans, READING).folder
    refuses(affil("add", groups, batches[1]), "kmeans", "--previous")
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["settings"]["linking"]["registry"] = "ror.parquet"
    (copy / "manifest.json").write_text(json.dumps(manifest))
    before = digest(copy)
    refuses(affil("add", copy, batches[1]), "ror.parquet")
    assert digest(copy) == before


def test_a_failure_leaves_the_run_as_it_was(
    copy: Path, batches: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline import add_job

    before = digest(copy)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(add_job, "finish", full)
    done = affil("add", copy, batches[1])
    assert done.exit_code == 1 and "no space left" in done.stderr
    assert {k: v for k, v in digest(copy).items() if not k.startswith("index")} == before
    assert [p.name for p in copy.parent.iterdir()] == ["run"]


def test_a_run_without_a_string_grows(tmp_path: Path) -> None:
    run = run_job([write([{"affiliation": "12345"}], tmp_path / "old.csv")], tmp_path / "run").folder
    run_add_job(run, [write([{"affiliation": "ETH Zurich"}], tmp_path / "new.csv")])
    hold_together(run)
    assert len(frame(run, "institutions")) == 1
    with pytest.raises(UsageError, match="no column"):
        run_add_job(run, [write([{"a": "x", "b": "y"}], tmp_path / "other.csv")])
