import gc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.cleaning import clean
from pipeline.errors import UsageError
from pipeline.folding import fold_values
from pipeline.parsing import ParsingSettings, parse, parse_text
from pipeline.parsing.marking import NameMarks
from pipeline.parsing.parse import with_tagged
from pipeline.parsing.reading import read
from pipeline.records import MAIN

MAIN_ORGANIZATION = [
    ("Faculty of Medicine University of Porto, Porto, Portugal", "University of Porto"),
    ("Indiana University School of Medicine, Indianapolis, IN, USA", "Indiana University"),
    ("Department of Medicine Royal Marsden Hospital London UK", "Royal Marsden Hospital"),
    ("Northwestern University Feinberg School of Medicine, Chicago", "Northwestern University"),
    (
        "Renji Hospital, Shanghai Jiaotong University School of Medicine, Shanghai, China",
        "Shanghai Jiaotong University",
    ),
    ("DMPK, Cytokinetics, Inc., South San Francisco, CA, USA", "Cytokinetics, Inc"),
    ("Dipartimento di Fisica, Università degli Studi di Pavia, Italy", "Università degli Studi di Pavia"),
    ("Institut für Physik, Humboldt-Universität zu Berlin, Germany", "Humboldt-Universität zu Berlin"),
    ("京都大学, 京都, 日本", "京都大学"),
    ("МГУ, Московский государственный университет, Москва", "Московский государственный университет"),
    ("Max Planck Institute for Physics, Munich, Germany", "Max Planck Institute for Physics"),
]


@pytest.mark.parametrize(("text", "organization"), MAIN_ORGANIZATION)
def test_the_main_organization(text: str, organization: str) -> None:
    mentions = parse_text(text)
    assert mentions[0].role == MAIN
    assert mentions[0].organization == organization


def test_several_organizations_become_several_mentions() -> None:
    text = "CNRS, Univ. Lyon 1; and Hospices Civils de Lyon, Lyon, France"
    mentions = parse_text(text)
    assert {m.organization for m in mentions} == {"CNRS", "Univ. Lyon 1", "Hospices Civils de Lyon"}
    assert [m.role for m in mentions].count(MAIN) == 1
    assert {m.country_code for m in mentions} == {"FR"}


def test_two_universities_joined_by_and_are_two() -> None:
    found = parse_text("Sorbonne Université and Université de Lille, France")
    assert [m.organization for m in found] == ["Sorbonne Université", "Université de Lille"]


@pytest.mark.parametrize("name", ["Brigham and Women's Hospital", "Lanzhou University of Arts and Science"])
def test_and_within_a_name_does_not_part_it(name: str) -> None:
    assert [m.organization for m in parse_text(f"{name}, Springfield")] == [name]


def test_hyphened_acronyms_are_several() -> None:
    found = parse_text("CNRS-INSERM, Illkirch, France")
    assert {m.organization for m in found} == {"CNRS", "INSERM"}


def test_one_mention_where_splitting_is_off() -> None:
    text = "CNRS, Univ. Lyon 1, Lyon, France"
    assert len(parse_text(text, ParsingSettings(split_organizations=False))) == 1


def test_an_organization_named_twice_is_one_mention() -> None:
    assert len(parse_text("University of Freiburg, University of Freiburg, Freiburg, Germany")) == 1


@pytest.mark.parametrize(
    "text", ["Department of Physics", "Dept. of Surgery", "Faculty of Law, Paris, France"]
)
def test_a_department_alone_is_no_organization(text: str) -> None:
    (mention,) = parse_text(text)
    assert mention.organization == ""
    assert mention.units


@pytest.mark.parametrize("text", ["France", "Paris, France", "USA"])
def test_a_place_alone_gives_no_mention(text: str) -> None:
    assert parse_text(text) == ()


@pytest.mark.parametrize(
    ("text", "organization"),
    [
        ("University of California, San Diego, CA, USA", "University of California, San Diego"),
        ("Dept. of Comput. Sci., California Univ., Berkeley, CA, USA", "California Univ, Berkeley"),
        # The name of the system is known, that of this campus is not.
        ("Univ. of Texas, Arlington, TX", "Univ. of Texas, Arlington"),
    ],
)
def test_a_campus_of_a_system_belongs_to_the_name(text: str, organization: str) -> None:
    (mention,) = parse_text(text)
    assert mention.organization == organization


def test_an_acronym_in_parentheses_belongs_to_its_organization() -> None:
    (mention,) = parse_text("Karlsruhe Institute of Technology (KIT), Karlsruhe, Germany")
    assert mention.acronyms == ("KIT",)
    assert mention.organization == "Karlsruhe Institute of Technology"


def test_a_number_is_no_organization() -> None:
    reading = read("Dept 1033, University of Place, Lyon")
    assert reading is not None
    found = with_tagged(reading, [(5, 9), (11, 30)], NameMarks.load())
    assert [s.text for s in found.chosen] == ["University of Place"]


