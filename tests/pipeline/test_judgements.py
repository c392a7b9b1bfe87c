"""Judgements: always obeyed, contradictions told with their chain, files that lose nothing."""

from __future__ import annotations

import csv
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pipeline
from pipeline.clustering import cluster
from pipeline.errors import UsageError
from pipeline.judgements import (
    JUDGEMENT_COLUMNS,
    Judgements,
    append_judgements,
    hold,
    mention_key,
    read_answers,
    read_judgements,
)
from pipeline.records import affiliation_id

STRINGS = [
    *("University of Oxford, Oxford, UK", "Univ Oxford, Oxford, England", "Univ. of Oxford, United Kingdom"),
    *("Indiana University Bloomington, IN, USA", "Indiana Univ, Bloomington, Indiana", "IUPUI, Indianapolis"),
    *("Universität zu Kiel, Germany", "CAU Research Centre, 24098 Germany", "ETH Zurich, Switzerland"),
]
VERDICTS = ("must-link", "cannot-link", "is-id")


def rows_of(*said: tuple[str, str, str]) -> list[dict[str, str | None]]:
    return [dict(zip(("left", "right", "verdict"), row, strict=True)) for row in said]


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_text(text, encoding=encoding)
    return path


def entities(found: pipeline.Resolution) -> dict[str, str]:
    main = found.mentions[found.mentions["role"] == "main"]
    return dict(zip(main["affiliation"], main["entity_id"], strict=True))


# Always obeyed.


@st.composite
def judged(draw: st.DrawFn) -> list[tuple[str, str, str]]:
    """Judgements among some strings, of which a run knows but the first ones, and some ids."""
    names, ids = [f"string {i}" for i in range(8)], ["r1", "r2", "r3"]
    said = []
    for _ in range(draw(st.integers(0, 8))):
        verdict = draw(st.sampled_from(VERDICTS))
        left, right = draw(st.permutations(names))[:2]
        said.append((left, draw(st.sampled_from(ids)) if verdict == "is-id" else right, verdict))
    return said


def graph_of(said: list[tuple[str, str, str]]) -> nx.Graph:
    graph = nx.Graph()
    graph.add_nodes_from(end for left, right, _ in said for end in (left, right))
    graph.add_edges_from((left, right) for left, right, verdict in said if verdict != "cannot-link")
    return graph


def apart(said: list[tuple[str, str, str]]) -> list[tuple[str, str]]:
    ids = sorted({right for _, right, verdict in said if verdict == "is-id"})
    stated = [(left, right) for left, right, verdict in said if verdict == "cannot-link"]
    return stated + [(a, b) for n, a in enumerate(ids) for b in ids[n + 1 :]]


@settings(max_examples=150, deadline=None)
@given(judged(), st.integers(0, 2**32 - 1))
def test_what_follows_from_judgements_holds_and_contradictions_are_refused(
    said: list[tuple[str, str, str]], seed: int
) -> None:
    graph, different = graph_of(said), apart(said)
    is_contradictory = any(nx.has_path(graph, a, b) for a, b in different)
    try:
        judgements = Judgements.from_rows(rows_of(*said))
    except UsageError as error:
        assert is_contradictory, error
        return
    assert not is_contradictory
    known = [f"string {i}" for i in range(6)]
    held = hold(judgements, [mention_key(name) for name in known])
    left, right = np.triu_indices(len(known), 1)
    probability = np.random.default_rng(seed).random(len(left))
    label = cluster(len(known), left, right, probability, constraints=held.constraints).label
    for i, j in zip(left.tolist(), right.tolist(), strict=True):
        a, b = known[i], known[j]
        if a in graph and b in graph:
            one, other = (nx.node_connected_component(graph, name) for name in (a, b))
            if b in one:
                assert label[i] == label[j]
            if any((x in one and y in other) or (x in other and y in one) for x, y in different):
                assert label[i] != label[j]
    absent = [row for row in said if {row[0], *([row[1]] if row[2] != "is-id" else [])} - set(known)]
    assert len(held.unknown) == len(absent)


def test_a_run_obeys_what_the_scorer_would_not_say() -> None:
    # Whose names are one institution's would be known without a judgement.
    settings = pipeline.Settings().with_values(normalization={"known_names": "none"})
    before = entities(pipeline.resolve(STRINGS, settings))
    kiel, cau, eth = STRINGS[6], STRINGS[7], STRINGS[8]
    assert before[STRINGS[0]] == before[STRINGS[1]] and before[kiel] != before[cau]
    said = Judgements.from_rows(
        rows_of(
            (kiel, cau, "same"), (STRINGS[0], STRINGS[1], "cannot-link"), (eth, cau, "different campuses")
        )
    )
    found = pipeline.resolve(STRINGS, settings, judgements=said)
    after = entities(found)
    assert after[kiel] == after[cau] != after[eth] and after[STRINGS[0]] != after[STRINGS[1]]
    again = entities(found.rethreshold(0.001))
    assert again[STRINGS[0]] != again[STRINGS[1]] and again[eth] != again[kiel]
    assert said.items[2].reason == "different campuses"
    assert found.counts["judgements"] == 3 and found.counts["judgements_unknown"] == 0


