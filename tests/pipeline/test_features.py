"""Features of pairs of names, each against what a person sees in the two strings."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.cleaning import clean
from pipeline.folding import fold_values
from pipeline.normalization import normalize
from pipeline.parsing import parse
from pipeline.scoring import NAMES, PairFeatures, Vocabulary, fit_vocabulary, two_records

NONE = np.empty(0, np.int64)


def prepared(strings: list[str]) -> tuple[PairFeatures, dict[str, int]]:
    """The features of strings, and the number of each string's main mention."""
    mentions = parse(clean(fold_values(strings).affiliations))
    forms = normalize(mentions)
    raw = mentions.affiliations.affiliation
    number = {raw[a]: i for i, a in enumerate(mentions.affiliation.tolist()) if forms.is_main[i]}
    return PairFeatures(forms, fit_vocabulary(forms)), number


@lru_cache(maxsize=100)
def compared(left: str, right: str) -> dict[str, float]:
    features, number = prepared([left, right])
    values = features.of(np.array([number[left]]), np.array([number[right]]))
    return dict(zip(NAMES, values[0].tolist(), strict=True))


FLORIDA = "University of Florida, Gainesville, FL, USA"
SOUTH_FLORIDA = "University of South Florida, Tampa, FL, USA"
FIRST = "First Affiliated Hospital of Zhengzhou University, Zhengzhou, China"
FIRST_1ST = "The 1st Affiliated Hospital of Zhengzhou University, Zhengzhou, China"
THIRD = "Third Affiliated Hospital of Zhengzhou University, Zhengzhou, China"
MUNICH = "Technical University of Munich (TUM), Munich, Germany"
DRESDEN = "Technical University of Dresden (TUD), Dresden, Germany"
HEIDELBERG = "University of Heidelberg, Germany"
HEIDELBERG_DE = "Universität Heidelberg, Heidelberg, Deutschland"
TYPO = "Univeristy of Hiedelberg, Germany"
SURGERY = "Department of Surgery, Stanford University, USA"
PHYSICS = "Department of Physics, Stanford University, USA"
HARVARD = "Harvard University, Cambridge, MA, USA"
CAMBRIDGE = "University of Cambridge, Cambridge, UK"
SPELT_OUT = "Kavala Institute of Technology, Kavala, Greece"
ACRONYM = "KIT, Kavala, Greece"
BOTH = "Kavala Institute of Technology (KIT), Kavala, Greece"
ARTS, MUSEUM = "Academy of Fine Arts, Vienna, Austria", "Kunsthistorisches Museum, Vienna, Austria"
DEPARTMENT_ALONE = "Department of Surgery"
PARIS_6, PARIS_7 = "Université Paris VI, France", "Université Paris 7, France"
PARIS_SIX = "University of Paris 6, Paris, France"


@pytest.mark.parametrize(
    ("left", "right", "name", "value"),
    [
        (FLORIDA, SOUTH_FLORIDA, "country", 1),
        (FLORIDA, SOUTH_FLORIDA, "region", 1),
        (FLORIDA, SOUTH_FLORIDA, "city", -1),
        (MUNICH, DRESDEN, "region", -1),
        (HARVARD, CAMBRIDGE, "country", -1),
        (HEIDELBERG, HEIDELBERG_DE, "country", 1),
        (HEIDELBERG, HEIDELBERG_DE, "city", 0),
        (HEIDELBERG, HEIDELBERG_DE, "region", 0),
        (HEIDELBERG, DEPARTMENT_ALONE, "country", 0),
        (FIRST, FIRST_1ST, "numbers", 1),
        (FIRST, THIRD, "numbers", -1),
        (PARIS_6, PARIS_7, "numbers", -1),
        (PARIS_6, PARIS_SIX, "numbers", 1),
        ("Univ Paris 06, Paris, France", PARIS_SIX, "numbers", 1),
        (FLORIDA, HARVARD, "numbers", 0),
        (SPELT_OUT, ACRONYM, "acronym", 1),
        (BOTH, ACRONYM, "acronym", 1),
        (MUNICH, DRESDEN, "acronym", -1),
        (FLORIDA, MUNICH, "acronym", 0),
        (FLORIDA, SOUTH_FLORIDA, "modifiers_differ", 1),
        (FIRST, THIRD, "modifiers_differ", 2),
        (MUNICH, DRESDEN, "modifiers_differ", 0),
        (FLORIDA, SOUTH_FLORIDA, "only_modifiers_differ", 2),
        (FIRST, THIRD, "only_modifiers_differ", 1),
        (MUNICH, DRESDEN, "only_modifiers_differ", 0),
        (FLORIDA, FLORIDA, "only_modifiers_differ", 0),
        (FLORIDA, SOUTH_FLORIDA, "words_differ", 1),
        (MUNICH, DRESDEN, "words_differ", 2),
        (FIRST, FIRST_1ST, "words_differ", 0),
        (FIRST, FIRST_1ST, "same_organization", 1),
        (HEIDELBERG, HEIDELBERG_DE, "same_organization", 1),
        (FLORIDA, SOUTH_FLORIDA, "same_organization", 0),
        (DEPARTMENT_ALONE, "Department of Surgery, Paris, France", "same_organization", 0),
        (FLORIDA, SOUTH_FLORIDA, "same_class", 1),
        (ARTS, MUSEUM, "same_class", -1),
        (FLORIDA, DEPARTMENT_ALONE, "same_class", 0),
        (FLORIDA, DEPARTMENT_ALONE, "n_with_organization", 1),
        (FLORIDA, HARVARD, "n_with_organization", 2),
        (FLORIDA, HARVARD, "n_main", 2),
        (FLORIDA, SOUTH_FLORIDA, "organization_containment", 1),
        (FLORIDA, SOUTH_FLORIDA, "organization_lacking_less", 0),
        (HEIDELBERG, HEIDELBERG_DE, "context_jaccard", 1),
        (FLORIDA, DEPARTMENT_ALONE, "weight_of_less", 0),
    ],
)
def test_feature(left: str, right: str, name: str, value: float) -> None:
    assert compared(left, right)[name] == pytest.approx(value, abs=1e-6)
    assert compared(right, left)[name] == pytest.approx(value, abs=1e-6)


