import io

import pytest
from rich.console import Console

from pipeline.console import bars, print_explanation, print_models, print_summary, reliability_table
from pipeline.evaluation import reliability
from pipeline.explanation import Contribution, Explanation, Link, Sides

MANIFEST = {
    "counts": {
        "rows": 1234567,
        "set_aside": 5,
        "distinct": 1000,
        "mentions": 1100,
        "pairs_proposed": 98765,
        "pairs_rescored": 321,
        "institutions": 400,
        "largest_cluster": 77,
    },
    "seconds": 12.34,
    "stages": [
        {"name": "read", "seconds": 1.0, "peak_memory_mb": 150},
        {"name": "parse", "seconds": 2.0, "peak_memory_mb": 1900},
    ],
    "warnings": ["an odd [thing] \x1b[31m"],
}


def test_the_summary_shows_figures_and_warnings_as_text(capsys, tmp_path) -> None:
    print_summary(MANIFEST, tmp_path / "[run]")
    shown = capsys.readouterr().out
    for figure in ("1,234,567", "1,100", "98,765", "321", "400", "77", "12.3", "1,900"):
        assert figure in shown
    assert "an odd [thing]" in shown and "\x1b" not in shown
    assert str(tmp_path / "[run]" / "report.html") in shown.replace("\n", "")


def test_bars_are_nothing_where_none_are_wanted() -> None:
    with bars(False) as watch:
        assert watch is None


def test_bars_follow_the_stages(capsys, monkeypatch) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "120")
    with bars(True) as watch:
        watch("parse")(50, 200)
        tick = watch("block")
        tick(0, 10)
        tick(10, 10)
        watch("cluster")
    out, err = capsys.readouterr()
    assert out == ""
    for stage in ("parse", "block", "cluster"):
        assert stage in err
    assert "200/200" in err and "10/10" in err


def test_reliability_has_a_row_a_bin_with_pairs() -> None:
    import numpy as np

    found = reliability(np.array([0.05, 0.95, 0.95, 0.96]), np.array([False, True, True, True]))
    console = Console(file=io.StringIO(), width=100)
    console.print(reliability_table(found))
    shown = console.file.getvalue()
    assert "0.050" in shown and "1.000" in shown and "█" * 20 in shown
    assert len([line for line in shown.splitlines() if "0." in line]) == 2


def link(probability: float, left: str = "Univ A [x]", right: str = "University A", **more: object) -> Link:
    values = {
        "left_mention_id": "a-0",
        "right_mention_id": "b-0",
        "rule": "neighbours",
        "judgement": None,
        "similarity": 0.5,
        "logit": 1.0,
        "rescored_logit": None,
        "rescored_probability": None,
        "shared": ("a",),
        "alike": (),
        "only_left": ("univ",),
        "only_right": (),
        "place": "same city: Oxford",
    }
    return Link(left, right, probability=probability, **values | more)


def test_an_explanation_marks_the_weakest_link_and_says_what_would_part_both(capsys) -> None:
    chain = (link(0.9), link(0.6, "University A", "Uni A"), link(0.8, "Uni A", "Univ. A"))
    sides = Sides(3, 2, 4, 0.61)
    print_explanation(Explanation("Univ A [x]", "Univ. A", "e1", "e1", True, None, chain, 0.45, 0.612, sides))
    shown = capsys.readouterr().out
    assert "one institution" in shown and "not proposed by blocking" in shown
    assert [line for line in shown.splitlines() if "weakest" in line] == [
        "  p = 0.600  cosine 0.500  by neighbours ← weakest link"
    ]
    assert "Univ A [x]" in shown and "same city: Oxford" in shown
    assert (
        "they would part at min_match_probability 0.612 (min_match_probability is 0.45), into 3 × 2 strings:"
        " 4 were compared, mean of all 0.610" in shown
    )


def test_two_institutions_show_their_own_pair(capsys) -> None:
    parts = (Contribution("intercept", (), -3.0), Contribution("city × country", (1.0, 1.0), 1.25))
    direct = link(
        *(0.2, "A", "B"),
        alike=(("muenchen", "munchen"),),
        contributions=parts,
        rescored_probability=0.7,
        judgement="cannot-link",
    )
    sides = Sides(1, 1, 0, None)
    print_explanation(Explanation("A", "B", "e1", "e2", False, direct, (), 0.45, None, sides))
    shown = capsys.readouterr().out
    assert "two institutions" in shown and "p = 0.200" in shown and "chain" not in shown
    assert "features: city × country +1.25\n" in shown and "muenchen ~ munchen" in shown
    assert "reranker 0.700" in shown and "cannot-link by judgement" in shown
    assert "between both institutions 1 × 1 strings: none was compared" in shown


@pytest.mark.parametrize("size", [None, 0, 12_345])
def test_models_are_listed_with_their_size(capsys, size) -> None:
    entry = {
        "name": "m",
        "kind": "encoder",
        "licence": "MIT",
        "bytes": size,
        "what": "w",
        "choose": "[scoring] model",
    }
    print_models([entry])
    shown = capsys.readouterr().out
    assert "MIT" in shown and ("12 kB" in shown) == (size == 12_345) and "[scoring]" in shown