def test_two_strings_of_one_registry_id_are_one_and_of_two_ids_are_two() -> None:
    url, bare = "https://ror.org/04v76ef78", "04V76EF78"
    said = Judgements.from_rows(
        rows_of(
            (STRINGS[6], url, "is-id"),
            (STRINGS[7], bare, "is-id"),
            (STRINGS[0], "052gg0110", "is-id"),
            (STRINGS[1], "05a28rw58", "is-id"),
        )
    )
    found = entities(pipeline.resolve(STRINGS, judgements=said))
    assert found[STRINGS[6]] == found[STRINGS[7]]
    assert found[STRINGS[0]] != found[STRINGS[1]]


def test_thousands_of_ids_make_no_pairs() -> None:
    strings = [f"University of Place {n}" for n in range(6000)]
    rows = [{"left": s, "right": f"id/{n // 2}", "verdict": "is-id"} for n, s in enumerate(strings)]
    held = hold(Judgements.from_rows(rows), [mention_key(s) for s in strings])
    assert sum(len(column) for column in vars(held.constraints).values()) <= 4 * len(strings)
    assert held.registry_key[5] == "id/2" and len(held.registry_key) == 6000
    left = np.arange(5999)
    label = cluster(6000, left, left + 1, np.full(5999, 0.99), constraints=held.constraints).label
    assert np.array_equal(label, np.arange(6000) // 2)


def test_a_judgement_on_a_string_concerns_its_main_mention() -> None:
    both = "CNRS, Univ Lyon 1; and Hospices Civils de Lyon, Lyon, France"
    strings = [both, "Hospices Civils de Lyon, Lyon, France", "Lyon Public Hospitals"]
    plain = pipeline.resolve(strings)
    assert (plain.mentions["affiliation"] == both).sum() > 1
    partner = plain.mentions[(plain.mentions["affiliation"] == both) & (plain.mentions["role"] != "main")]
    said = rows_of((both, strings[2], "must-link"))
    found = pipeline.resolve(strings, judgements=Judgements.from_rows(said)).mentions
    one = found[found["affiliation"] == strings[2]]["entity_id"].item()
    assert set(found[found["entity_id"] == one]["role"]) == {"main"}
    by_id = rows_of((partner["mention_id"].iloc[-1], strings[2], "must-link"))
    found = pipeline.resolve(strings, judgements=Judgements.from_rows(by_id)).mentions
    one = found[found["affiliation"] == strings[2]]["entity_id"].item()
    assert partner["mention_id"].iloc[-1] in set(found[found["entity_id"] == one]["mention_id"])


def test_a_string_and_its_ids_mean_the_same_mention() -> None:
    raw = "=SUM of Oxford"
    aid = affiliation_id(raw)
    assert mention_key(raw) == mention_key(f"'{raw}") == mention_key(aid) == mention_key(f"{aid}-0")
    assert mention_key(f"{aid}-3") == f"{aid}-3"
    assert mention_key("'s-Hertogenbosch") == f"{affiliation_id(chr(39) + 's-Hertogenbosch')}-0"


# What is refused, and what is only counted.


def test_a_contradiction_is_told_with_its_chain_and_rows() -> None:
    said = rows_of(("A", "B", "must-link"), ("B", "C", "same"), ("D", "C", "must-link"), ("D", "A", "no"))
    with pytest.raises(UsageError) as caught:
        Judgements.from_rows(said, "j.csv")
    text = str(caught.value)
    assert "'D' – 'C' – 'B' – 'A'" in text or "'A' – 'B' – 'C' – 'D'" in text
    assert all(f"j.csv row {n}" in text for n in (1, 2, 3, 4))


def test_one_string_cannot_be_two_ids() -> None:
    said = rows_of(("A", "04v76ef78", "is-id"), ("A", "B", "must-link"), ("B", "052gg0110", "is-id"))
    with pytest.raises(UsageError, match="these ids are two institutions"):
        Judgements.from_rows(said)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("A", "B", "maybe"), "row 1: unknown verdict 'maybe'; write one of: must-link"),
        (("A", "B", ""), "unknown verdict ''"),
        (("A", " ", "same"), "row 1: right is empty"),
        (("A", "A", "different"), "row 1: 'A' cannot differ from itself"),
    ],
)
def test_a_row_that_says_nothing_known_is_refused(row: tuple[str, str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Judgements.from_rows(rows_of(row))


def test_a_judgement_on_an_unknown_string_is_counted_and_what_follows_from_it_holds() -> None:
    said = rows_of((STRINGS[6], "Kiel", "same"), ("Kiel", STRINGS[7], "same"), ("Mars", "Venus", "no"))
    found = pipeline.resolve(STRINGS, judgements=Judgements.from_rows(said))
    assert entities(found)[STRINGS[6]] == entities(found)[STRINGS[7]]
    assert found.counts["judgements_unknown"] == 3
    assert any("3 of 3 judgements name a string" in line for line in found.warnings)
    assert found.judged is not None and found.judged["is_known"].tolist() == [False, False, False]


# Files.


def test_files_in_all_formats_say_the_same(tmp_path: Path) -> None:
    frame = pd.DataFrame(rows_of((STRINGS[6], STRINGS[7], "same"), (STRINGS[0], STRINGS[8], "no")))
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_csv(tmp_path / "b.csv", index=False, sep=";", encoding="utf-8-sig")
    frame.to_parquet(tmp_path / "c.parquet")
    frame.to_excel(tmp_path / "d.xlsx", index=False)
    meanings = [
        [(j.left_id, j.right_id, j.verdict) for j in read_judgements(path).items]
        for path in sorted(tmp_path.iterdir())
    ]
    assert len(meanings) == 4 and all(m == meanings[0] for m in meanings) and len(meanings[0]) == 2


def test_a_missing_column_and_a_missing_file_are_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no column 'verdict'; the columns are: 'left', 'right'"):
        read_judgements(write(tmp_path / "a.csv", "left,right\nA,B\n"))
    with pytest.raises(UsageError, match="no column 'right'"):
        read_judgements(write(tmp_path / "b.csv", "left,verdict\nA,same\n"))
    with pytest.raises(UsageError, match="no such file"):
        read_judgements(tmp_path / "none.csv")
    assert len(read_judgements(write(tmp_path / "c.csv", "left,right,verdict\n"))) == 0


def test_what_a_file_held_stays_when_answers_are_appended(tmp_path: Path) -> None:
    mine = write(
        tmp_path / "j.csv", 'left,verdict,note,right\nÅbo,same,"a ""note"", long","Turku\nFinland"\n'
    )
    answers = write(
        tmp_path / "a.csv",
        'left,right,verdict,reason\n=A,B,no,two towns\nC,D,?,\nC,E,,\nÅbo,"Turku\nFinland",yes,\n',
    )
    said = read_answers(answers, judged_by="Ada", judged_at="2026-01-02T03:04:05+00:00")
    assert [j.verdict for j in said.items] == ["cannot-link", "must-link"]
    assert vars(append_judgements(said, mine)) == {"n_new": 1, "n_known": 1}
    with mine.open(encoding="utf-8", newline="") as file:
        header, *rows = list(csv.reader(file))
    assert header[:4] == ["left", "verdict", "note", "right"] and set(JUDGEMENT_COLUMNS) <= set(header)
    assert rows[0][:4] == ["Åbo", "same", 'a "note", long', "Turku\nFinland"]
    added = dict(zip(header, rows[1], strict=True))
    assert added["left"] == "'=A" and added["left_id"] == mention_key("=A")
    assert (added["judged_by"], added["judged_at"]) == ("Ada", "2026-01-02T03:04:05+00:00")
    assert added["reason"] == "two towns"
    before = mine.read_bytes()
    assert vars(append_judgements(said, mine)) == {"n_new": 0, "n_known": 2}
    assert mine.read_bytes() == before
    assert len(read_judgements(mine)) == 2
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["a.csv", "j.csv"]


def test_answers_that_contradict_the_file_leave_it_as_it_was(tmp_path: Path) -> None:
    mine = write(tmp_path / "j.csv", "left,right,verdict\nA,B,same\n")
    with pytest.raises(UsageError, match="withdraw one of these rows"):
        append_judgements(Judgements.from_rows(rows_of(("B", "A", "no")), "answers.csv"), mine)
    assert mine.read_text() == "left,right,verdict\nA,B,same\n"
    with pytest.raises(UsageError, match=r"ends in \.csv"):
        append_judgements(Judgements(), tmp_path / "j.xlsx")


def test_an_answer_needs_a_name(tmp_path: Path) -> None:
    answers = write(tmp_path / "a.csv", "left,right,verdict\nA,B,same\n")
    with pytest.raises(UsageError, match="row 1: who says so"):
        read_answers(answers)
