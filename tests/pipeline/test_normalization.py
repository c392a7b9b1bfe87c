"""Forms and keys of mentions: which names meet, and which do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline import normalization
from pipeline.cleaning import clean
from pipeline.folding import fold_values
from pipeline.normalization import NormalizationSettings, normalize, with_keys
from pipeline.parsing import parse
from pipeline.records import Forms

Keys = dict[str, set[str]]


def forms_of(strings: list[str], settings: NormalizationSettings | None = None) -> Forms:
    return normalize(parse(clean(fold_values(strings).affiliations)), settings)


def keys_of(strings: list[str], rule: str) -> Keys:
    """The keys of the main mention of each string."""
    mentions = parse(clean(fold_values(strings).affiliations))
    forms = normalize(mentions)
    raw = mentions.affiliations.affiliation
    return {
        raw[a]: set(forms.keys[rule][i])
        for i, a in enumerate(mentions.affiliation.tolist())
        if forms.is_main[i]
    }


def meets(left: str, right: str, rule: str) -> bool:
    found = keys_of([left, right], rule)
    return bool(found[left] & found[right])


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("University of Heidelberg", "Heidelberg University"),
        ("University of Heidelberg", "Universität Heidelberg, Heidelberg, Germany"),
        ("Technische Universität München, Munich", "Technical University of Munich, Germany"),
        ("Università degli Studi di Milano", "University of Milan"),
        ("HEIDELBERG UNIVERSITY", "Heidelberg University"),
        ("Dept. of Physics, Univ. of Oslo, Norway", "University of Oslo"),
    ],
)
def test_names_of_one_concept_share_a_key(left: str, right: str) -> None:
    assert meets(left, right, "same_form")


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("University of Heidelberg", "University of Hamburg"),
        ("University of Florida", "University of South Florida"),
        ("University Hospital, Basel, Switzerland", "University Hospital, Zurich, Switzerland"),
        ("Institute of Physics, Belgrade, Serbia", "Institute of Physics, Zagreb, Croatia"),
    ],
)
def test_other_names_and_bare_names_elsewhere_do_not(left: str, right: str) -> None:
    assert not meets(left, right, "same_form")


def test_a_bare_name_meets_itself_in_its_own_place() -> None:
    left, right = "Institute of Physics, Belgrade, Serbia", "Inst. of Physics, Dept. 4, 11000 Belgrade"
    assert meets(left, right, "same_form")


def test_an_acronym_meets_the_name_that_spells_it_in_one_place() -> None:
    name = "Kavala Institute of Technology, Kavala, Greece"
    assert meets(name, "KIT, Kavala, Greece", "acronym_place")
    assert not meets(name, "KIT, Karlsruhe, Germany", "acronym_place")


def test_an_acronym_without_a_place_has_no_key() -> None:
    assert keys_of(["KIT"], "acronym_place") == {"KIT": set()}


def test_a_stated_acronym_is_a_key() -> None:
    left, right = "Kavala Technikon (KTX), Kavala, Greece", "K.T.X., Kavala, Greece"
    assert "KTX|Kavala" in keys_of([left, right], "acronym_place")[left]


@pytest.mark.parametrize("string", ["Department of Surgery", "Department of Surgery, Paris, France"])
def test_a_string_without_an_organization_has_no_keys_and_no_views(string: str) -> None:
    forms = forms_of([string])
    assert forms.organization == [""]
    assert all(keys == [()] for keys in forms.keys.values())
    assert forms.views == {"neighbours": [""], "organization_neighbours": [""]}


def test_views_of_an_organization_are_its_string_and_its_concept() -> None:
    forms = forms_of(["Dept. of Physics, Universität Heidelberg, Germany"])
    assert forms.views["neighbours"] == ["department of physics universität heidelberg germany"]
    assert forms.views["organization_neighbours"] == ["university heidelberg"]


@pytest.mark.parametrize(
    ("native", "latin"),
    [
        ("Московский педагогический университет", "Moskovskiy pedagogicheskiy universitet"),
        ("Πανεπιστήμιο Πατρών", "Panepistimio Patron"),
        ("Universität Zürich", "Universitat Zurich"),
    ],
)
def test_a_name_meets_its_transcription(native: str, latin: str) -> None:
    assert meets(native, latin, "shared_key")


def test_only_names_that_are_somewhere_in_other_letters_have_a_transcription() -> None:
    assert keys_of(["Universitat Zurich", "University of Bern"], "shared_key") == {
        "Universitat Zurich": set(),
        "University of Bern": set(),
    }


@pytest.mark.parametrize(
    ("switch", "rule"),
    [
        ("use_same_form", "same_form"),
        ("use_acronym_place", "acronym_place"),
        ("use_transliteration", "shared_key"),
    ],
)
def test_each_rule_can_be_switched_off(switch: str, rule: str) -> None:
    strings = ["Universität Zürich, Switzerland", "MIT, Cambridge, USA"]
    every = forms_of(strings).keys
    some = forms_of(strings, NormalizationSettings(**{switch: False})).keys
    assert some == {name: keys for name, keys in every.items() if name != rule}
    assert len(every) == len(some) + 1


STRINGS = [
    "Московский педагогический университет, Москва",
    "Moskovskiy pedagogicheskiy universitet",
    "University Hospital, Basel, Switzerland",
    "Department of Surgery",
    "Faculty of Medicine, Université Lyon 1; CNRS, Lyon",
    "Technical University of Munich (TUM), Germany",
]


def test_the_order_of_the_input_does_not_matter() -> None:
    assert forms_of(STRINGS).keys == forms_of(STRINGS[::-1]).keys
    assert forms_of(STRINGS).context == forms_of(STRINGS[::-1]).context


def test_forms_have_one_entry_a_mention() -> None:
    mentions = parse(clean(fold_values(STRINGS).affiliations))
    forms = normalize(mentions)
    columns = [forms.display, forms.organization, forms.concept, forms.units, forms.acronyms, forms.city]
    assert {len(mentions)} == {len(c) for c in [*columns, forms.is_main, *forms.keys.values()]}
    assert forms.is_main.sum() == len(STRINGS)


def test_no_mentions() -> None:
    forms = forms_of([])
    assert len(forms) == 0
    assert forms.views == {"neighbours": [], "organization_neighbours": []}
    assert all(keys == [] for keys in forms.keys.values())


def test_forms_are_the_same_in_small_lots(monkeypatch: pytest.MonkeyPatch) -> None:
    strings = [f"Dept {i}, Université de Lyon {i % 3}, INSA, Lyon, France" for i in range(20)]
    whole = forms_of(strings)
    monkeypatch.setattr(normalization, "_CHUNK", 3)
    parts = forms_of(strings)
    for name, column in vars(whole).items():
        assert (
            np.array_equal(column, getattr(parts, name))
            if name == "is_main"
            else column == getattr(parts, name)
        )


@pytest.mark.parametrize("names", ["built-in", "none"])
def test_keys_can_be_made_of_forms_alone(names: str) -> None:
    settings = NormalizationSettings(known_names=names)
    forms = forms_of(
        [*STRINGS, "清华大学, 北京", "Tsinghua University, Beijing, China", "MIT, Cambridge, MA"], settings
    )
    assert with_keys(replace(forms, keys={}), settings).keys == forms.keys