RATIOS = [n for n in NAMES if n.endswith(("ratio", "sort", "set", "partial", "prefix", "jaccard", "ment"))]


@pytest.mark.parametrize("string", [FLORIDA, THIRD, HEIDELBERG_DE, "北京大学, 北京, 中国"])
def test_a_name_is_like_itself_in_every_way(string: str) -> None:
    found = compared(string, f"{string}.")
    assert found["same_organization"] == 1
    assert found["words_differ"] == found["modifiers_differ"] == found["organization_lacking_more"] == 0
    assert [found[n] for n in RATIOS if n != "unit_jaccard"] == pytest.approx([1] * (len(RATIOS) - 1))


def test_a_misspelt_word_lacks_less_than_another_word() -> None:
    typo, other = compared(HEIDELBERG, TYPO), compared(HEIDELBERG, "University of Hamburg, Germany")
    assert 0 < typo["organization_lacking_more"] < 0.3 * other["organization_lacking_more"]
    # Two words in another spelling are still two other tokens.
    assert typo["words_differ"] == 2


def test_units_share_what_they_name() -> None:
    same = compared(SURGERY, "Stanford University, Department of Surgery")["unit_jaccard"]
    other = compared(SURGERY, PHYSICS)["unit_jaccard"]
    assert same == pytest.approx(1)
    # `department` alone says little.
    assert 0 < other < 0.3
    assert compared(SURGERY, HARVARD)["unit_jaccard"] == 0


def test_a_rare_shared_word_weighs_more_than_a_common_one() -> None:
    rare = compared(HEIDELBERG, HEIDELBERG_DE)["organization_shared_rarest"]
    common = compared(HEIDELBERG, "University of Hamburg, Germany")["organization_shared_rarest"]
    assert rare > 5 * common > 0


def test_partners_are_not_main_mentions() -> None:
    strings = ["Faculty of Medicine, Université Lyon 1, Lyon; CNRS, Paris, France", "CNRS, Paris, France"]
    mentions = parse(clean(fold_values(strings).affiliations))
    forms = normalize(mentions)
    cnrs = [i for i, o in enumerate(forms.organization) if o == "cnrs"]
    assert len(cnrs) == 2
    found = PairFeatures(forms, fit_vocabulary(forms)).of(np.array(cnrs[:1]), np.array(cnrs[1:]))
    assert found[0, NAMES.index("n_main")] == 1
    assert found[0, NAMES.index("same_organization")] == 1


WORDS = [
    *("University", "of", "Florida", "South", "Heidelberg", "Hospital", "First", "Institute", "Technology"),
    *("Universität", "München", "Department", "Physics", "CNRS", "KIT", "(KIT)", "北京大学", "МГУ", "3", ","),
    *("Germany", "Paris, France", "Cambridge", "MA, USA", "Inc", "l'Hôpital", "&", "Univ."),
]
strings = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=8).map(" ".join), max_size=6)
LIMITS = dict.fromkeys(RATIOS, (0, 1)) | {
    "country": (-1, 1),
    "region": (-1, 1),
    "city": (-1, 1),
    "numbers": (-1, 1),
    "acronym": (-1, 1),
    "same_class": (-1, 1),
    "same_organization": (0, 1),
    "modifiers_differ": (0, 4),
    "only_modifiers_differ": (0, 2),
    "words_differ": (0, 6),
    "n_with_organization": (0, 2),
    "n_main": (0, 2),
    "known_country": (-1, 1),
    "known_city": (-1, 1),
    "known_organization": (-1, 1),
    "known_related": (-1, 2),
    "known_shared": (-1, 1),
    "known_elsewhere": (-1, 2),
    "n_known": (0, 2),
    "n_known_within": (0, 2),
}


