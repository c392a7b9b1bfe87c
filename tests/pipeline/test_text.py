"""Forms of texts: what models compare, what people read, and the table of abbreviations behind them."""

import csv
import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.text import (
    abbreviations,
    compare,
    compare_all,
    display,
    join_initials,
    split_words,
    strip_accents,
    transliterate,
)

RESOURCES = Path(__file__).resolve().parents[2] / "pipeline" / "resources"
WORDS = [*abbreviations()[0], *map(" ".join, abbreviations()[1])]


def rows_of(name: str) -> list[dict[str, str]]:
    with (RESOURCES / name).open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines, delimiter="\t"))


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("", ""),
        (" .,; ", ""),
        (
            "Dept. of Surg., Klinikum r.d. Isar, TU München",
            "department of surgery klinikum rd isar tu münchen",
        ),
        ("Univ Texas", "university texas"),
        ("UNIVERSITY OF TEXAS", "university of texas"),
        ("Xi'an Jiaotong", "xian jiaotong"),
        ("Xi’an Jiaotong", "xian jiaotong"),
        ("People´s Hospital", "peoples hospital"),
        ("Università dell’Aquila", "università dell aquila"),
        ("L'Aquila", "l aquila"),
        ("O'Brien Institute", "obrien institute"),
        ("U.S.A.", "usa"),
        ("U.S.A", "usa"),
        ("St.Petersburg", "st petersburg"),
        ("B. R. Ambedkar", "br ambedkar"),
        ("B.R. Ambedkar", "br ambedkar"),
        ("Texas A&M University", "texas a and m university"),
        ("Max-Planck-Institut", "max planck institut"),
        ("Max‐Planck‐Institut", "max planck institut"),
        ("İSTANBUL ÜNİVERSİTESİ", "istanbul üniversitesi"),
        ("Straße", "strasse"),
        ("ΙΝΣΤΙΤΟΥΤΟΣ", "ινστιτουτοσ"),
        ("Soft\u00adware Zero\u200bWidth", "software zerowidth"),
        ("Centre for Haematology", "center for hematology"),
        (
            "Comput. Sci. Dept., Tech. Univ. Munchen",
            "computer science department technical university munchen",
        ),
        ("Tech. Universität Berlin", "technische universität berlin"),
        ("Texas Tech. Univ.", "texas tech university"),
        ("Univ N Carolina, Chapel Hill", "university north carolina chapel hill"),
        ("Univ New S Wales", "university new south wales"),
        ("Univ Nacl Autonoma Mexico", "university nacional autonoma mexico"),
        ("Michigan Tech. Univ.", "michigan technological university"),
        ("Одесский нац. ун-т им. И. И. Мечникова", "одесский национальный университет имени ии мечникова"),
        ("ФГБОУ ин-т", "фгбоу институт"),
        ("Ｔｏｋｙｏ　大学（本郷）", "tokyo 大学 本郷"),
        ("Universit\u0065\u0301", "université"),
    ],
)
def test_compare_form(text: str, form: str) -> None:
    assert compare(text) == form


@pytest.mark.parametrize(
    "text",
    ["北京大学", "हिन्दी विश्वविद्यालय", "جامعة القاهرة", "서울대학교", "がん研究会", "østfold żółć", "อุบล"],
)
def test_compare_keeps_every_script_and_accent(text: str) -> None:
    assert compare(text) == text


@pytest.mark.parametrize(
    "text", ["Georgia Tech", "Mol, Belgium", "Mass. General", "Mich.", "St. Luke", "Tucson, AZ"]
)
def test_compare_leaves_ambiguous_abbreviations(text: str) -> None:
    assert compare(text) == text.lower().replace(".", "").replace(",", "")


@settings(max_examples=300, deadline=None)
@given(st.text())
def test_compare_is_idempotent(text: str) -> None:
    form = compare(text)
    assert compare(form) == form
    assert form == " ".join(form.split())


PARTS = st.one_of(
    st.sampled_from([*WORDS, *"abтнуи", "l'", "d'", "İ", "U.S.A", "\u0301", "."]), st.text(max_size=3)
)


@settings(max_examples=500, deadline=None)
@given(st.lists(PARTS, max_size=8), st.sampled_from(["", " ", ". ", "-", "'"]))
def test_compare_is_idempotent_on_abbreviations_and_initials(parts: list[str], separator: str) -> None:
    form = compare(separator.join(parts))
    assert compare(form) == form


def test_compare_all_gives_one_form_each_in_order() -> None:
    assert compare_all([]) == []
    assert compare_all(["Univ. A", "B", "Univ. A"]) == ["university a", "b", "university a"]


def test_compare_is_fast() -> None:
    texts = [f"Dept. of Surgery {n}, Univ. Hosp. Zürich, St. Gallen, Switzerland" for n in range(5000)]
    begin = time.perf_counter()
    compare_all(texts)
    # A tenth of what one core does, so that a busy machine passes and a quadratic step does not.
    assert len(texts) / (time.perf_counter() - begin) > 4000


def test_join_initials_joins_runs_of_single_letters_only() -> None:
    assert join_initials("dr b r smith of l aquila") == "dr br smith of l aquila"
    assert join_initials("大 学") == "大 学"


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("", ""),
        ("Zürich Łódź Ærø Straße", "Zurich Lodz AEro Strasse"),
        ("Universit\u0065\u0301", "Universite"),
        ("Ινστιτούτο", "Ινστιτουτο"),
        ("ılıca İzmir Đà", "ilica Izmir Da"),
        ("ガン हिन्दी กรุงเทพฯ 한국 йё عَرَبي", "ガン हिन्दी กรุงเทพฯ 한국 йё عَرَبي"),
    ],
)
def test_strip_accents_touches_latin_and_greek_only(text: str, plain: str) -> None:
    assert strip_accents(text) == plain


