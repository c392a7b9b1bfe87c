import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pipeline
from pipeline import Constraints, Models, Resolution, Settings, UsageError, resolve
from pipeline.folding import fold_values
from pipeline.stage_log import StageLog

STRINGS = [
    *("University of Oxford, Oxford, UK", "Univ Oxford, Oxford, England", "Univ. of Oxford, United Kingdom"),
    *("Department of Physics, University of Oxford, UK", "Dept Phys, Univ Oxford, Oxford OX1 3PU, England"),
    *(
        "ETH Zurich, Switzerland",
        "ETH Zürich, 8092 Zürich, Schweiz",
        "Swiss Federal Institute of Technology Zurich",
    ),
    *("Dept. of Surg., Klinikum r.d. Isar, TU München, Germany", "Technische Universität München, Germany"),
    *("Technical University of Munich, Garching, Germany", "TU Munich, Munich, Germany"),
    *(
        "CNRS, Univ Lyon 1; and Hospices Civils de Lyon, Lyon, France",
        "Université Claude Bernard Lyon 1, Lyon, France",
    ),
    *("Hospices Civils de Lyon, Lyon, France", "CNRS, Paris, France", "University of Tokyo, Tokyo, Japan"),
    *("東京大学", "The University of Tokyo, Bunkyo-ku, Tokyo 113-8654, Japan", "Univ Tokyo, Tokyo, Japan"),
    *(
        "Department of Physics",
        "Dept. of Physics",
        "Universidade de São Paulo, Brazil",
        "Univ Sao Paulo, Brazil",
    ),
    *(
        "University of York, UK",
        "York University, Toronto, Canada",
        "University of Washington, Seattle, WA, USA",
    ),
    *("Washington University in St. Louis, MO, USA", "France", "..."),
]
FRAMES = ("mentions", "institutions", "pairs", "set_aside")


@pytest.fixture(scope="module")
def result() -> Resolution:
    return resolve(STRINGS)


def partition(found: Resolution) -> dict[str, str]:
    return dict(zip(found.mentions["mention_id"], found.mentions["entity_id"], strict=True))


def entity_of(found: Resolution, string: str) -> str:
    rows = found.mentions[(found.mentions["affiliation"] == string) & (found.mentions["role"] == "main")]
    return str(rows["entity_id"].item())


def test_lists_series_and_folded_strings_give_the_same(result: Resolution) -> None:
    for given_as in (pd.Series(STRINGS), tuple(STRINGS), np.array(STRINGS, object), fold_values(STRINGS)):
        found = resolve(given_as)
        for name in FRAMES:
            pd.testing.assert_frame_equal(getattr(found, name), getattr(result, name))


def test_one_string_is_no_list() -> None:
    with pytest.raises(UsageError, match="give a list of strings, not one string"):
        resolve("University of Oxford")
    with pytest.raises(UsageError, match="type int"):
        resolve(["University of Oxford", 7])  # type: ignore[list-item]


def test_the_frames_are_of_one_piece(result: Resolution) -> None:
    mentions, institutions, pairs, aside = (getattr(result, name) for name in FRAMES)
    mains = mentions[mentions["role"] == "main"].groupby("affiliation_id").size()
    assert (mains == 1).all() and set(mains.index) == set(mentions["affiliation_id"])
    assert mentions["mention_id"].is_unique and mentions["entity_id"].notna().all()
    assert institutions["entity_id"].is_unique
    assert mentions.groupby("entity_id").size().to_dict() == dict(
        zip(institutions["entity_id"], institutions["n_mentions"], strict=True)
    )
    assert set(mentions["affiliation"]) | set(aside.loc[aside["is_whole"], "string"]) == set(STRINGS)
    assert set(aside.loc[aside["is_whole"], "string"]) == {"France", "..."}
    assert set(pairs["left_mention_id"]) | set(pairs["right_mention_id"]) <= set(mentions["mention_id"])
    assert not pairs.duplicated(["left_mention_id", "right_mention_id"]).any()
    assert pairs["probability"].between(0, 1).all()
    assert pairs["rescored_logit"].notna().sum() == result.counts["pairs_rescored"]
    assert (
        mentions["match_probability"].between(0, 1).all() and institutions["confidence"].between(0, 1).all()
    )
    counts = result.counts
    assert (counts["rows"], counts["distinct"], counts["set_aside"]) == (len(STRINGS), len(STRINGS), 2)
    assert (
        counts["pairs_proposed"] == len(pairs)
        and counts["largest_cluster"] == institutions["n_mentions"].max()
    )


