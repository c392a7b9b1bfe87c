"""Review: which pairs are asked, what an answer is expected to gain, and the loop closed."""

from __future__ import annotations

from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.cli import main
from pipeline.judgements import Judgements
from pipeline.resolution import resolve
from pipeline.review import APART, TOGETHER, smaller_sides, worth_asking
from pipeline.run_folder import read_frames
from pipeline.tables import RunFrames

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "affiliations.csv"


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 14), st.data())
def test_smaller_sides_are_what_networkx_cuts(n: int, data: st.DataObject) -> None:
    above = [data.draw(st.integers(-1, i - 1)) for i in range(n)]
    edges = sorted(tuple(sorted((i, a))) for i, a in enumerate(above) if a >= 0)
    weight = np.array([data.draw(st.integers(1, 9)) for _ in range(n)], np.float64)
    left, right = np.array([*zip(*edges, strict=True)] or [[], []], np.int64)
    found = smaller_sides(left, right, weight)
    graph = nx.Graph(edges)
    for (a, b), side in zip(edges, found.tolist(), strict=True):
        cut = graph.copy()
        cut.remove_edge(a, b)
        assert side == min(sum(weight[list(nx.node_connected_component(cut, end))]) for end in (a, b))


def frames_of(entities: list[str], occurrences: list[int], pairs: list[tuple[int, int, float]]) -> RunFrames:
    ids = [f"a{i:016x}-0" for i in range(len(entities))]
    mentions = pd.DataFrame(
        {
            "mention_id": ids,
            "affiliation": [f"string {i}" for i in range(len(entities))],
            "organization": None,
            "entity_id": entities,
            "n_occurrences": occurrences,
        }
    )
    institutions = pd.DataFrame({"entity_id": sorted(set(entities))})
    institutions["preferred_name"] = "name of " + institutions["entity_id"]
    left, right, probability = zip(*pairs, strict=True)
    table = {"left_mention_id": [ids[i] for i in left], "right_mention_id": [ids[i] for i in right]}
    frame = pd.DataFrame(table | {"probability": probability})
    return RunFrames(mentions, institutions, frame, pd.DataFrame())


def test_expected_gain_is_the_chance_of_an_error_times_the_occurrences_it_moves() -> None:
    pairs = [(0, 1, 0.9), (1, 2, 0.6), (0, 2, 0.5), (2, 3, 0.4), (0, 3, 0.2), (3, 4, 0.1)]
    asked = worth_asking(frames_of(["e", "e", "e", "f", "g"], [10, 20, 3, 40, 1], pairs))
    rows = asked.set_index(["left", "right"])
    assert set(rows.index) == {
        *(("string 0", "string 1"), ("string 1", "string 2"), ("string 2", "string 3")),
        ("string 3", "string 4"),
    }
    weak, strong = rows.loc[("string 1", "string 2")], rows.loc[("string 0", "string 1")]
    assert (weak["now"], weak["n_occurrences"], weak["expected_gain"]) == (TOGETHER, 3, pytest.approx(1.2))
    assert (strong["n_occurrences"], strong["expected_gain"]) == (10, pytest.approx(1.0))
    across = rows.loc[("string 2", "string 3")]
    # Two pairs were compared, one was not, and that counts .3 with probability 0.
    mean = (0.4 + 0.2) / (2 + 0.3)
    assert (across["now"], across["n_occurrences"]) == (APART, 33)
    assert across["probability"] == pytest.approx(mean, abs=1e-4)
    assert across["expected_gain"] == pytest.approx(33 * mean, abs=1e-4)
    assert across["left_institution"] == "name of e" and across["right_institution"] == "name of f"
    assert asked["expected_gain"].is_monotonic_decreasing
    assert len(worth_asking(frames_of(["e", "e", "e", "f", "g"], [10, 20, 3, 40, 1], pairs), 2)) == 2


def test_what_is_settled_is_not_asked_again() -> None:
    strings = ["University of Oxford, UK", "Univ Oxford, Oxford, UK", "Oxford Brookes University, Oxford, UK"]
    first = resolve(strings)
    asked = worth_asking(first.frames)
    assert len(asked)
    verdict = [
        "same" if "Brookes" not in a + b else "no" for a, b in zip(asked["left"], asked["right"], strict=True)
    ]
    rows = [
        {"left": a, "right": b, "verdict": v}
        for a, b, v in zip(asked["left_id"], asked["right_id"], verdict, strict=True)
    ]
    second = resolve(strings, judgements=Judgements.from_rows(rows))
    assert len(worth_asking(second.frames)) == 0


def test_a_run_without_pairs_has_no_questions() -> None:
    assert len(worth_asking(resolve([]).frames)) == 0
    assert len(worth_asking(resolve(["University of Oxford"]).frames)) == 0


def affil(*arguments: object) -> str:
    done = CliRunner().invoke(main, [str(a) for a in arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_export_answer_import_resolve_is_a_loop(tmp_path: Path) -> None:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()[:150]
    source = tmp_path / "in.csv"
    source.write_text("\n".join(lines) + "\n", encoding="utf-8")
    run, questions, said = tmp_path / "run", tmp_path / "q.csv", tmp_path / "said.csv"
    affil("resolve", source, "--output", run, "--column", "affiliation", "--quiet")
    assert "fill in the column verdict" in affil("review", "export", run, "--output", questions, "--n", 20)
    asked = pd.read_csv(questions, keep_default_na=False, dtype=str)
    assert len(asked) == 20 and set(asked["verdict"]) == {""}
    # The opposite of what the run says, of one pair inside an institution and one between two.
    chosen = [asked.index[asked["now"] == now][0] for now in (TOGETHER, APART)]
    asked.loc[chosen, "verdict"] = ["different", "same"]
    asked.to_csv(questions, index=False)
    assert "2 judgements added" in affil("review", "import", questions, "--judgements", said, "--by", "Ada")
    assert "0 judgements added" in affil("review", "import", questions, "--judgements", said, "--by", "Ada")
    affil("resolve", source, "--output", run, "--column", "affiliation", "--judgements", said, "--overwrite")
    frames = read_frames(run)
    entity = dict(zip(frames.mentions["mention_id"], frames.mentions["entity_id"], strict=True))
    parted, joined = (asked.loc[i] for i in chosen)
    assert entity[parted["left_id"]] != entity[parted["right_id"]]
    assert entity[joined["left_id"]] == entity[joined["right_id"]]
    assert frames.judgements is not None and set(frames.judgements["judged_by"]) == {"Ada"}
    done = CliRunner().invoke(main, ["review", "export", str(run), "--output", str(questions)])
    assert done.exit_code == 2 and "perhaps with answers" in done.stderr
    affil("review", "export", run, "--output", tmp_path / "q2.csv", "--n", 1000)
    again = pd.read_csv(tmp_path / "q2.csv", keep_default_na=False, dtype=str)
    settled = {
        frozenset((parted["left_id"], parted["right_id"])),
        frozenset((joined["left_id"], joined["right_id"])),
    }
    assert not settled & {frozenset(p) for p in zip(again["left_id"], again["right_id"], strict=True)}