@given(st.text())
def test_strip_accents_is_idempotent(text: str) -> None:
    assert strip_accents(strip_accents(text)) == strip_accents(text)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("", ""),
        ("Univ. Zürich", "university zurich"),
        ("Московский", "moskovskiy"),
        ("北京", "beijing"),
        ("!", ""),
    ],
)
def test_transliterate(text: str, key: str) -> None:
    assert transliterate(text) == key


@given(st.text())
def test_transliterate_gives_ascii_words(text: str) -> None:
    assert set(transliterate(text)) <= set("abcdefghijklmnopqrstuvwxyz0123456789 ")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("  two   blanks ", "two blanks"),
        ("UNIVERSITY OF NAMIBIA, WINDHOEK", "University of Namibia, Windhoek"),
        ("GUARDIA CIVIL ESPANOLA, MADRID, Spain", "Guardia Civil Espanola, Madrid, Spain"),
        ("ECOLE NATIONALE D'INGENIEURS DE TARBES", "Ecole Nationale d'Ingenieurs de Tarbes"),
        ("UNIVERSIDAD DE LOS ANDES", "Universidad de los Andes"),
        ("UNIVERSITY OF CALIFORNIA LOS ANGELES", "University of California Los Angeles"),
        ("ABSINT ANGEWANDTE INFORMATIK GMBH", "Absint Angewandte Informatik GmbH"),
        ("INSERM U955, UNIV PARIS EST CRETEIL", "INSERM U955, Univ Paris Est Creteil"),
        ("PEOPLE'S HOSPITAL OF XI'AN", "People's Hospital of Xi'an"),
        ("MCGILL UNIVERSITY, MONTREAL QC", "McGill University, Montreal QC"),
        ("PHYSIKALISCH-TECHNISCHE BUNDESANSTALT", "Physikalisch-Technische Bundesanstalt"),
        ("2ND AFFILIATED HOSPITAL, USA", "2nd Affiliated Hospital, USA"),
        ("UNIVERSITE TOULOUSE III PAUL SABATIER", "Universite Toulouse III Paul Sabatier"),
        ("FIRAT ÜNİVERSİTESİ TIP FAKÜLTESİ", "Fırat Üniversitesi Tıp Fakültesi"),
        ("ΠΑΝΕΠΙΣΤΗΜΙΟ ΤΗΣ ΠΑΤΡΑΣ", "Πανεπιστημιο της Πατρας"),
        ("МОСКОВСКИЙ УНИВЕРСИТЕТ ИМ. ЛОМОНОСОВА", "Московский Университет им. Ломоносова"),
        ("UNIVERSITÉ DE LA RÉUNION (CIRAD)", "Université de la Réunion (CIRAD)"),
    ],
)
def test_display_softens_capitals(text: str, shown: str) -> None:
    assert display(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "CNRS",
        "IFSULDEMINAS",
        "CREST, CEREMADE",
        "INSERM, U900",
        "University of Oslo",
        "RWTH Aachen",
        "北京大学",
        "CIBERER",
    ],
)
def test_display_leaves_acronyms_and_mixed_case(text: str) -> None:
    assert display(text) == text


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=4)), max_size=8).map(" ".join))
def test_display_is_idempotent(text: str) -> None:
    for written in (text, text.upper()):
        assert display(display(written)) == display(written)


def test_abbreviations_are_sorted_and_distinct_in_compare_form() -> None:
    rows = rows_of("abbreviations.tsv")
    written = [row["abbreviation"] for row in rows]
    assert len(rows) >= 400
    assert written == sorted(written)
    keys = [tuple(split_words(w)) for w in written]
    assert len(set(keys)) == len(keys)
    assert all(1 <= len(key) <= 2 for key in keys)
    assert {row["language"] for row in rows} >= {"en", "de", "fr", "es", "it", "pt", "pl", "tr", "ru", "el"}


def test_expansions_are_final_words_in_compare_form() -> None:
    singles, pairs, openers = abbreviations()
    for row in rows_of("abbreviations.tsv"):
        words = row["expansion"].split()
        assert words and " ".join(split_words(row["expansion"])) == row["expansion"], row
        assert not any(word in singles for word in words), row
        # A name that holds what abbreviates elsewhere (`Texas Tech Univ.`) is written as it is.
        is_as_it_is = pairs.get(tuple(words)) == row["expansion"] or row["note"].startswith("context")
        assert is_as_it_is or not (words[-1] in openers or any(p in pairs for p in pairwise(words))), row
        assert all(len(word) > 1 for word in words), row
    assert pairs


def test_documented_ambiguities_are_not_applied() -> None:
    ambiguous = [r["abbreviation"] for r in rows_of("abbreviations.tsv") if r["note"].startswith("context")]
    assert "tech" in ambiguous and "st" in ambiguous
    assert all(compare(word) == word for word in ambiguous)


@pytest.mark.parametrize(("name", "key"), [("titles.tsv", "title"), ("small_words.tsv", "word")])
def test_word_lists_have_no_duplicates(name: str, key: str) -> None:
    rows = [(row[key], row["kind"]) for row in rows_of(name)]
    assert len(set(rows)) == len(rows)


def test_capitals_are_one_written_form_each() -> None:
    written = (RESOURCES / "capitals.txt").read_text(encoding="utf-8").split()
    assert len({w.lower() for w in written}) == len(written)
    assert not any(w.islower() for w in written)
