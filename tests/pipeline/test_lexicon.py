"""The word lists of the lexicon: their integrity, and the head words that they find in many languages."""

from __future__ import annotations

import csv
import re
from collections import Counter
from importlib.resources import files
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.lexicon import CLASSES, Lexicon, initials, keys_of
from pipeline.text import compare, strip_accents

MATCHES = {"exact", "prefix", "suffix", "substring", "phrase"}
ACRONYM_CLASSES = {"hospital", "university", "academy", "company", "institute", "agency"}

KINDS = [
    ("University of Oxford", ["university"]),
    ("Universidad de Chile", ["university"]),
    ("Università degli Studi di Milano", ["university"]),
    ("Technische Universität Dresden", ["university"]),
    ("Ruhr-Universität Bochum", ["university"]),
    ("Hochschule Bremen", ["university"]),
    ("Uniwersytet Jagielloński", ["university"]),
    ("Politechnika Warszawska", ["university"]),
    ("Univerza v Ljubljani", ["university"]),
    ("Budapesti Műszaki Egyetem", ["university"]),
    ("Debreceni Tudományegyetem", ["university"]),
    ("Helsingin yliopisto", ["university"]),
    ("Göteborgs universitet", ["university"]),
    ("Høgskolen i Oslo", ["university"]),
    ("Tartu Ülikool", ["university"]),
    ("Hacettepe Üniversitesi", ["university"]),
    ("Vysoká škola ekonomická", ["university"]),
    ("Wyższa Szkoła Bankowa", ["university"]),
    ("Politeknik Negeri Bandung", ["university"]),
    ("Sekolah Tinggi Ilmu Kesehatan", ["university"]),
    ("Trường Đại học Cần Thơ", ["university"]),
    ("Московский университет", ["university"]),
    ("Київський університет", ["university"]),
    ("Πανεπιστήμιο Πατρών", ["university"]),
    ("جامعة القاهرة", ["university"]),
    ("دانشگاه تهران", ["university"]),
    ("אוניברסיטת תל אביב", ["university"]),
    ("दिल्ली विश्वविद्यालय", ["university"]),
    ("ঢাকা বিশ্ববিদ্যালয়", ["university"]),
    ("มหาวิทยาลัย มหิดล", ["university"]),
    ("北京大学", ["university"]),
    ("서울대학교", ["university"]),
    ("Massachusetts Institute of Technology", ["university"]),
    ("National Institute of Technology Rourkela", ["university"]),
    ("Georgia Tech", ["university"]),
    ("Naval Postgraduate School", ["university"]),
    ("Massachusetts General Hospital", ["hospital"]),
    ("Hôpital Cochin", ["hospital"]),
    ("Ospedale San Raffaele", ["hospital"]),
    ("Klinikum Nürnberg", ["hospital"]),
    ("Kantonsspital Aarau", ["hospital"]),
    ("Universitätsmedizin Mainz", ["hospital"]),
    ("Rigshospitalet", ["hospital"]),
    ("Karolinska Universitetssjukhuset", ["hospital"]),
    ("Nemocnice Na Homolce", ["hospital"]),
    ("Klinički bolnički centar Zagreb", ["hospital"]),
    ("Городская больница", ["hospital"]),
    ("Γενικό Νοσοκομείο Αθηνών", ["hospital"]),
    ("مستشفى الملك", ["hospital"]),
    ("בית חולים הדסה", ["hospital"]),
    ("Rumah Sakit Sardjito", ["hospital"]),
    ("Bệnh viện Chợ Rẫy", ["hospital"]),
    ("华西医院", ["hospital"]),
    ("VA Medical Center", ["hospital"]),
    ("Memorial Sloan Kettering Cancer Center", ["hospital"]),
    ("Chinese Academy of Sciences", ["academy"]),
    ("Polska Akademia Nauk", ["academy"]),
    ("Российская академия наук", ["academy"]),
    ("National Institute of Standards", ["academy"]),
    ("Max Planck Institut", ["academy", "institute"]),
    ("Fraunhofer Institut", ["academy", "institute"]),
    ("Los Alamos National Laboratory", ["academy", "unit"]),
    ("Siemens Healthcare GmbH", ["company"]),
    ("Toyota Motor Corporation", ["company"]),
    ("株式会社日立製作所", ["company"]),
    ("ООО Ромашка", ["company"]),
    ("Institut für Physik", ["institute"]),
    ("Институт физики", ["institute"]),
    ("Kutatóintézet", ["institute"]),
    ("Field Museum", ["institute"]),
    ("Centro de Biología Molecular", ["institute"]),
    ("理化学研究所", ["institute"]),
    ("Ministerstvo zdravotnictví", ["agency"]),
    ("Министерство обороны", ["agency"]),
    ("Naturvårdsverket", ["agency"]),
    ("Wellcome Trust", ["agency"]),
    ("Boston Latin School", ["college"]),
    ("Norwich Business School", ["college"]),
    ("Department of Physics", ["unit"]),
    ("Department of Clinical Hematology", ["unit"]),
    ("Department of Hospitality Management", ["unit", "unit"]),
    ("Faculty of Medicine", ["unit"]),
    ("Klinik für Neurologie", ["unit"]),
    ("Klinik und Poliklinik für Anästhesiologie", ["unit"]),
    ("Frauenklinik", ["unit"]),
    ("Klinika Kardiologii", ["unit"]),
    ("Clinic of Nuclear Medicine", ["unit"]),
    ("Service d’Hématologie", ["unit"]),
    ("Escuela Técnica Superior de Ingenieros", ["unit"]),
    ("Tanszék", ["unit"]),
    ("Anabilim Dalı", ["unit"]),
    ("кафедра химии", ["unit"]),
    ("Τμήμα Φυσικής", ["unit"]),
    ("Cardiovascular Genetics Group", ["unit"]),
    ("Pharmacology and Therapeutics", []),
    ("имени академика Павлова", []),
    ("Information Systems", []),
    ("Quartier latin", []),
    ("", []),
]


