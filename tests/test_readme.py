"""The picture on the README's first screen is what the code does."""

import importlib.util
from pathlib import Path

import pipeline

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"


def test_six_strings_become_the_two_institutions_of_the_picture() -> None:
    picture = README.read_text(encoding="utf-8").split("```")[1].strip().splitlines()
    strings = [line.rstrip("─┐┘├ ").split("  ")[0].strip() for line in picture]
    names = [line.split("├─")[1].strip() for line in picture if "├─" in line]
    assert len(strings) == 6
    found = pipeline.resolve(strings).institutions
    assert sorted(found["preferred_name"]) == sorted(names)
    assert found["n_mentions"].tolist() == [3, 3]


def test_the_figures_are_those_of_the_saved_results() -> None:
    spec = importlib.util.spec_from_file_location("table", ROOT / "benchmarks" / "table.py")
    assert spec and spec.loader
    table = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(table)
    assert "README.md" in table.PAGES
    for page, figures in table.PAGES.items():
        text = (ROOT / page).read_text(encoding="utf-8")
        assert table.with_figures(text, figures()) == text
