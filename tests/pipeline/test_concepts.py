"""The table of concepts, names that it must make equal, and sibling institutions that it must keep apart."""

from __future__ import annotations

import csv
import unicodedata
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.concepts import concept_text, concept_tokens
from pipeline.text import compare, strip_accents

EQUAL = [
    ("Technische Universität München", "Technical University of Munich"),
    ("TU Wien", "Technical University of Vienna"),
    ("Université Paris-Est Créteil", "Paris East Créteil University"),
    ("Università degli Studi di Milano", "University of Milan"),
    ("Universidad de Sevilla", "University of Seville"),
    ("Université de Genève", "University of Geneva"),
    ("Universiteit Gent", "Ghent University"),
    ("Rijksuniversiteit Groningen", "University of Groningen"),
    ("Vrije Universiteit Brussel", "Free University of Brussels"),
    ("Freie Universität Berlin", "Free University of Berlin"),
    ("Medizinische Universität Wien", "Medical University of Vienna"),
    ("Universitätsklinikum Heidelberg", "Heidelberg University Hospital"),
    ("Universitätsspital Zürich", "University Hospital Zurich"),
    ("Deutsches Krebsforschungszentrum", "German Cancer Research Center"),
    ("Deutsches Herzzentrum Berlin", "German Heart Centre Berlin"),
    ("Fachhochschule Aachen", "Aachen University of Applied Sciences"),
    ("Österreichische Akademie der Wissenschaften", "Austrian Academy of Sciences"),
    ("Bayerische Akademie der Wissenschaften", "Bavarian Academy of Sciences"),
    ("Université catholique de Lille", "Catholic University of Lille"),
    ("Institut national du cancer", "National Cancer Institute"),
    ("Centre hospitalier universitaire de Bordeaux", "CHU Bordeaux"),
    ("École polytechnique", "Polytechnic School"),
    ("Académie des sciences", "Academy of Sciences"),
    ("Bibliothèque nationale de France", "National Library of France"),
    ("Universidad Nacional Autónoma de México", "National Autonomous University of Mexico"),
    ("Universidad Politécnica de Madrid", "Polytechnic University of Madrid"),
    ("Universidad Austral de Chile", "Austral University of Chile"),
    ("Instituto Nacional de Salud Pública", "National Institute of Public Health"),
    ("Universitat Autònoma de Barcelona", "Autonomous University of Barcelona"),
    ("Universidade Federal de Minas Gerais", "Federal University of Minas Gerais"),
    ("Universidade do Estado do Rio de Janeiro", "State University of Rio de Janeiro"),
    ("Universidade Aberta", "Open University"),
    ("Politecnico di Torino", "Polytechnic of Turin"),
    ("Istituto Nazionale di Fisica Nucleare", "National Institute of Nuclear Physics"),
    ("Consiglio Nazionale delle Ricerche", "National Research Council"),
    ("Universitatea de Medicină și Farmacie", "University of Medicine and Pharmacy"),
    ("Academia Română", "Romanian Academy"),
    ("Narodowy Instytut Onkologii", "National Institute of Oncology"),
    ("Polska Akademia Nauk", "Polish Academy of Sciences"),
    ("Instytut Fizyki Jądrowej", "Institute of Nuclear Physics"),
    ("Akademie věd České republiky", "Academy of Sciences of the Czech Republic"),
    ("Jihočeská univerzita", "University of South Bohemia"),
    ("Západočeská univerzita", "University of West Bohemia"),
    ("Technická univerzita Košice", "Technical University of Košice"),
    ("Univerzitetni klinični center", "University Clinical Centre"),
    ("Medicinski fakultet", "Medical Faculty"),
    ("Magyar Tudományos Akadémia", "Hungarian Academy of Sciences"),
    ("Országos Onkológiai Intézet", "National Institute of Oncology"),
    ("Lietuvos mokslų akademija", "Lithuanian Academy of Sciences"),
    ("Latvijas Universitāte", "University of Latvia"),
    ("Tartu Ülikool", "University of Tartu"),
    ("Eesti Maaülikool", "Estonian University of Life Sciences"),
    ("Umeå universitet", "Umeå University"),
    ("Kungliga Vetenskapsakademien", "Royal Academy of Sciences"),
    ("Syddansk Universitet", "University of Southern Denmark"),
    ("Danmarks Tekniske Universitet", "Technical University of Denmark"),
    ("Aarhus Universitetshospital", "Aarhus University Hospital"),
    ("Norges forskningsråd", "Research Council of Norway"),
    ("Háskólinn í Reykjavík", "Reykjavík University"),
    ("Orta Doğu Teknik Üniversitesi", "Middle East Technical University"),
    ("Ankara Eğitim ve Araştırma Hastanesi", "Ankara Training and Research Hospital"),
    ("İstanbul Üniversitesi Tıp Fakültesi", "Istanbul University Faculty of Medicine"),
    ("Российская академия наук", "Russian Academy of Sciences"),
    ("Северный федеральный университет", "Northern Federal University"),
    ("Государственный медицинский университет", "State Medical University"),
    ("Національна академія наук України", "National Academy of Sciences of Ukraine"),
    ("Rossiiskaya akademiya nauk", "Russian Academy of Sciences"),
    ("Εθνικό Κέντρο Έρευνας", "National Research Centre"),
    ("جامعة العلوم والتكنولوجيا", "University of Science and Technology"),
    ("دانشگاه علوم پزشکی", "University of Medical Sciences"),
    ("האוניברסיטה העברית", "Hebrew University"),
    ("भारतीय प्रौद्योगिकी संस्थान", "Indian Institute of Technology"),
    ("বাংলাদেশ কৃষি বিশ্ববিদ্যালয়", "Bangladesh Agricultural University"),
    ("Universitas Islam Negeri", "State Islamic University"),
    ("Universiti Kebangsaan Malaysia", "National University of Malaysia"),
    ("Ollscoil na hÉireann", "University of Ireland"),
    ("Prifysgol Cymru", "University of Wales"),
    ("Universidad del País Vasco", "University of the Basque Country"),
    ("Hospital Clínico San Carlos", "San Carlos Clinical Hospital"),
    ("Université Paris XI", "Université Paris 11"),
    ("1st Affiliated Hospital", "First Affiliated Hospital"),
    ("St. Olavs Hospital", "Saint Olavs Hospital"),
]