def test_fifty_organizations_in_one_string() -> None:
    names = [f"University of Place{chr(65 + i // 26)}{chr(97 + i % 26)}" for i in range(50)]
    assert len(parse_text("; ".join(names), ParsingSettings(model="rules"))) == 50
    # What the tagger makes of names that nobody has, in a text far longer than any it was taught, may differ.
    assert len(parse_text("; ".join(names))) >= 49


def test_places_are_set_aside_with_the_reason() -> None:
    mentions = parse(clean(fold_values(["France", "University of Porto, Portugal"]).affiliations))
    assert len(mentions) == 1
    assert mentions.set_aside.reason == ["only_place"]
    assert mentions.set_aside.string == ["France"]


def test_settings_are_checked() -> None:
    with pytest.raises(UsageError, match="max_mentions"):
        ParsingSettings(max_mentions=0)


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_text_gives_at_most_one_main_mention(text: str) -> None:
    mentions = parse_text(text)
    assert [m.role for m in mentions].count(MAIN) == (1 if mentions else 0)
    assert not mentions or mentions[0].role == MAIN


@settings(deadline=None)
@given(st.lists(st.text(max_size=60), max_size=20))
def test_every_cleaned_text_is_mentioned_or_set_aside(texts: list[str]) -> None:
    cleaned = clean(fold_values(texts).affiliations)
    mentions = parse(cleaned)
    whole = {a for a, w in zip(mentions.set_aside.affiliation, mentions.set_aside.is_whole, strict=True) if w}
    assert set(np.unique(mentions.affiliation).tolist()) | whole == set(range(len(cleaned.affiliations)))
    assert set(np.unique(mentions.affiliation).tolist()).isdisjoint(whole)


def test_long_text_is_parsed_in_linear_time() -> None:
    assert len(parse_text("University of Porto, " * 5000)) == 1
    assert parse_text("x" * 2_000_000)
    assert parse_text("( " * 4_000 + "University of Porto")
    assert parse_text("University of Porto; " * 5000)
    assert parse_text("University of Porto, Portugal; " * 5000)


def test_an_organisation_of_a_list_is_where_its_own_item_says() -> None:
    def places(text: str) -> list[tuple[str, str | None, str | None]]:
        return [(m.organization, m.city, m.country_code) for m in parse_text(text)]

    assert places("University of Oxford, Oxford, UK; Heidelberg University, Heidelberg, Germany") == [
        ("University of Oxford", "Oxford", "GB"),
        ("Heidelberg University", "Heidelberg", "DE"),
    ]
    # An item without a country is where its affiliation is.
    assert {c for _, _, c in places("Univ Lyon 1; Hospices Civils de Lyon; Villeurbanne; France")} == {"FR"}


def test_of_several_affiliations_the_first_is_the_main_one() -> None:
    laboratory, above = "Institut des Biomolécules, Lille, France", "Univ. of Lille, Lille, France"
    for text in (f"{laboratory}; {above}", f"{laboratory};{above};"):
        first, second = parse_text(text)
        assert (first.role, first.organization) == ("main", "Institut des Biomolécules")
        assert (second.role, second.organization) == ("partner", "Univ. of Lille")
        # Each is compared by its own affiliation.
        assert (first.context, second.context) == (laboratory, above)


@pytest.mark.parametrize(
    "text",
    [
        "Department of Physics; University of Porto; Porto Portugal",
        "Department of Physics, Porto, Portugal; University of Porto, Porto, Portugal",
        "Laboratory of Optics; University of Porto, Portugal; 4169-007 Porto; Portugal",
    ],
)
def test_a_semicolon_within_an_affiliation_parts_nothing(text: str) -> None:
    (mention,) = parse_text(text)
    assert (mention.organization, mention.context) == ("University of Porto", text)


@pytest.mark.parametrize(
    ("text", "mentions"),
    [
        # What is known to be elsewhere is not where the next one is, nor is the next one the main one.
        (
            "Dept. Physics, University of Tokyo; Siemens, Munich, Germany",
            [("University of Tokyo", None, None), ("Siemens", "Munich", "DE")],
        ),
        (
            "University of Hamburg, Hamburg, Germany; CERN",
            [("University of Hamburg", "Hamburg", "DE"), ("CERN", None, None)],
        ),
        # A place of two countries, neither of which is the other's.
        (
            "Trinity Hall, Cambridge; Universität Leipzig, Leipzig, Germany",
            [("Trinity Hall", "Cambridge", None), ("Universität Leipzig", "Leipzig", "DE")],
        ),
        # The rules see no organisation in the first, the tagger does.
        (
            "Duchenne Parent Project, Amsterdam, Netherlands; Osaka University, Osaka, Japan",
            [
                ("Duchenne Parent Project", "Amsterdam", "NL"),
                ("Osaka University", "Osaka", "JP"),
            ],
        ),
        # A department elsewhere is no organisation, before one or behind.
        ("Department of Physics, Geneva, Switzerland; Oxford Univ, UK", [("Oxford Univ", None, "GB")]),
        ("Oxford Univ, UK; Department of Physics, Geneva, Switzerland", [("Oxford Univ", None, "GB")]),
        # In one country, nothing tells that the place is not that of both.
        (
            "CNRS; Université Paris-Saclay; Orsay, France",
            [("Université Paris-Saclay", "Orsay", "FR"), ("CNRS", "Orsay", "FR")],
        ),
    ],
)
def test_a_semicolon_parts_what_is_in_two_countries(
    text: str, mentions: list[tuple[str, str | None, str | None]]
) -> None:
    assert [(m.organization, m.city, m.country_code) for m in parse_text(text)] == mentions