def test_it_resolves(result: Resolution) -> None:
    """No measure of quality, but a run that merged all or nothing would show here."""
    oxford = entity_of(result, STRINGS[0])
    assert {entity_of(result, s) for s in STRINGS[1:5]} == {oxford}
    assert entity_of(result, STRINGS[5]) == entity_of(result, STRINGS[6])
    assert entity_of(result, "University of York, UK") != entity_of(
        result, "York University, Toronto, Canada"
    )
    assert oxford not in {entity_of(result, s) for s in STRINGS[5:28]}
    record = result.institutions.set_index("entity_id").loc[oxford]
    assert record["preferred_name"] == "University of Oxford" and record["country_code"] == "GB"


def test_departments_alone_are_never_joined() -> None:
    strings = [
        *("Department of Physics", "Dept. of Physics", "Dept of Physics", "DEPARTMENT OF PHYSICS"),
        *(
            "Department of Physics.",
            "Physics Department",
            "Departamento de Física",
            "Department of Physics, Oxford, UK",
        ),
    ]
    found = resolve(strings)
    without = found.mentions[~found.mentions["has_organization"]]
    assert len(without) >= 6
    assert without["entity_id"].is_unique
    joined = resolve(
        [*strings, "Department of Physics, University of Oxford, UK", "University of Oxford, UK"]
    )
    departments = joined.mentions[~joined.mentions["has_organization"]]
    assert departments["entity_id"].is_unique
    assert not set(departments["entity_id"]) & set(
        joined.mentions.loc[joined.mentions["has_organization"], "entity_id"]
    )


@settings(max_examples=8, deadline=None)
@given(st.permutations(STRINGS))
def test_order_does_not_matter(result: Resolution, shuffled: list[str]) -> None:
    found = resolve(shuffled)
    for name in FRAMES:
        pd.testing.assert_frame_equal(getattr(found, name), getattr(result, name))


def test_repeats_add_occurrences_and_nothing_else(result: Resolution) -> None:
    found = resolve(STRINGS * 3)
    assert partition(found) == partition(result)
    assert (found.mentions["n_occurrences"] == 3).all()
    assert found.counts["rows"] == 3 * len(STRINGS) and found.counts["set_aside"] == 6


def test_a_higher_threshold_never_gives_fewer_institutions(result: Resolution) -> None:
    numbers = [len(result.rethreshold(p).institutions) for p in (0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 1.0)]
    assert numbers == sorted(numbers)
    assert numbers[0] < numbers[-1]


def test_rethreshold_equals_a_run_at_that_threshold(result: Resolution) -> None:
    p = 0.9
    again = resolve(STRINGS, Settings().with_values(clustering={"min_match_probability": p}))
    found = result.rethreshold(p)
    for name in FRAMES:
        pd.testing.assert_frame_equal(getattr(found, name), getattr(again, name))
    assert found.settings == again.settings
    back = found.rethreshold(result.settings.clustering.min_match_probability)
    assert partition(back) == partition(result)


@pytest.mark.parametrize("p", [0.0, -1.0, 1.01, float("nan")])
def test_a_threshold_that_is_no_probability_is_refused(result: Resolution, p: float) -> None:
    with pytest.raises(UsageError, match="min_match_probability"):
        result.rethreshold(p)


def test_weakest_links_come_weakest_first(result: Resolution) -> None:
    found = result.weakest_links(5)
    assert 0 < len(found) <= 5 and found["probability"].is_monotonic_increasing
    assert set(found["left"]) | set(found["right"]) <= set(STRINGS)
    n_mentions, n_entities = len(result.mentions), len(result.institutions)
    assert len(result.weakest_links(10_000)) == n_mentions - n_entities
    assert result.weakest_links(1)["probability"].item() == result.weakest_links(10_000)["probability"].min()


def test_explain_within_one_institution(result: Resolution) -> None:
    left, right = STRINGS[0], STRINGS[4]
    found = result.explain(left, right)
    assert found.is_same and found.left_entity_id == found.right_entity_id
    inside = {
        frozenset(p)
        for p in zip(result.pairs["left_mention_id"], result.pairs["right_mention_id"], strict=True)
    }
    raw = result.mentions.drop_duplicates("affiliation").set_index("affiliation")["mention_id"]
    at = left
    for link in found.chain:
        assert at in (link.left, link.right)
        at = link.right if at == link.left else link.left
        assert frozenset((raw[link.left], raw[link.right])) in inside
    assert at == right


def test_explain_refuses_what_is_not_in_the_run(result: Resolution) -> None:
    with pytest.raises(UsageError, match=r"nearest is 'University of Oxford, Oxford, UK'"):
        result.explain("University of Oxford, Oxford, U", STRINGS[1])