DIFFERENT = [
    ("University of Florida", "University of South Florida"),
    ("Technische Hochschule Köln", "Technische Universität Köln"),
    ("Universidad de Chile", "Universidad Católica de Chile"),
    ("Medical University of Vienna", "University of Vienna"),
    ("First Affiliated Hospital", "Third Affiliated Hospital"),
    ("Technical University of Vienna", "Polytechnic University of Vienna"),
    ("University of Michigan", "University of Western Michigan"),
    ("Northwestern University", "Northwest University"),
    ("North University", "Northern University"),
    ("Western University", "University of the West"),
    ("Eastern University", "Oriental University"),
    ("Chengdu University of Technology", "Chengdu Technological University"),
    ("Universidade Federal do Rio Grande do Sul", "Universidade Federal do Rio Grande do Norte"),
    ("Universidade Federal de São Paulo", "Universidade Estadual de São Paulo"),
    ("Universidade de São Paulo", "Universidade Federal de São Paulo"),
    ("Universidad Autónoma de Madrid", "Universidad Politécnica de Madrid"),
    ("Université Paris 1", "Université Paris 11"),
    ("Université Lyon 1", "Université Lyon 2"),
    ("Humboldt-Universität zu Berlin", "Freie Universität Berlin"),
    ("Universität Bremen", "Hochschule Bremen"),
    ("Universität Bremen", "Universitätsklinikum Bremen"),
    ("Medizinische Hochschule Hannover", "Tierärztliche Hochschule Hannover"),
    ("University of Bergen", "Bergen University College"),
    ("Indian Institute of Technology", "Indian Institute of Science"),
    ("National Institute of Technology", "Indian Institute of Technology"),
    ("National Cancer Institute", "National Heart Institute"),
    ("Beijing Children's Hospital", "Beijing Women's Hospital"),
    ("China Medical University", "China Agricultural University"),
    ("Moscow State University", "Moscow State Technical University"),
    ("Moscow State Pedagogical University", "Moscow State Medical University"),
    ("Московский государственный университет", "Московский педагогический государственный университет"),
    ("National Academy of Sciences", "National Academy of Medical Sciences"),
    ("Akademie múzických umění", "Akademie výtvarných umění"),
    ("Wyższa Szkoła Medyczna", "Uniwersytet Medyczny"),
    ("University of Medicine", "Medical University"),
    ("Royal College of Surgeons", "Royal College of Physicians"),
    ("Slovak Academy of Sciences", "Slovenian Academy of Sciences"),
    ("Oregon State University", "University of Oregon"),
    ("Montana State University", "Mountain State University"),
    ("MIT", "Universität"),
]