def test_related_names_in_two_countries_are_one_affiliation() -> None:
    marks = NameMarks.load()
    assert marks.are_related("Max Planck Institute for Psycholinguistics", "Max Planck Society")
    assert not marks.are_related("University of Tokyo", "Siemens")
    assert marks.countries("University of Tokyo") == {"JP"} and not marks.countries("Zarquon Works")


def test_an_organisation_that_two_affiliations_name_is_one_mention() -> None:
    (mention,) = parse_text("Physics, Univ. of Porto, Portugal; Chemistry, Univ. of Porto, Portugal")
    assert mention.organization == "Univ. of Porto"
    whole = "Brewer Science, Rolla, United States; University of Porto, Porto, Portugal"
    assert len(parse_text(whole, ParsingSettings(split_organizations=False))) == 1


@pytest.mark.parametrize(
    ("text", "tagged", "main"),
    [
        # Known within what is not known.
        ("INSERM U1144 Université de Lille, Lille, France", "Université de Lille", "Université de Lille"),
        # The university in the name of its hospital.
        (
            "Third Branch Hospital of Guilin Medical University, Guilin, China",
            "Guilin Medical University",
            "Third Branch Hospital of Guilin Medical University",
        ),
        # A name that is known stays whole.
        ("Wuhan University of Technology, Wuhan, China", "Wuhan University", None),
        # A company with its legal form.
        ("Cytokinetics, Inc., South San Francisco, CA, USA", "Cytokinetics", "Cytokinetics, Inc"),
        ("Zarquon Works of Lille Nord Institute, France", "Lille Nord Institute", None),
        # Another university begins or ends with the name of the known one.
        ("Sichuan University of Zarquon Craft, China", "Sichuan University", None),
        ("National Taiwan Univ. of Sci. and Tarot, Taiwan", "National Taiwan Univ.", None),
        ("Purdue University Northeast, USA", "Purdue University", None),
        ("Zarquon Q Drew University, USA", "Drew University", None),
        # A unit, or what leads up to a name, is no part of it.
        (
            "Zarquon Unit and Department of Physics Illinois State University, USA",
            *["Illinois State University"] * 2,
        ),
        ("Drexel University College of Zarquon, USA", *["Drexel University"] * 2),
        # The acronym of a funder in the name of an institute of its own.
        ("CSIR-Institute of Zarquon and Tarot, India", "CSIR", None),
    ],
)
def test_what_the_tagger_takes_for_the_main_name_has_to_be_known(
    text: str, tagged: str, main: str | None
) -> None:
    reading = read(text)
    assert reading is not None
    assert reading.main is not None
    at = text.index(tagged)
    found = with_tagged(reading, [(at, at + len(tagged))], NameMarks.load())
    assert found.main is not None
    assert found.main.text == (main or reading.main.text)
    assert found.chosen == [found.main]


def test_the_search_for_garbage_goes_on_after_parsing() -> None:
    cleaned = clean(fold_values(["University of Porto"]).affiliations)
    assert gc.isenabled()
    parse(cleaned)
    assert gc.isenabled()
    gc.disable()
    try:
        parse(cleaned)
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("Department of Physics Koç University Sarıyer İstanbul 34450 Turkey", ("Istanbul", None, "TR")),
        ("Florida International University Miami Florida", ("Miami", "Florida", "US")),
        ("Kunming University of Science; Jingming South Road 727 Kunming China", ("Kunming", None, "CN")),
        ("American University of Beirut Lebanon", (None, None, "LB")),
        # A place in the name of what is there, or elsewhere.
        ("Université Paris Cité, Institut Cochin", (None, None, None)),
        ("National University of Singapore", (None, None, None)),
        ("Bank of China", (None, None, None)),
    ],
)
def test_where_a_text_without_commas_is(text: str, place: tuple[str | None, str | None, str | None]) -> None:
    main = parse_text(text)[0]
    assert (main.city, main.region, main.country_code) == place