def test_write_is_done_once(result: Resolution, tmp_path) -> None:
    folder = result.write(tmp_path / "run")
    names = {p.name for p in folder.iterdir()}
    assert {
        "mentions.parquet",
        "institutions.csv",
        "sources.parquet",
        "report.html",
        "manifest.json",
    } <= names
    before = {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
    assert result.write(folder) == folder
    assert {p.name: p.stat().st_mtime_ns for p in folder.iterdir()} == before
    assert resolve(STRINGS).write(folder) == folder
    assert {p.name: p.stat().st_mtime_ns for p in folder.iterdir()} == before


def test_another_result_is_not_written_over_it_unasked(result: Resolution, tmp_path) -> None:
    folder = result.write(tmp_path / "run")
    n = len(result.mentions)
    must = Constraints(np.array([0]), np.array([n - 1]), np.empty(0, np.int64), np.empty(0, np.int64))
    others = [
        result.rethreshold(0.99),
        resolve(STRINGS[:-3]),
        resolve(STRINGS[::-1]),  # The same records, but other rows.
        resolve(STRINGS, constraints=must),
    ]
    for other in others:
        with pytest.raises(UsageError, match="other input or settings"):
            other.write(folder)
    others[0].write(folder, overwrite=True)
    assert len(pd.read_parquet(folder / "institutions.parquet")) == len(others[0].institutions)


def test_a_foreign_folder_is_refused(result: Resolution, tmp_path) -> None:
    (tmp_path / "thesis.txt").touch()
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="no run"):
            result.write(tmp_path, overwrite=overwrite)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("strings", [[], [None], ["", "  "], ["..."], ["France"]])
def test_nothing_to_resolve_is_a_result_too(strings: list[str | None], tmp_path) -> None:
    found = resolve(strings)
    assert found.counts["rows"] == len(strings) and found.counts["institutions"] == 0
    assert found.counts["set_aside"] == len(strings)
    assert [len(getattr(found, name)) for name in FRAMES[:3]] == [0, 0, 0]
    assert len(found.weakest_links()) == 0
    assert len(found.rethreshold(1.0).institutions) == 0
    assert (found.write(tmp_path / "run") / "manifest.json").exists()


def test_constraints_hold(result: Resolution) -> None:
    number = {s: i for i, s in reversed(list(enumerate(result.mentions["affiliation"])))}
    york, toronto = number["University of York, UK"], number["York University, Toronto, Canada"]
    oxford, england = number[STRINGS[0]], number[STRINGS[1]]
    held = Constraints(np.array([york]), np.array([toronto]), np.array([oxford]), np.array([england]))
    found = resolve(STRINGS, constraints=held)
    entities = found.mentions["entity_id"]
    assert entities[york] == entities[toronto] and entities[oxford] != entities[england]
    kept = found.rethreshold(0.7).mentions["entity_id"]
    assert kept[york] == kept[toronto] and kept[oxford] != kept[england]


def test_a_rescorer_can_be_an_object_of_ones_own() -> None:
    class Contrary:
        name = "contrary"
        combination = None
        band = (0.0, 1.0)
        asked = 0

        def rescore(self, features, left, right, on_progress=None):
            assert len(left) == len(right)
            self.asked += len(left)
            return np.full(len(left), -20.0)

    rescorer = Contrary()
    values = {"scoring": {"rescoring": "all"}, "calibration": {"reranker_weight": 1.0}}
    found = resolve(STRINGS, Settings().with_values(**values), models=Models(rescorer=rescorer))
    assert rescorer.asked == len(found.pairs) == found.counts["pairs_rescored"]
    assert len(found.institutions) == len(found.mentions)


def test_stages_are_told_to_who_watches() -> None:
    seen = []

    def watch(stage: str):
        return lambda done, total: seen.append((stage, done, total))

    resolve(STRINGS[:6], stage_log=StageLog(watch))
    assert {stage for stage, _, _ in seen} >= {"block", "score"}
    for stage in {s for s, _, _ in seen}:
        steps = [(done, total) for s, done, total in seen if s == stage]
        assert all(0 <= done <= total for done, total in steps)
        assert steps == sorted(steps)


def test_a_giant_institution_is_warned_of() -> None:
    strings = [f"University of Oxford, Oxford, UK {'.' * i}" for i in range(1, 40)]
    assert resolve(strings).warnings == []  # Small runs may well be of one institution.


def test_the_front_door_names_what_it_has() -> None:
    for name in pipeline.__all__:
        assert getattr(pipeline, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'resolv'"):
        _ = pipeline.resolv
