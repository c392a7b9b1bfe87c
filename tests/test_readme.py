"""The picture on the README's first screen is what the code does."""

import sys
from pathlib import Path

import pytest

import pipeline

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))
import table  # noqa: E402

README = ROOT / "README.md"


def test_six_strings_become_the_two_institutions_of_the_picture() -> None:
    picture = README.read_text(encoding="utf-8").split("```")[1].strip().splitlines()
    strings = [line.rstrip("─┐┘├ ").split("  ")[0].strip() for line in picture]
    names = [line.split("├─")[1].strip() for line in picture if "├─" in line]
    assert len(strings) == 6
    found = pipeline.resolve(strings).institutions
    assert sorted(found["preferred_name"]) == sorted(names)
    assert found["n_mentions"].tolist() == [3, 3]


CARDS = [
    f"pipeline/models/{name}/README.md" for name in ("encoder", "linker", "names", "pair_scorer", "reranker")
]


def test_every_page_with_figures_is_known() -> None:
    assert {"README.md", "docs/registry.md", *CARDS} <= table.PAGES.keys()


@pytest.mark.parametrize("page", table.PAGES)
def test_the_figures_are_those_of_the_saved_results(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert table.with_figures(text, [part() for part in table.PAGES[page]]) == text


@pytest.mark.parametrize("page", CARDS)
def test_cards_say_quality_by_set_country_and_script(page: str) -> None:
    figures = "".join(part() for part in table.PAGES[page])
    for kind in "set: springer_2023_rest", "country: CN", "country: none found", "script: Latin":
        assert kind in figures


def test_other_figures_make_another_page() -> None:
    page = f"a {table.BEGIN}.1 {table.END} b {table.BEGIN}.2 {table.END}c"
    filled = f"a {table.BEGIN}.1 {table.END} b {table.BEGIN}.3 {table.END}c"
    assert table.with_figures(page, [".1 ", ".3 "]) == filled
    with pytest.raises(ValueError):
        table.with_figures(page, [".1 "])