@settings(max_examples=60, deadline=None)
@given(strings)
def test_features_are_symmetric_finite_and_in_range(given_strings: list[str]) -> None:
    features, _ = prepared(given_strings)
    n = len(features.forms)
    left, right = (side.ravel() for side in np.indices((n, n)))
    values, mirrored = features.of(left, right), features.of(right, left)
    assert values.shape == (n * n, len(NAMES))
    assert values.dtype == np.float32
    assert np.isfinite(values).all()
    assert np.array_equal(values, mirrored)
    for name, column in zip(NAMES, values.T, strict=True):
        low, high = LIMITS.get(name, (0, np.inf))
        assert ((column >= low - 1e-5) & (column <= high + 1e-5)).all(), name


def test_each_pair_has_its_own_row() -> None:
    """Pairs of equal names are compared once; the rows must still be those of the pairs asked for."""
    features, number = prepared([FLORIDA, f"{FLORIDA} 32611", SOUTH_FLORIDA, HEIDELBERG, HEIDELBERG_DE, TYPO])
    every = np.array(list(number.values()))
    left, right = (side.ravel() for side in np.meshgrid(every, every))
    together = features.of(left, right)
    for i in range(len(left)):
        assert np.array_equal(features.of(left[i : i + 1], right[i : i + 1])[0], together[i])


WASHINGTON = "Department of Biology, University of Washington, Seattle, WA, USA"
ST_LOUIS = "Department of Surgery, Washington University in St. Louis, St. Louis, MO, USA"


@pytest.mark.parametrize(
    ("left", "right", "is_two"),
    [
        (WASHINGTON, ST_LOUIS, True),
        ("University of Miami, Coral Gables, FL, USA", "Miami University, Oxford, OH, USA", True),
        ("Northeastern University, Boston, USA", "Northeastern University, Shenyang, China", True),
        # One record, and one that the registry relates to the other.
        (WASHINGTON, "Genome Sciences, University of Washington, Seattle", False),
        (HARVARD, "Harvard Medical School, Boston, MA, USA", False),
        # Two of a kind in one city; one name in one city is a university, by a hospital's record or its own.
        ("Vrije Universiteit Brussel, Belgium", "Université Libre de Bruxelles, Belgium", True),
        ("Third Xiangya Hospital, Central South University, Changsha", "Central South University", False),
        # A string that names both.
        (WASHINGTON, f"{ST_LOUIS}; University of Washington", False),
        (WASHINGTON, "Univeristy of Hiedelberg, Germany", False),
        (WASHINGTON, DEPARTMENT_ALONE, False),
    ],
)
def test_names_known_as_two_records_speak_against_a_pair(left: str, right: str, is_two: bool) -> None:
    for a, b in ((left, right), (right, left)):
        values = np.array([list(compared(a, b).values())], np.float32)
        assert (two_records(values, NAMES)[0] < 0) == is_two


@pytest.mark.parametrize("given_strings", [[], [FLORIDA, HARVARD], ["Department of Surgery"]])
def test_no_pairs(given_strings: list[str]) -> None:
    features, _ = prepared(given_strings)
    assert features.of(NONE, NONE).shape == (0, len(NAMES))


def test_the_names_are_distinct() -> None:
    assert len(set(NAMES)) == len(NAMES)


def test_a_weight_falls_with_frequency() -> None:
    texts = ["university florida", "university heidelberg", "university oslo", "oslo hospital"]
    found = Vocabulary.fit(texts)
    weight = dict(zip(found.token, found.weight.tolist(), strict=True))
    assert found.token == sorted(found.token)
    assert weight["university"] < weight["oslo"] < weight["florida"] == weight["heidelberg"] <= 1


def test_the_prior_counts_beside_the_texts() -> None:
    prior = {"university": 900, "heidelberg": 2}
    found = Vocabulary.fit(["university heidelberg"], prior, 1000)
    weight = dict(zip(found.token, found.weight.tolist(), strict=True))
    frequency = {"university": 901, "heidelberg": 3}
    for token, n in frequency.items():
        assert weight[token] == pytest.approx(np.log(1002 / (0.5 + n)) / np.log(2004), rel=1e-5)
    alone = Vocabulary.fit(["university heidelberg"])
    assert alone.weight[0] == alone.weight[1]


def test_a_vocabulary_does_not_depend_on_the_order_of_texts() -> None:
    texts = ["b a", "c", "a a d"]
    one, other = Vocabulary.fit(texts), Vocabulary.fit(texts[::-1])
    assert one.token == other.token
    assert np.array_equal(one.weight, other.weight)


def test_the_shipped_prior_knows_common_words_and_can_be_left_out() -> None:
    forms = prepared([HEIDELBERG, FLORIDA])[0].forms
    shipped, alone = fit_vocabulary(forms), fit_vocabulary(forms, use_prior=False)
    of, without = (dict(zip(v.token, v.weight.tolist(), strict=True)) for v in (shipped, alone))
    assert of["university"] < 0.2 * of["heidelberg"]
    assert without["heidelberg"] == without["florida"] > without["university"]


def test_a_table_holds_the_known_tokens_of_each_text() -> None:
    vocabulary = Vocabulary.fit(["oslo university"])
    table = vocabulary.table(["oslo oslo", "", "bergen university"])
    assert vocabulary.token == ["oslo", "university"]
    assert table.toarray().tolist() == [[1, 0], [0, 0], [0, 1]]
