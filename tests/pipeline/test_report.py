"""The report: what it says, that it is safe to open, whole, and of bounded size."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocking import vectors
from pipeline.errors import AffilError, UsageError
from pipeline.report import RunTables, read_run, render_report, write_report
from pipeline.report.cards import Limits, largest, least_certain, near_misses
from pipeline.report.evidence import gather
from pipeline.report.report import COLUMNS, MAX_BYTES
from pipeline.report.wording import (
    FEATURE_NAMES,
    Piece,
    duration,
    mark_differences,
    moment,
    percent,
    rule_names,
    shorten,
    sureness,
)
from pipeline.scoring import NAMES, TWO_RECORDS

HOSTILE = 'Institut "R. Bošković" & <script>alert(1)</script><img src=x onerror=alert(1)>'

# (entity, name, country, confidence, [(string, occurrences, role, match probability)])
GROUPS = [
    (
        "ent-tum",
        "Technical University of Munich",
        "DE",
        0.93,
        [
            ("Technische Universität München, Arcisstr. 21, München, Germany", 812, "main", 0.97),
            ("TU München, Fakultät für Physik, Garching, Germany", 341, "main", 0.91),
            ("Dept. of Surg., Klinikum r.d. Isar, TU München, Germany", 77, "parent", 0.88),
        ],
    ),
    (
        "ent-lyon1",
        "Université Claude Bernard Lyon 1",
        "FR",
        0.61,
        [
            ("Université Claude Bernard Lyon 1, Villeurbanne, France", 190, "main", 0.66),
            ("Univ. Lyon 1, Villeurbanne, France", 72, "main", 0.66),
        ],
    ),
    (
        "ent-lyon2",
        "Université Lumière Lyon 2",
        "FR",
        math.nan,
        [("Univ. Lyon 2, Bron", 20, "main", math.nan)],
    ),
    (
        "ent-ksu",
        "King Saud University",
        "SA",
        math.nan,
        [("جامعة الملك سعود، الرياض", 18, "main", math.nan)],
    ),
    ("ent-irb", HOSTILE, None, math.nan, [(HOSTILE + ", Zagreb", 4, "main", math.nan)]),
]
PAIRS = [
    ("ent-tum.0", "ent-tum.1", "neighbours+same_form", 0.95, 3.0, 0.953),
    ("ent-tum.0", "ent-tum.2", "neighbours", 0.80, 0.5, 0.622),
    ("ent-lyon1.0", "ent-lyon1.1", "acronym_place", 0.84, 0.6, 0.646),
    ("ent-lyon1.1", "ent-lyon2.0", "neighbours", 0.91, -0.2, 0.450),
    ("ent-lyon1.0", "ent-lyon2.0", "neighbours", 0.71, -1.0, 0.269),
    ("ent-ksu.0", "ent-tum.0", "neighbours", 0.20, -6.0, 0.002),
]
MANIFEST = {
    "version": "0.1.0",
    "inputs": ["export 2024.csv"],
    "finished": "2026-11-20T18:41:00+00:00",
    "settings": {"blocking": {"n_neighbours": 20}, "clustering": {"method": "average"}},
    "counts": {"rows": 12345, "distinct": 9, "mentions": 8, "institutions": 5, "largest_cluster": 3},
    "stages": [
        {"name": "fold", "seconds": 0.4, "peak_memory_mb": 120},
        {"name": "score", "seconds": 88.0, "peak_memory_mb": 1100},
    ],
    "warnings": ["12 strings were read as Windows-1252."],
    "evaluation": {"b3_f1": 0.9621, "pair_f1": 0.931},
}


def _run(**changes: object) -> RunTables:
    mentions, institutions = [], []
    for entity_id, name, country, confidence, strings in GROUPS:
        for number, (string, n, role, probability) in enumerate(strings):
            first = (f"a{number}", string, n, f"{entity_id}.{number}", name, ["Dept"])
            mentions.append((*first, None, None, country, role, entity_id, probability))
        n_all = sum(n for _, n, _, _ in strings)
        names = [f"{name} variant {k}" for k in range(12)] if entity_id == "ent-tum" else []
        institutions.append(
            (entity_id, name, names, ["TUM"], "Town", "", country, len(strings), n_all, confidence)
        )
    set_aside = [
        ("n/a", "no_letters", 40, True),
        ("--", "no_letters", 2, True),
        ("me@x.org", "email", 3, False),
    ]
    tables: dict[str, object] = {
        "mentions": pd.DataFrame(mentions, columns=list(COLUMNS["mentions"])),
        "institutions": pd.DataFrame(institutions, columns=list(COLUMNS["institutions"])),
        "pairs": pd.DataFrame(PAIRS, columns=list(COLUMNS["pairs"])),
        "set_aside": pd.DataFrame(set_aside, columns=list(COLUMNS["set_aside"])),
        "manifest": MANIFEST,
    }
    return RunTables(**(tables | changes))  # type: ignore[arg-type]


def _empty_run() -> RunTables:
    tables = {name: pd.DataFrame(columns=list(columns)) for name, columns in COLUMNS.items()}
    return RunTables(**tables, manifest={})


def _large_run(n: int, string: str = "Department {i}, University of Town {c}") -> RunTables:
    random = np.random.default_rng(0)
    town = random.integers(0, n // 10, n)
    mentions = pd.DataFrame(
        {
            "affiliation_id": [f"a{i}" for i in range(n)],
            "affiliation": [string.format(i=i, c=c) for i, c in enumerate(town)],
            "n_occurrences": random.integers(1, 50, n),
            "mention_id": [f"a{i}.0" for i in range(n)],
            "entity_id": [f"ent-{c}" for c in town],
            "match_probability": random.random(n),
        }
    ).reindex(columns=list(COLUMNS["mentions"]))
    sizes = pd.Series(town).value_counts()
    institutions = pd.DataFrame(
        {
            "entity_id": [f"ent-{c}" for c in sizes.index],
            "preferred_name": [f"University of Town {c}" for c in sizes.index],
            "n_mentions": sizes.to_numpy(),
            "n_occurrences": sizes.to_numpy() * 3,
            "confidence": random.random(len(sizes)),
        }
    ).reindex(columns=list(COLUMNS["institutions"]))
    ends = random.integers(0, n, (2, 5 * n))
    pairs = pd.DataFrame(
        {
            "left_mention_id": [f"a{i}.0" for i in ends[0]],
            "right_mention_id": [f"a{i}.0" for i in ends[1]],
            "rule": "neighbours",
            "similarity": random.random(5 * n),
            "logit": 0.0,
            "probability": random.random(5 * n),
        }
    )
    return RunTables(mentions, institutions, pairs, _run().set_aside, MANIFEST)


class _Page(HTMLParser):
    """Text, tags and attributes of a page; fails where a tag is closed that is not open."""

    VOID = frozenset({"meta", "input", "br", "img", "link", "hr"})

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == [], "tags left open"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in {"td", "th", "li"}:
            self.texts.append(" ")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> without its beginning"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in {"style", "script"}:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


def test_report_tells_what_was_run_and_found() -> None:
    text = _Page(render_report(_run())).text
    assert "Institutions in export 2024.csv" in text
    assert "Run of 20 November 2026, 18:41 UTC, affil 0.1.0" in text
    for figure in ("12,345", "the largest has 3 strings", "1 min 28 s", "0.962", "and 1 piece of strings"):
        assert figure in text
    assert "12 strings were read as Windows-1252." in text
    assert "all 5. Open one" in text
    assert "blocking.n_neighbours 20" in text
    assert "no letters whole string 2 42 n/a --" in text


def test_report_shows_members_names_and_links() -> None:
    text = _Page(render_report(_run())).text
    assert "Technische Universität München, Arcisstr. 21, München, Germany × 812 97%" in text
    assert "parent: Technical University of Munich" in text
    assert "and 2 more" in text, "ten of twelve names are shown"
    assert "Why they were merged (2 links)" in text
    assert "Strongest link 95% that they are one text similarity 0.95" in text
    assert "compared because: similar text, same text once tidied" in text
    assert "Weakest link 62% that they are one text similarity 0.80" in text


def test_pairs_show_what_speaks_for_one_and_what_for_two() -> None:
    asked: list[tuple[str, str]] = []

    def reasons(left: Sequence[str], right: Sequence[str]) -> list[list[tuple[str, float]]]:
        asked.extend(zip(left, right, strict=True))
        parts = [("country", 2.5), ("city × acronym", -1.25), ("a_new_one", 0.5), ("region", 0.04)]
        return [parts for _ in left]

    page = render_report(_run(reasons=reasons))
    assert "for one: country +2.5, a new one +0.5<" in page and "for two: city and acronyms −1.2<" in page
    assert ("ent-lyon1.1", "ent-lyon2.0") in asked and len(asked) == len(set(asked))
    assert "for one: " not in render_report(_run())


def test_features_have_names_in_plain_words() -> None:
    assert set(FEATURE_NAMES) == {*NAMES, TWO_RECORDS}


def test_report_without_evaluation_has_no_quality_tile() -> None:
    page = render_report(_run(manifest=MANIFEST | {"evaluation": None}))
    assert "Quality" not in page
    assert "Quality" in render_report(_run())


@pytest.mark.parametrize(
    ("inputs", "title"),
    [
        (["/data/a.csv", "C:\\data\\b.csv"], "Institutions in a.csv, b.csv"),
        (["-"], "Institutions in standard input"),
        (["a", "b", "c", "d", "e"], "Institutions in a, b, c and 2 more"),
        ([], "Institutions found"),
    ],
)
def test_title_names_the_input(inputs: list[str], title: str) -> None:
    assert f"{title} Run of" in _Page(render_report(_run(manifest=MANIFEST | {"inputs": inputs}))).text


def test_largest_institutions_come_first() -> None:
    run = _run()
    cards = largest(gather(run.mentions, run.institutions, run.pairs), Limits(n_largest=2))
    assert [card.entity_id for card in cards] == ["ent-tum", "ent-lyon1"]
    assert [member.n_occurrences for member in cards[0].members] == ["812", "341", "77"]
    assert [member.part for member in cards[0].members] == ["", "", "Technical University of Munich"]


def test_least_certain_institutions_leave_out_single_strings() -> None:
    run = _run()
    cards, n_all = least_certain(gather(run.mentions, run.institutions, run.pairs), Limits())
    assert [card.entity_id for card in cards] == ["ent-lyon1", "ent-tum"]
    assert n_all == 2
    weakest = cards[1].weakest
    assert weakest is not None
    assert weakest.probability == "62%"


def test_many_links_show_the_strongest_and_the_weakest() -> None:
    run = _large_run(30, "Department {i}, University")
    everything = run.mentions.assign(entity_id="ent-1")
    one = run.institutions.head(1).assign(entity_id="ent-1", n_mentions=30)
    card = largest(gather(everything, one, run.pairs), Limits())[0]
    shown = [pair.label for pair in card.pairs]
    assert shown[0] == "Strongest link"
    assert shown[-1] == "Weakest link"
    assert len(shown) == 5
    assert card.n_pairs == len(run.pairs)
    assert card.pairs[0].probability == percent(run.pairs["probability"].max())
    assert card.pairs[-1].probability == percent(run.pairs["probability"].min())


def test_near_misses_keep_the_best_pair_of_two_institutions() -> None:
    run = _run()
    misses, n_all = near_misses(gather(run.mentions, run.institutions, run.pairs), Limits())
    assert n_all == 1, "the pair at 0.2% is no near miss, and two institutions count once"
    assert set(misses[0].entity_ids) == {"ent-lyon1", "ent-lyon2"}
    assert misses[0].pair.probability == "45%"
    texts = {
        "".join(piece.text for piece in side.pieces) for side in (misses[0].pair.left, misses[0].pair.right)
    }
    assert texts == {"Univ. Lyon 1, Villeurbanne, France", "Univ. Lyon 2, Bron"}


def test_report_does_not_depend_on_row_order() -> None:
    run = _run()
    shuffled = {name: getattr(run, name).sample(frac=1, random_state=3) for name in COLUMNS}
    pairs = shuffled["pairs"].rename(
        columns={"left_mention_id": "right_mention_id", "right_mention_id": "left_mention_id"}
    )
    assert render_report(_run(**(shuffled | {"pairs": pairs}))) == render_report(run)


def test_every_value_is_escaped() -> None:
    hostile = MANIFEST | {
        "inputs": [HOSTILE],
        "version": HOSTILE,
        "finished": HOSTILE,
        "warnings": [HOSTILE],
        "settings": {HOSTILE: HOSTILE},
        "counts": {"rows": HOSTILE, HOSTILE: HOSTILE},
        "stages": [{"name": HOSTILE, "seconds": HOSTILE, "peak_memory_mb": HOSTILE}],
        "evaluation": {"b3_f1": HOSTILE, HOSTILE: 1.0},
    }
    run = _run()
    tables = {
        "manifest": hostile,
        "pairs": run.pairs.assign(rule=HOSTILE),
        "institutions": run.institutions.assign(
            preferred_name=HOSTILE, city=HOSTILE, country_code=HOSTILE, acronyms=[[HOSTILE]] * 5
        ),
        "mentions": run.mentions.assign(affiliation=HOSTILE, organization=HOSTILE, role=HOSTILE),
        "set_aside": run.set_aside.assign(string=HOSTILE, reason=HOSTILE),
    }
    page = _Page(render_report(_run(**tables)))
    assert page.count("script") == 1
    assert page.count("img") == 0
    assert HOSTILE in page.text
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]


def test_nothing_is_loaded_from_elsewhere() -> None:
    page = render_report(_run())
    parsed = _Page(page)
    for _, attributes in parsed.tags:
        assert not {"src", "srcset", "data", "action"} & set(attributes)
        assert (attributes.get("href") or "#").startswith("#")
    assert parsed.count("link") == 0
    assert not re.search(r"https?://|@import|url\(", page)
    assert "default-src 'none'" in page


def test_links_in_the_page_lead_somewhere() -> None:
    tags = _Page(render_report(_run())).tags
    ids = {attributes["id"] for _, attributes in tags if "id" in attributes}
    wanted = {str(attributes["href"])[1:] for name, attributes in tags if name == "a"}
    assert wanted
    assert wanted <= ids


def test_foreign_strings_find_their_direction() -> None:
    assert re.search(r'dir="auto">جامعة الملك سعود، الرياض<', render_report(_run()))


def test_empty_run_is_a_report() -> None:
    text = _Page(render_report(_empty_run())).text
    assert "No institutions in this run." in text
    assert "nothing was merged" in text
    assert "Nothing was set aside." in text


def test_one_string_is_a_report() -> None:
    run = _run()
    one = _run(mentions=run.mentions.tail(1), institutions=run.institutions.tail(1), pairs=run.pairs.head(0))
    text = _Page(render_report(one)).text
    assert "1 stringseen 4 times" in text, "the point between them comes from the style sheet"
    assert "stands alone" in text


def test_equal_strings_and_probabilities_are_a_report() -> None:
    run = _run()
    same = _run(
        mentions=run.mentions.assign(affiliation="Univ", n_occurrences=1),
        pairs=run.pairs.assign(probability=1.0, similarity=1.0),
    )
    assert "<mark>Univ" not in render_report(same)


def test_unknown_values_are_shown_as_unknown() -> None:
    run = _run()
    unknown = _run(
        pairs=run.pairs.assign(similarity=math.nan, logit=math.nan, probability=math.nan, rule=None),
        mentions=run.mentions.assign(entity_id=None, match_probability=None, organization=None, role=None),
        institutions=run.institutions.assign(preferred_name=None, confidence=None, acronyms=None),
    )
    text = _Page(render_report(unknown)).text
    assert "No name found" in text
    assert "nan" not in text.lower().split()
    assert "None" not in text.split()


def test_large_run_says_how_much_is_shown_and_stays_small() -> None:
    run = _large_run(5000)
    page = render_report(run)
    assert len(page.encode("utf-8")) < MAX_BYTES
    text = _Page(page).text
    assert "the largest 50 of 500" in text
    n_joined = int((run.institutions["n_mentions"] > 1).sum())
    assert f"the most doubtful 30 of {n_joined} institutions of two or more strings" in text


def test_page_of_long_strings_is_cut_to_its_bound() -> None:
    page = render_report(_large_run(3000, "{i} {c} " + "'\"大学<" * 400))
    assert len(page.encode("utf-8")) < MAX_BYTES
    assert "Largest institutions" in _Page(page).text


def test_string_of_megabytes_is_cut() -> None:
    run = _run()
    long = run.mentions.copy()
    long.loc[0, "affiliation"] = "Université " * 1_000_000
    page = render_report(_run(mentions=long))
    assert len(page) < 200_000
    assert "…" in page


def test_duplicate_ids_are_refused() -> None:
    run = _run()
    with pytest.raises(UsageError, match="mention_id must be unique"):
        render_report(_run(mentions=pd.concat([run.mentions, run.mentions.head(1)])))


def test_missing_columns_are_named() -> None:
    with pytest.raises(UsageError, match="pairs: columns missing: rule, logit"):
        _run(pairs=_run().pairs.drop(columns=["rule", "logit"]))


def _write_folder(folder: Path, run: RunTables) -> None:
    for name in COLUMNS:
        getattr(run, name).to_parquet(folder / f"{name}.parquet")
    (folder / "manifest.json").write_text(json.dumps(run.manifest), encoding="utf-8")


def test_run_folder_becomes_a_report(tmp_path: Path) -> None:
    _write_folder(tmp_path, _run())
    path = write_report(tmp_path)
    assert path == tmp_path / "report.html"
    assert path.read_text(encoding="utf-8") == render_report(_run())


def test_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        read_run(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"no finished run here \(manifest.json, mentions.parquet"):
        read_run(tmp_path)


def test_broken_files_are_refused(tmp_path: Path) -> None:
    _write_folder(tmp_path, _run())
    (tmp_path / "manifest.json").write_text("[1", encoding="utf-8")
    with pytest.raises(UsageError, match="no readable JSON"):
        read_run(tmp_path)
    (tmp_path / "manifest.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(UsageError, match="object was expected"):
        read_run(tmp_path)
    (tmp_path / "pairs.parquet").write_bytes(b"no parquet")
    with pytest.raises(UsageError, match="no readable Parquet file"):
        read_run(tmp_path)


def test_report_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    _write_folder(tmp_path, _run())
    (tmp_path / "report.html").mkdir()
    with pytest.raises(AffilError, match="cannot write the report"):
        write_report(tmp_path)


def test_shorten_cuts_and_cleans() -> None:
    assert shorten("a  b\n c", 10) == "a b c"
    assert shorten("x" * 20, 10) == "x" * 9 + "…"
    assert shorten("x" * 10, 10) == "x" * 10
    assert shorten("a\x00b\ud800", 10) == "a\ufffdb\ufffd"
    assert [shorten(value, 5) for value in (None, math.nan, pd.NA)] == ["", "", ""]


@given(st.text(alphabet=st.characters(), max_size=400), st.integers(2, 50))
def test_shortened_text_fits_and_can_be_written(text: str, n_characters: int) -> None:
    short = shorten(text, n_characters)
    assert len(short) <= n_characters
    short.encode("utf-8")


@pytest.mark.parametrize(
    ("share", "shown"),
    [(0.0, "0%"), (0.004, "<1%"), (0.5, "50%"), (0.9951, ">99%"), (1.0, "100%"), (math.nan, "–")],
)
def test_percent(share: float, shown: str) -> None:
    assert percent(share) == shown


def test_sureness_agrees_with_the_percentage_shown() -> None:
    assert percent(0.9496) == "95%"
    assert sureness(0.9496) == "sure"
    assert [sureness(p) for p in (0.8, 0.79, math.nan)] == ["likely", "unsure", "unknown"]


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.42, "0.4 s"), (59.4, "59 s"), (185, "3 min 5 s"), (7800, "2 h 10 min")]
)
def test_duration(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_moment_is_readable_or_as_it_was() -> None:
    assert moment("2026-11-20T18:41:00+00:00") == "20 November 2026, 18:41 UTC"
    assert moment("2026-11-20T18:41:00") == "20 November 2026, 18:41"
    assert moment("yesterday") == "yesterday"


def test_rules_in_plain_words() -> None:
    assert rule_names("neighbours+my_rule") == ["similar text", "my rule"]
    assert rule_names(None) == []


def test_words_that_the_other_lacks_are_marked() -> None:
    left, right = mark_differences("Univ. Lyon 1, FRANCE", "Univ Lyon 2 Bron, France", 300)
    assert left == [Piece("Univ. Lyon ", False), Piece("1", True), Piece(", FRANCE", False)]
    assert right == [Piece("Univ Lyon ", False), Piece("2 Bron", True), Piece(", France", False)]


def test_scripts_without_spaces_are_compared_by_character() -> None:
    left, _ = mark_differences("北京大学医学部", "北京大学", 300)
    assert left == [Piece("北京大学", False), Piece("医学部"[0], True), Piece("学", False), Piece("部", True)]


def test_strings_without_a_common_word_are_not_marked() -> None:
    left, right = mark_differences("King Saud University", "جامعة الملك سعود", 300)
    assert left == [Piece("King Saud University", False)]
    assert right == [Piece("جامعة الملك سعود", False)]


def test_a_word_cut_in_two_is_not_marked() -> None:
    left, right = mark_differences("Univ of Somewhere", "Univ of Somewhere", 12)
    assert left == right == [Piece("Univ of Som…", False)]


@given(st.text(max_size=80), st.text(max_size=80))
def test_pieces_make_up_the_string(left: str, right: str) -> None:
    for text, pieces in zip((left, right), mark_differences(left, right, 60), strict=True):
        assert "".join(piece.text for piece in pieces) == shorten(text, 60)


def test_report_opens_in_a_browser_without_errors(tmp_path: Path) -> None:
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    browser = next((path for path in found if path), None)
    if browser is None:
        pytest.skip("no Chromium found: install chromium to open the report in a browser")
    _write_folder(tmp_path, _run())
    page = write_report(tmp_path)
    options = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync --enable-logging=stderr --dump-dom"
    )
    command = [browser, *options.split(), f"--user-data-dir={tmp_path / 'profile'}", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)
    assert "Technical University of Munich" in done.stdout
    assert ">Germany</span>" in done.stdout, "the script ran: codes have become names"
    assert "CONSOLE" not in done.stderr


def test_evidence_is_the_same_in_small_lots_and_of_ids_as_categories(monkeypatch: pytest.MonkeyPatch) -> None:
    run = _run()
    whole = gather(run.mentions, run.institutions, run.pairs)
    monkeypatch.setattr(vectors, "AT_ONCE", 2)
    ids = ["left_mention_id", "right_mention_id"]
    pairs = run.pairs.astype(dict.fromkeys(ids, "category"))
    parts = gather(run.mentions, run.institutions, pairs)
    for name in ("left", "right", "probability", "similarity", "is_inside", "n_pairs"):
        assert np.array_equal(getattr(whole, name), getattr(parts, name)), name
    assert whole.rule.tolist() == parts.rule.tolist()
    assert whole.n_pairs.sum() == run.pairs["probability"].notna().sum()
    assert whole.n_pairs[0].sum() == whole.is_inside.sum()