TOKENS = ["university", "of", "hospital", "xyz", "institute", "medical", "center", "klinik", "fur"]


def _rows(name: str) -> list[dict[str, str]]:
    with (files("pipeline") / "resources" / name).open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines, delimiter="\t"))


def _lines(name: str) -> list[str]:
    return (files("pipeline") / "resources" / name).read_text(encoding="utf-8").splitlines()


def _keys(text: str) -> list[str]:
    return [key for token in text.split() for key in keys_of(token)]


WORDS = _rows("organization_words.tsv")
SUBJECTS = _rows("subject_words.tsv")
ACRONYMS = _rows("known_acronyms.tsv")
SYSTEMS = _lines("organization_systems.txt")


@pytest.mark.parametrize(("text", "kinds"), KINDS)
def test_heads_in_many_languages(text: str, kinds: list[str]) -> None:
    assert [head.kind for head in Lexicon.load().heads(_keys(text))] == kinds


def test_classes_and_matches_are_known() -> None:
    assert {row["class"] for row in WORDS} == set(CLASSES)
    assert {row["match"] for row in WORDS} == MATCHES
    assert all(row["language"] for row in WORDS)


def test_no_word_is_listed_twice() -> None:
    assert not [key for key, n in Counter((row["word"], row["match"]) for row in WORDS).items() if n > 1]
    for rows, field in ((SUBJECTS, "word"), (ACRONYMS, "acronym")):
        assert len({row[field] for row in rows}) == len(rows)
    assert len(set(SYSTEMS)) == len(SYSTEMS)


def test_words_are_written_in_the_form_that_is_looked_up() -> None:
    """A word that `compare` writes another way would never be found."""
    for row in WORDS:
        if row["match"] in ("exact", "phrase"):
            keys = row["word"].split()
            assert [key for word in keys for key in keys_of(word)] == keys
            assert (len(keys) == 1) == (row["match"] == "exact")
        else:
            assert strip_accents(row["word"]) == row["word"]
            assert " " not in row["word"], "affixes are looked for in single tokens"
    assert all(keys_of(row["word"]) == (row["word"],) for row in SUBJECTS)
    assert all([k for w in line.split() for k in keys_of(w)] == line.split() for line in SYSTEMS)


def test_no_prefix_or_suffix_is_so_short_that_it_hits_by_chance() -> None:
    latin = [row["word"] for row in WORDS if row["match"] in ("prefix", "suffix") and row["word"].isascii()]
    assert min(map(len, latin)) >= 4
    substrings = [row["word"] for row in WORDS if row["match"] == "substring"]
    assert not [word for word in substrings if word.isascii()]


@pytest.mark.parametrize(
    "word",
    ["clinical", "hospitality", "central", "universal", "department", "library", "academician", "economics"],
)
def test_common_words_do_not_head_organisations(word: str) -> None:
    assert Lexicon.load().kind_of_word(word) in (None, "unit", "institute")
    assert word == "library" or Lexicon.load().kind_of_word(word) != "institute"


def test_subjects_have_a_kind() -> None:
    assert {row["kind"] for row in SUBJECTS} == {"noun", "adjective"}
    lexicon = Lexicon.load()
    assert {"medical", "technical", "agricultural", "technische", "medizinische"} <= lexicon.adjectives
    assert all(map(lexicon.is_subject, ("kardiologie", "ingegneria", "enfermagem", "химии", "muhendisligi")))
    assert not any(map(lexicon.is_subject, ("university", "cochin", "stanford", "klinikum")))


def test_acronyms_are_well_formed_and_name_no_place() -> None:
    assert {row["class"] for row in ACRONYMS} == ACRONYM_CLASSES
    assert all(re.fullmatch(r"[A-Z][A-Z0-9]{2,}", row["acronym"]) for row in ACRONYMS)
    codes = {row["text"] for row in _rows("countries.tsv") if row["kind"] == "code"}
    codes |= {row["alias"] for row in _rows("regions.tsv")}
    # The ETH of Zurich is written so by everybody; hardly anybody writes Ethiopia so.
    assert {row["acronym"] for row in ACRONYMS} & codes == {"ETH"}
    assert len(ACRONYMS) >= 300


def test_systems_are_names_of_universities_or_of_their_parents() -> None:
    lexicon = Lexicon.load()
    assert ("university", "of", "california") in lexicon.systems
    assert [line for line in SYSTEMS if not lexicon.heads(line.split())] == ["cuny", "suny", "uc"]


def test_the_longest_phrase_wins() -> None:
    heads = Lexicon.load().heads(["national", "institute", "of", "technology"])
    assert [(h.start, h.end, h.kind) for h in heads] == [(0, 4, "university")]


@given(st.lists(st.sampled_from(TOKENS), max_size=9))
def test_heads_are_in_order_and_never_overlap(keys: list[str]) -> None:
    heads = Lexicon.load().heads(keys)
    assert all(a.end <= b.start for a, b in pairwise(heads))
    assert all(0 <= h.start < h.end <= len(keys) and h.kind in CLASSES for h in heads)


def test_initials() -> None:
    assert initials("massachusetts institute of technology") == ("MIOT", "MIT")
    assert initials("two words") == ()


def test_keys_are_compare_forms_without_accents() -> None:
    assert keys_of("Universität") == ("universitat",)
    assert keys_of("Dept.") == tuple(compare("Dept.").split())
