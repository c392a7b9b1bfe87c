"""The example file is data that documentation and other tests lean on, so its promises are checked here."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections import Counter, defaultdict
from pathlib import Path

import pytest

PATH = Path(__file__).parents[1] / "examples" / "affiliations.csv"
COUNTRIES = (
    "Argentina",
    "Australia",
    "Austria",
    "Bangladesh",
    "Belgium",
    "Brazil",
    "Canada",
    "China",
    "Colombia",
    "Denmark",
    "Egypt",
    "Ethiopia",
    "Finland",
    "France",
    "Germany",
    "Ghana",
    "Greece",
    "India",
    "Indonesia",
    "Iran",
    "Ireland",
    "Israel",
    "Italy",
    "Japan",
    "Kenya",
    "Korea",
    "Lebanon",
    "Maroc",
    "Mexico",
    "Netherlands",
    "Nigeria",
    "Pakistan",
    "Poland",
    "Portugal",
    "Russia",
    "Serbia",
    "Singapore",
    "Spain",
    "Sweden",
    "Switzerland",
    "Taiwan",
    "Thailand",
    "Turkey",
    "Uganda",
    "Ukraine",
    "USA",
    "Vietnam",
)

Row = dict[str, str]


@pytest.fixture(scope="module")
def text() -> str:
    return PATH.read_bytes().decode("utf-8")


@pytest.fixture(scope="module")
def rows(text: str) -> list[Row]:
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def scripts(string: str) -> set[str]:
    """Names of the scripts of a string's letters, as Unicode's character names begin."""
    return {unicodedata.name(c).split()[0] for c in string if c.isalpha()}


def test_file_is_plain_utf8_with_lf_and_standard_quoting(text: str, rows: list[Row]) -> None:
    assert "\r" not in text and "\0" not in text
    assert not text.startswith("\ufeff") and text.endswith("\n")
    written = io.StringIO(newline="")
    writer = csv.DictWriter(written, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    assert written.getvalue() == text


def test_columns_and_ranges(rows: list[Row]) -> None:
    assert list(rows[0]) == ["id", "affiliation", "year", "n_papers", "institution"]
    assert 550 <= len(rows) <= 700
    assert [row["id"] for row in rows] == [f"e{i}" for i in range(1, len(rows) + 1)]
    assert {int(row["year"]) for row in rows} <= set(range(2005, 2025))
    assert {int(row["n_papers"]) for row in rows} <= set(range(1, 41))


def test_gold_labels_are_slugs_named_once_a_row(rows: list[Row]) -> None:
    for row in rows:
        slugs = row["institution"]
        assert not slugs or re.fullmatch(r"[a-z0-9-]+(\|[a-z0-9-]+)*", slugs), row
        assert len(set(slugs.split("|"))) == len(slugs.split("|")), row


def test_equal_strings_exist_and_have_equal_labels(rows: list[Row]) -> None:
    labels = defaultdict(set)
    for row in rows:
        labels[row["affiliation"]].add(row["institution"])
    assert len(rows) - len(labels) >= 12
    assert [string for string, found in labels.items() if len(found) > 1] == []


def test_institutions_are_many_and_unevenly_sized(rows: list[Row]) -> None:
    sizes = Counter(row["institution"].split("|")[0] for row in rows if row["institution"])
    assert len(sizes) >= 110
    assert max(sizes.values()) >= 12 and min(sizes.values()) == 1
    assert sum(size == 1 for size in sizes.values()) >= 15


def test_rows_cover_countries_and_scripts(rows: list[Row]) -> None:
    everything = " ".join(row["affiliation"] for row in rows)
    assert sum(bool(re.search(rf"\b{country}\b", everything)) for country in COUNTRIES) >= 35
    found = set().union(*(scripts(row["affiliation"]) for row in rows))
    wanted = {"LATIN", "CJK", "HANGUL", "CYRILLIC", "ARABIC", "GREEK", "THAI", "DEVANAGARI", "HEBREW"}
    assert wanted <= found


def test_native_names_also_stand_beside_latin_ones(rows: list[Row]) -> None:
    both = [row for row in rows if "LATIN" in (found := scripts(row["affiliation"])) and len(found) > 1]
    assert len(both) >= 25


def test_several_organisations_and_none(rows: list[Row]) -> None:
    assert sum("|" in row["institution"] for row in rows) >= 40
    blank = [row for row in rows if not row["institution"]]
    assert 20 <= len(blank) <= 40
    assert any(not row["affiliation"] for row in blank)
    assert any(row["affiliation"] == "Department of Physics" for row in blank)


def test_debris_is_there_to_be_cleaned(rows: list[Row]) -> None:
    everything = "\0".join(row["affiliation"] for row in rows)
    for debris in ("Ã¼", "\ufffd", "&amp;", "<sup>", "#TAB#", "Electronic address", "\u200b", "\u00a0", "\n"):
        assert debris in everything, debris


def test_one_row_alone_would_start_a_spreadsheet_formula(rows: list[Row]) -> None:
    risky = [row for row in rows if row["affiliation"].startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert [row["institution"] for row in risky] == [""]
    assert risky[0]["affiliation"].startswith("=HYPERLINK(")


def test_lookalikes_keep_their_own_labels(rows: list[Row]) -> None:
    named = {row["institution"].split("|")[0] for row in rows}
    assert named >= {
        "university-of-washington",
        "washington-university-in-st-louis",
        "washington-state-university",
    }
    assert named >= {"university-of-miami", "miami-university", "university-of-york", "york-university"}
    assert named >= {"newcastle-university", "university-of-newcastle-australia"}
    assert named >= {
        "university-college-london",
        "uclouvain",
        "peking-university",
        "peking-university-third-hospital",
    }


def test_readme_counts_what_the_file_holds(rows: list[Row]) -> None:
    readme = (PATH.parent / "README.md").read_text(encoding="utf-8")
    slugs = {slug for row in rows for slug in row["institution"].split("|") if slug}
    assert f"holds {len(rows)} affiliation strings" in readme
    assert f"{len(slugs)} institutions" in readme
