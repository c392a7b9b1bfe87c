"""Cleaning: repaired texts, pieces set aside with reasons, and inputs made to hurt."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.cleaning import CleaningSettings, clean, clean_text
from pipeline.errors import UsageError
from pipeline.records import Affiliations, affiliation_id


def affiliations_of(*raw: str, counts: tuple[int, ...] = ()) -> Affiliations:
    return Affiliations(
        [affiliation_id(r) for r in raw], list(raw), np.array(counts or [1] * len(raw), np.int64)
    )


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("UniversitÃ© de Montréal", "Université de Montréal"),
        ("UniversitÃ\xa0 di Roma", "Università di Roma"),
        ("Ångström Laboratory", "Ångström Laboratory"),
        ("Texas A&amp;M University", "Texas A&M University"),
        ("Texas A&amp;amp;M University", "Texas A&M University"),
        ("Texas A&amp M University", "Texas A& M University"),
        ("Nantes-CNRS R&amp", "Nantes-CNRS R&"),
        ("Design&ETH Zurich", "Design&ETH Zurich"),
        ("FSBEI &quot;Kazan University&quot; VO", 'FSBEI "Kazan University" VO'),
        ("<sup>1</sup>Institute of Physics<sup>2</sup>, Univ<br>City", "Institute of Physics, Univ, City"),
        ("4<sup>th</sup> Hospital", "4th Hospital"),
        ("<institution>Univ X</institution><country>Italy</country>", "Univ X, Italy"),
        ("Univ &lt;b&gt;Ulm&lt;/b&gt;", "Univ Ulm"),
        ("Seoul National Univ.#TAB#", "Seoul National Univ"),
        ("#R##N#RUDN#N#University", "RUDN University"),
        ("Univ X,_x000D_City\\nIsland", "Univ X, City Island"),
        ('M\\"unchen', "München"),
        ("Universit¨at", "Universität"),
        ("Univer\u00adsity of\u200b \u200eX\u202a", "University of X"),
        ("U\x00n\x00i\x00v\x1b", "Univ"),
        ("lone \ud800 surrogate", "lone surrogate"),
        ("برنامه\u200cریزی", "برنامه\u200cریزی"),
        ("Max‐Planck‑Institut — Ulm", "Max-Planck-Institut - Ulm"),
        ("People’s “First” Hospital", 'People\'s "First" Hospital'),
        ("北京大学，北京；中国", "北京大学, 北京; 中国"),
        ("（株）日立", "(株) 日立"),
        ("ﬁne Ｕniv", "fine Univ"),
        ("Univ. ,, X ; ; Y ,Z", "Univ., X; Y, Z"),
        ("University > > Faculty >", "University; Faculty"),
        ("Univ X ( ), Y", "Univ X, Y"),
        ("[University of Freiburg,Germany]", "University of Freiburg, Germany"),
        ("Nanjing 210014, China)", "Nanjing 210014, China"),
        ("TechnischeUniversität Darmstadt", "Technische Universität Darmstadt"),
        ("Yale UniversitySchool of Medicine", "Yale University, School of Medicine"),
        ("Tohoku UniversityJapan", "Tohoku University, Japan"),
        ("Vienna BioCenter, McCollege Inc", "Vienna BioCenter, McCollege Inc"),
        ("UniversitätsSpital Zürich", "UniversitätsSpital Zürich"),
        ('"alcorix"', "alcorix"),
        ('University of "X"', 'University of "X"'),
        ("Haifa, Israel; and", "Haifa, Israel"),
        ("ACME INC.", "ACME INC"),
    ],
)
def test_characters_and_separators(raw: str, text: str) -> None:
    assert clean_text(raw) == (text, ())


@pytest.mark.parametrize(
    "raw",
    [
        "1 Department of Physics",
        "1,2 Department of Physics",
        "12. Department of Physics",
        "1Department of Physics",
        "aDepartment of Physics",
        "a  Department of Physics",
        "b 2 Department of Physics",
        "(a) Department of Physics",
        "a) Department of Physics",
        "[1] Department of Physics",
        "¹Department of Physics",
        "* † Department of Physics*",
        "#Department of Physics§",
        "- Department of Physics [12]",
        "‖ Department of Physics¹",
        "3 , Department of Physics",
    ],
)
def test_footnote_marks_go(raw: str) -> None:
    assert clean_text(raw)[0] == "Department of Physics"


@pytest.mark.parametrize(
    "raw",
    [
        "3M",
        "3Shape AS",
        "4D Molecular",
        "2nd Department of Surgery",
        "1st Affiliated Hospital",
        "4th Hospital",
        "10x Genomics",
        "37 Military Hospital",
        "108 Hospital",
        "15 June Foundation",
        "21 September University of Applied Sciences",
        "46 Центральный институт",
        "'s Heeren Loo",
        "1 rue Victor Hugo, Paris",
        "11 University Avenue, Boston University",
        "1150 University Avenue",
        "1. Medizinische Klinik, Ulm",
        "II. Physikalisches Institut",
        "A*STAR",
        "iThemba LABS",
        "eBay Research",
        "050011, 石家庄",
        "Université Paris 7",
    ],
)
def test_numbers_and_letters_of_names_stay(raw: str) -> None:
    assert clean_text(raw) == (raw, ())


def test_superscripts_inside_a_name_stay() -> None:
    assert clean_text("I²R, Singapore")[0] == "I2R, Singapore"
    assert clean_text("Institut¹, Université²")[0] == "Institut, Université"


@pytest.mark.parametrize(
    ("raw", "text", "pieces"),
    [
        ("Univ X, USA. j.doe@x.edu.", "Univ X, USA", (("j.doe@x.edu", "email"),)),
        ("Univ X (E-mail: a@b.ch)", "Univ X", (("E-mail: a@b.ch", "email"),)),
        ("CWI. E-mail: {juan,frb}@cwi.nl", "CWI", (("E-mail: {juan,frb}@cwi.nl", "email"),)),
        ("Univ X, AustraliaE-mail: ", "Univ X, Australia", (("E-mail", "email"),)),
        ("Univ X. Electronic address: a@b.ch", "Univ X", (("Electronic address: a@b.ch", "email"),)),
        ("Univ X, Tel: +49 241 8906-537, Ulm", "Univ X, Ulm", (("Tel: +49 241 8906-537", "phone"),)),
        ("Univ X (202) 555-0100", "Univ X", (("(202) 555-0100", "phone"),)),
        ("Univ X, Corresponding Author", "Univ X", (("Corresponding Author", "correspondence"),)),
        (
            "Correspondence to: John Smith, Department of Surgery, Univ X",
            "Department of Surgery, Univ X",
            (("Correspondence to", "correspondence"), ("John Smith", "person_name")),
        ),
        ("Univ X, ORCID: 0000-0002-1825-0097", "Univ X", (("ORCID: 0000-0002-1825-0097", "orcid"),)),
        ("Univ X https://x.edu/a?b", "Univ X", (("https://x.edu/a?b", "url"),)),
        ("Univ X, doi:10.1000/abc.1", "Univ X", (("doi:10.1000/abc.1", "url"),)),
        ("Present address: 1 Univ X", "Univ X", (("Present address", "phrase"),)),
        ("Currently atJohnson & Johnson", "Johnson & Johnson", (("Currently at", "phrase"),)),
        ("Current addressGoogle", "Google", (("Current address", "phrase"),)),
        ("On leave from Univ X", "Univ X", (("On leave from", "phrase"),)),
        ("From the Univ X", "Univ X", (("From the", "phrase"),)),
        ("Associate Professor, Univ X", "Univ X", (("Associate Professor", "title"),)),
    ],
)
def test_pieces_are_set_aside(raw: str, text: str, pieces: tuple[tuple[str, str], ...]) -> None:
    assert clean_text(raw) == (text, pieces)


@pytest.mark.parametrize(
    ("raw", "text", "name"),
    [
        (
            "Prof. Dr. Hans Müller, Institut für Physik, TU Wien",
            "Institut für Physik, TU Wien",
            "Prof. Dr. Hans Müller",
        ),
        ("Dr. J. Smith, Department of X, Univ Y", "Department of X, Univ Y", "Dr. J. Smith"),
        ("Univ.-Prof. Dr. Max Braun, Universität Graz", "Universität Graz", "Univ.-Prof. Dr. Max Braun"),
        (
            "Institute X, Director Prof. Lutz Claes, Univ Ulm",
            "Institute X, Univ Ulm",
            "Director Prof. Lutz Claes",
        ),
        ("Janet Poole, PhD, FAOTA, is Professor, Univ Y", "Professor, Univ Y", "Janet Poole, PhD, FAOTA"),
        ("Univ X (A.B., C.D.), Ulm", "Univ X, Ulm", "A.B., C.D."),
        ("Groningen Hospital, the Netherlands (P.M.)", "Groningen Hospital, the Netherlands", "P.M."),
        (
            "Surgery (Ms Hales and Drs Javid, and Byrd), Univ X",
            "Surgery, Univ X",
            "Ms Hales and Drs Javid, and Byrd",
        ),
        ("J. Smith, K. Jones, et al. University of X", "University of X", "J. Smith, K. Jones, et al."),
    ],
)
def test_names_of_people_are_set_aside(raw: str, text: str, name: str) -> None:
    assert clean_text(raw) == (text, ((name, "person_name"),))


@pytest.mark.parametrize(
    "raw",
    [
        "Dr. Harisingh Gour University, Sagar",
        "Dr. B.R. Ambedkar University, Agra",
        "Prof. Dr. Alexandru Trestioreanu Institute of Oncology",
        "Klinik Dr. Hansen, Bonn",
        "Dr. Rammanohar, Lohia Avadh University, Ayodhya",
        "Hospital Universitario, Dr. José Eleuterio González, Monterrey",
        "Prof. Geotechnical Eng., Ain Shams University, Cairo",
        "Silver Spring, MD, USA, University of X",
        "University of X (U.S.A.)",
        "KU Leuven (K.U.L.), Belgium",
        "Acme (S.p.A.)",
        "DR Healthcare España, S.L",
        "Association des Pharmaciens des Établissements de Santé (A.P.E.S.)",
        "DIPF|Leibniz Institute",
        "创伤、烧伤研究所",
        "Centro Italiano Cura E Benessere Obesità (C.I.B.O)",
        "Acibadem Mehmet Ali Aydinlar University",
        "Tel Aviv University, Tel Aviv 69978",
        "Univ X, 2-1-1 Hongo, Tokyo 113-8654",
        "Phone Research Lab",
        "E-mail Security Lab, Univ X",
        "Friede Springer Centre @ Charité",
    ],
)
def test_names_of_organizations_and_places_stay(raw: str) -> None:
    assert clean_text(raw) == (raw, ())


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("", "no_letters"),
        (" \t\n", "no_letters"),
        ("12345, 678 !!!", "no_letters"),
        ("🎓", "no_letters"),
        ("\u0378\U000e0fff", "no_letters"),
        ("john@x.org", "email"),
        ("https://orcid.org/0000-0002-1825-0097", "orcid"),
        ("http://x.org/1", "url"),
        ("Liu Xinan,et al", "person_name"),
    ],
)
def test_whole_strings_are_set_aside(raw: str, reason: str) -> None:
    cleaned = clean(affiliations_of(raw, "Univ X", counts=(3, 1)))
    assert cleaned.text == ["", "Univ X"]
    aside = cleaned.set_aside
    assert (aside.string, aside.reason, aside.n_occurrences) == ([raw], [reason], [3])
    assert (aside.is_whole, aside.affiliation) == ([True], [0])


def test_pieces_carry_the_number_of_their_affiliation() -> None:
    cleaned = clean(affiliations_of("Univ X", "Univ Y, a@b.ch, http://b.ch", counts=(1, 7)))
    aside = cleaned.set_aside
    assert sorted(zip(aside.string, aside.reason, strict=True)) == [
        ("a@b.ch", "email"),
        ("http://b.ch", "url"),
    ]
    assert (aside.affiliation, aside.n_occurrences, aside.is_whole) == ([1, 1], [7, 7], [False, False])


def test_nothing_in_nothing_out() -> None:
    cleaned = clean(affiliations_of())
    assert cleaned.text == [] and len(cleaned.set_aside) == 0


def test_progress_ends_at_the_number_of_strings() -> None:
    told: list[tuple[int, int]] = []
    clean(affiliations_of("Univ X", "Univ Y"), on_progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (2, 2)


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("repair_encoding", "A&amp; B Lab"),
        ("strip_markup", "Univ <b>X</b>"),
        ("strip_footnote_marks", "1 Department of X"),
        ("set_aside_contacts", "Univ X a@b.ch"),
        ("set_aside_links", "Univ X http://x.ch"),
        ("set_aside_phrases", "From the Univ X"),
        ("set_aside_people", "Univ X (A.B., C.D.)"),
    ],
)
def test_each_repair_can_be_switched_off(name: str, raw: str) -> None:
    assert clean_text(raw)[0] != raw
    assert clean_text(raw, CleaningSettings(**{name: False}))[0] == raw


def test_settings_refuse_what_is_not_a_boolean() -> None:
    with pytest.raises(UsageError, match=r"cleaning\.strip_markup.*'no'"):
        CleaningSettings(strip_markup="no")  # type: ignore[arg-type]


@settings(max_examples=300, deadline=None)
@given(st.text(st.one_of(st.characters(), st.sampled_from("()[]<>@&;,.*1a AÉ#\\_x\"'-†¹"))))
def test_any_text_gives_a_clean_one(raw: str) -> None:
    text, _ = clean_text(raw)
    text.encode("utf-8")
    assert text == " ".join(text.split())
    assert not text or any(map(str.isalpha, text))
    assert not text.endswith((".", ",", ";"))


UNITS = [
    "a@",
    "(",
    "<",
    "&amp;",
    "* ",
    "1,",
    "> ",
    "¹",
    "(A.B., ",
    "<sup>1",
    "{@",
    "www.",
    "\\n",
    "Tel 1",
    "U.",
]
UNITS += ["\u0301\u0316", "Ã©", "、", "Dr. A ", "correspond(", "0000-", "A,", "et al ", "-", "~"]


@pytest.mark.parametrize("unit", UNITS)
def test_time_is_linear_on_inputs_made_to_hurt(unit: str) -> None:
    raw = "University correspond mail tel @ et al 1 , , " + unit * (200_000 // len(unit)) + "x"
    begin = time.perf_counter()
    clean_text(raw)
    # Linear steps take about 0.1 s; a quadratic one takes minutes.
    assert time.perf_counter() - begin < 3


def test_cleaning_is_fast() -> None:
    raws = [f"{n} Dept. of Surgery, Univ. Hospital Zürich, St. Gallen, Switzerland." for n in range(3000)]
    begin = time.perf_counter()
    clean(affiliations_of(*raws))
    assert len(raws) / (time.perf_counter() - begin) > 2000