def _rows() -> list[tuple[str, str]]:
    with (files("pipeline") / "resources" / "concepts.tsv").open(encoding="utf-8") as lines:
        return [(row["word"], row["concept"]) for row in csv.DictReader(lines, delimiter="\t")]


ROWS = _rows()
TABLE = dict(ROWS)


def test_the_table_is_sorted_without_repeats() -> None:
    words = [word for word, _ in ROWS]
    assert words == sorted(set(words))
    assert len(words) >= 2500


def test_words_are_single_tokens_as_compare_forms_have_them() -> None:
    assert not [w for w, _ in ROWS if strip_accents(compare(w)) != w or len(w.split()) != 1]


def test_concepts_are_fixpoints() -> None:
    """The tokens of a concept stand for themselves, so that a concept's concept is the concept."""
    tokens = {token for concept in TABLE.values() for token in concept.split()}
    assert not [token for token in tokens if TABLE.get(token) != token]


def test_concepts_are_compare_forms_in_ascii() -> None:
    assert not [c for c in TABLE.values() if not c.isascii() or compare(c) != c]


def test_joining_words_leave_acronyms_and_names_alone() -> None:
    joining = {word for word, concept in TABLE.items() if not concept}
    assert {"of", "the", "de", "fur", "и", "και", "और"} <= joining
    # `para` is also a state of Brazil, `sur` also south, `mit`, `une` and `am` are also acronyms.
    assert not joining & {"para", "sur", "mit", "une", "uno", "am", "as", "is", "va", "us", "dai"}


def test_names_of_types_of_organisation_stay_apart() -> None:
    apart = [
        "university",
        "hochschule",
        "polytechnic",
        "technical",
        "technology",
        "college",
        "school",
        "institute",
    ]
    assert [TABLE[word] for word in apart] == apart


def test_many_scripts_are_covered() -> None:
    scripts = {unicodedata.name(word[0]).split()[0] for word in TABLE}
    assert {
        "LATIN",
        "CYRILLIC",
        "GREEK",
        "ARABIC",
        "HEBREW",
        "DEVANAGARI",
        "BENGALI",
        "THAI",
        "CJK",
    } <= scripts


@pytest.mark.parametrize(("left", "right"), EQUAL)
def test_one_institution_has_equal_concepts(left: str, right: str) -> None:
    assert set(concept_tokens(compare(left))) == set(concept_tokens(compare(right)))


@pytest.mark.parametrize(("left", "right"), DIFFERENT)
def test_siblings_have_different_concepts(left: str, right: str) -> None:
    assert sorted(concept_tokens(compare(left))) != sorted(concept_tokens(compare(right)))


def test_a_text_without_spaces_becomes_pairs_of_characters() -> None:
    assert concept_tokens(compare("北京大学")) == ["北京", "京大", "大学"]
    assert concept_tokens(compare("大学 病院")) == ["university", "hospital"]


def test_nothing_in_nothing_out() -> None:
    assert concept_tokens("") == []
    assert concept_text("of the") == ""


def test_order_is_kept() -> None:
    assert concept_text(compare("Universität Wien und Technische Universität Wien")) == (
        "university vienna technical university vienna"
    )


@given(st.lists(st.sampled_from(sorted(TABLE)), max_size=8))
def test_concepts_of_concepts_are_themselves(words: list[str]) -> None:
    once = concept_text(" ".join(words))
    assert concept_text(once) == once


@pytest.mark.parametrize(
    ("acronym", "name"),
    [
        ("UCLA", "University of California, Los Angeles"),
        ("LMU München", "Ludwig-Maximilians-Universität Munich"),
        ("TU Wien", "Technical University of Vienna"),
        ("CNRS", "Centre National de la Recherche Scientifique"),
    ],
)
def test_a_well_known_acronym_is_its_name(acronym: str, name: str) -> None:
    assert set(concept_tokens(compare(acronym))) == set(concept_tokens(compare(name)))


def test_acronym_names_are_sorted_and_stand_for_longer_names() -> None:
    table = files("pipeline") / "resources" / "acronym_names.tsv"
    rows = table.read_text(encoding="utf-8").splitlines()[1:]
    acronyms = [row.split("\t")[0] for row in rows]
    assert acronyms == sorted(set(acronyms))
    for row in rows:
        acronym, name = row.split("\t")
        assert acronym.isupper()
        assert len(concept_tokens(compare(name))) >= 2, acronym
