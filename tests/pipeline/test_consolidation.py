"""Clusters to records: which name and place survive, how sure a record is, and that nothing gets lost."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocking import vectors
from pipeline.consolidation import (
    CanonicalSettings,
    Consolidated,
    Institution,
    consolidate,
    membership,
    mention_ids,
    preferred_name,
    tidy,
    well_formed,
)
from pipeline.errors import UsageError
from pipeline.normalization import normalize
from pipeline.records import (
    MAIN,
    PARTNER,
    Affiliations,
    Matches,
    Mention,
    Mentions,
    ScoredPairs,
    affiliation_id,
)

Pairs = dict[tuple[int, int], float]


def matches_of(pairs: Pairs) -> Matches:
    ends = np.array(sorted(pairs), np.int64).reshape(-1, 2)
    n = len(ends)
    scored = ScoredPairs(
        ends[:, 0],
        ends[:, 1],
        np.ones(n, np.float32),
        np.ones(n, np.uint8),
        np.zeros(n),
        np.full(n, np.nan),
    )
    return Matches(scored, np.array([pairs[tuple(e)] for e in ends.tolist()], np.float64))


@dataclass(frozen=True)
class Named:
    """An organisation in a string of its own, and how often the string occurs."""

    organization: str
    n: int = 1
    city: str | None = None
    country: str | None = None
    region: str | None = None
    acronyms: tuple[str, ...] = ()


def consolidated(
    named: list[Named], cluster: list[int], pairs: Pairs | None = None, max_variants: int = 0
) -> Consolidated:
    """Strings in any order, brought into the order of their ids as folding does."""
    raw = [f"{m.organization}, {m.city}, {m.region}, {m.country}, {m.acronyms}" for m in named]
    order = sorted(range(len(named)), key=lambda i: affiliation_id(raw[i]))
    strings = Affiliations(
        [affiliation_id(raw[i]) for i in order],
        [raw[i] for i in order],
        np.array([named[i].n for i in order], np.int64),
    )
    mention = [
        Mention(
            m.organization,
            city=m.city,
            region=m.region,
            country_code=m.country,
            context=m.organization or "Department of Surgery",
            acronyms=m.acronyms,
        )
        for m in (named[i] for i in order)
    ]
    mentions = Mentions(strings, np.arange(len(named)), mention)
    place = {i: k for k, i in enumerate(order)}
    moved = {tuple(sorted((place[a], place[b]))): p for (a, b), p in (pairs or {}).items()}
    label = np.array([cluster[i] for i in order], np.int64)
    return consolidate(
        mentions, normalize(mentions), matches_of(moved), label, CanonicalSettings(max_variants)
    )


def record(*named: Named, max_variants: int = 0) -> Institution:
    found = consolidated(list(named), [0] * len(named), max_variants=max_variants)
    assert len(found.institutions) == 1
    return found.institutions[0]


@pytest.mark.parametrize(
    ("named", "name"),
    [
        # The most frequent, not the longest.
        ([Named("Oslo University", 5), Named("Department-rich Royal Oslo University", 2)], "Oslo University"),
        # Names of one compare form vote together.
        (
            [Named("University of Oslo", 3), Named("University of  Oslo.", 2), Named("Oslo University", 4)],
            "University of Oslo",
        ),
        # An abbreviation loses, however frequent.
        ([Named("Univ. of Oslo", 90), Named("University of Oslo", 1)], "University of Oslo"),
        ([Named("Oslo Univ", 90), Named("Oslo University", 1)], "Oslo University"),
        # So do an acronym, a number, half a pair of brackets and a cut end.
        ([Named("UIO", 90), Named("University of Oslo", 1)], "University of Oslo"),
        ([Named("University of Oslo 4", 90), Named("University of Oslo", 1)], "University of Oslo"),
        ([Named("University of Oslo (UiO", 90), Named("Oslo University", 1)], "Oslo University"),
        ([Named("Royal University of", 90), Named("Oslo University", 1)], "Oslo University"),
        # What dangles at its ends is cut from a name, and so is half a pair of quotes.
        ([Named('Royal "University of Oslo', 9), Named("Oslo University", 1)], "Royal University of Oslo"),
        ([Named("University of Oslo\\", 9), Named("Oslo University", 1)], "University of Oslo"),
        # Ties go to the alphabet.
        ([Named("Oslo University", 2), Named("Bergen University", 2)], "Bergen University"),
        ([Named("Oslo University")], "Oslo University"),
    ],
)
def test_preferred_name(named: list[Named], name: str) -> None:
    assert record(*named).preferred_name == name
    assert record(*named[::-1]).preferred_name == name


def test_capitals_lose_to_a_name_as_people_write_it() -> None:
    names = Counter({"UNIVERSITY OF OSLO": 90, "University of Oslo": 1})
    assert preferred_name(names, dict.fromkeys(names, "university of oslo")) == "University of Oslo"


@pytest.mark.parametrize(
    ("name", "rank"),
    [
        ("University of Oslo", 3),
        ("St. Jude Children's Research Hospital", 3),
        ("Leonard M. Miller School of Medicine", 3),
        ("U.S. Geological Survey Center", 3),
        ("Deutsches Zentrum für Neurodegenerative Erkrankungen e.V.", 3),
        ("Foetal Medicine Centre", 3),
        ("Genentech Institute, Inc.", 3),
        ('Scientific Center "Nauka"', 3),
        ("北京大学", 3),
        ("Московский государственный университет", 3),
        ("Genentech", 2),
        ("OSLO UNIVERSITY", 2),
        ("UIO", 1),
        ("Klinikum r.d. Isar", 1),
        ("Queensland University of Technol", 1),
        ("Dept of Health", 1),
        ("corporate member of Freie Universität Berlin", 1),
        ("Howard Hughes Medical Institute/University of Texas", 1),
        ("University " * 13, 1),
        ('FSBIS "Udmurt Federal Research Center', 0),
        ("University (Oslo", 0),
        ("University [Oslo", 0),
        ("University of Oslo 2", 0),
        ("Institute of", 0),
        ("", 0),
    ],
)
def test_well_formed(name: str, rank: int) -> None:
    assert well_formed(name) == rank


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("Oslo University\\", "Oslo University"),
        (" - Oslo, ", "Oslo"),
        ("Oslo (UiO)", "Oslo (UiO)"),
        ("--", "--"),
    ],
)
def test_tidy(name: str, clean: str) -> None:
    assert tidy(name) == clean


def test_variants_and_acronyms_are_ordered_by_occurrences_and_then_by_the_alphabet() -> None:
    named = [
        Named("University of Oslo", 5, acronyms=("UIO",)),
        Named("Univ Oslo", 2, acronyms=("UO",)),
        Named("Oslo Univ", 2, acronyms=("UO",)),
        Named("Universitetet i Oslo", 4, acronyms=("OU",)),
    ]
    found = record(*named)
    assert found.preferred_name == "University of Oslo"
    assert found.variant_names == ("Universitetet i Oslo", "Oslo Univ", "Univ Oslo")
    assert found.acronyms == ("UIO", "OU", "UO")
    assert record(*named, max_variants=1).variant_names == ("Universitetet i Oslo",)


def test_the_place_is_the_one_that_most_occurrences_state() -> None:
    found = record(
        Named("Oslo University", 2, "Oslo", "NO"),
        Named("Oslo University", 3, "Bergen", "NO"),
        Named("Univ Oslo", 4, None, "NO"),
    )
    assert (found.city, found.country_code) == ("Bergen", "NO")


def test_the_city_lies_in_the_country() -> None:
    found = record(
        Named("Trinity College", 5, "Hartford", "US", "Connecticut"),
        Named("Trinity College", 4, "Dublin", "IE", "Leinster"),
        Named("Trinity Coll", 3, None, "IE"),
    )
    assert (found.city, found.region, found.country_code) == ("Dublin", "Leinster", "IE")


def test_the_region_lies_in_the_country_even_where_no_city_is_known() -> None:
    found = record(Named("Trinity College", 5, None, "US"), Named("Trinity Coll", 1, None, "DE", "Bavaria"))
    assert (found.city, found.region, found.country_code) == (None, None, "US")


def test_a_place_that_nobody_states_is_none() -> None:
    found = record(Named("Trinity College"), Named("Trinity Coll"))
    assert (found.city, found.region, found.country_code) == (None, None, None)


def two_strings() -> Mentions:
    """`A; B` ten times, `B` once."""
    strings = Affiliations(["a1", "a2"], ["A; B", "B"], np.array([10, 1]))
    mention = [
        Mention("Oslo University", MAIN, context="x"),
        Mention("Bergen University", PARTNER, context="y"),
        Mention("Bergen University", MAIN, context="z"),
    ]
    return Mentions(strings, np.array([0, 0, 1]), mention)


@pytest.mark.parametrize(
    ("label", "occurrences"),
    [
        # Bergen is the main organisation of one row, and a partner in ten that Oslo counts.
        ([0, 1, 1], {"Oslo University": 10, "Bergen University": 1}),
        # A record that is never the main organisation has the rows of all its strings.
        ([0, 1, 0], {"Bergen University": 10, "Oslo University": 11}),
        # A string with two members counts once.
        ([0, 0, 0], {"Bergen University": 11}),
    ],
)
def test_occurrences_are_the_rows_of_the_main_organization(
    label: list[int], occurrences: dict[str, int]
) -> None:
    mentions = two_strings()
    found = consolidate(mentions, normalize(mentions), matches_of({}), np.array(label)).institutions
    assert {r.preferred_name: r.n_occurrences for r in found} == occurrences
    assert sum(r.n_mentions for r in found) == 3


def test_mention_ids_number_the_mentions_of_a_string() -> None:
    assert mention_ids(two_strings()) == ["a1-0", "a1-1", "a2-0"]


def test_membership_by_hand() -> None:
    # 0, 1 and 2 are one cluster, joined by two pairs; 3 is alone with a pair to the outside; 4 has none;
    # 5 and 6 were put together by a person against no pair.
    matches = matches_of({(0, 1): 0.9, (1, 2): 0.7, (2, 3): 0.4, (1, 3): 0.1})
    mean, best = membership(7, matches, np.array([0, 0, 0, 1, 2, 3, 3]))
    assert mean == pytest.approx([0.9, 0.8, 0.7, 0.6, 1.0, 0.0, 0.0])
    assert best[:3] == pytest.approx([0.9, 0.9, 0.7])
    assert np.isnan(best[3:5]).all()
    assert best[5:].tolist() == [0.0, 0.0]


def test_confidence_and_weakest_link_of_a_record() -> None:
    named = [Named("Oslo University"), Named("Univ Oslo"), Named("Oslo Univ"), Named("Bergen University")]
    pairs = {(0, 1): 0.9, (1, 2): 0.7, (2, 3): 0.4}
    found = consolidated(named, [0, 0, 0, 1], pairs).institutions
    record = {r.preferred_name: r for r in found}
    assert record["Oslo University"].confidence == pytest.approx((0.9 + 0.8 + 0.7) / 3)
    assert record["Oslo University"].weakest_link == pytest.approx(0.7)
    assert record["Bergen University"].confidence == pytest.approx(0.6)
    assert record["Bergen University"].weakest_link is None


NAMED = [
    Named("Oslo University", 3, "Oslo", "NO"),
    Named("Univ Oslo", 2),
    Named("Bergen University", 5),
    Named("Bergen Univ"),
    Named("Tromsø University"),
]


def entities(found: Consolidated) -> dict[str, str]:
    return dict(zip(found.mention_id, found.entity_id, strict=True))


def test_entity_ids_do_not_depend_on_order_or_labels() -> None:
    one = consolidated(NAMED, [0, 0, 1, 1, 2])
    other = consolidated(NAMED[::-1], [7, 3, 3, 5, 5])
    assert one.institutions == other.institutions
    assert entities(one) == entities(other)


def test_an_entity_id_outlives_strangers() -> None:
    before = consolidated(NAMED[:4], [0, 0, 1, 1])
    after = consolidated([*NAMED[:4], Named("Aarhus University"), Named("Aarhus Univ")], [2, 2, 0, 0, 1, 1])
    kept = entities(after)
    assert {i: kept[i] for i in before.mention_id} == entities(before)


def test_records_are_ordered_by_occurrences() -> None:
    found = consolidated(NAMED, [0, 0, 1, 1, 2]).institutions
    assert [r.n_occurrences for r in found] == [6, 5, 1]


def test_a_string_without_an_organization_is_called_by_its_units() -> None:
    strings = Affiliations(["a1", "a2"], ["Dept. of Surgery", "Anything"], np.array([1, 2]))
    mention = [
        Mention("", units=("Dept. of Surgery",), context="Dept. of Surgery"),
        Mention("", context="Anything"),
    ]
    mentions = Mentions(strings, np.array([0, 1]), mention)
    found = consolidate(mentions, normalize(mentions), matches_of({}), np.array([0, 1])).institutions
    assert [(r.preferred_name, r.has_organization) for r in found] == [
        ("Anything", False),
        ("Dept. of Surgery", False),
    ]


def test_nothing_to_consolidate() -> None:
    found = consolidated([], [])
    assert (found.institutions, found.mention_id, found.entity_id) == ([], [], [])
    assert found.match_probability.shape == (0,)


def test_a_bad_setting_is_refused() -> None:
    with pytest.raises(UsageError, match="max_variants must be 0 or more, got -1"):
        CanonicalSettings(-1)


ORGANIZATIONS = ["Oslo University", "Univ. Oslo", "UiO", "Universität Bergen", '"Oslo', "", "北京大学"]


@given(
    st.lists(st.tuples(st.sampled_from(ORGANIZATIONS), st.integers(1, 5), st.integers(0, 3)), max_size=12),
    st.integers(0, 2**32 - 1),
)
def test_every_mention_is_in_exactly_one_record(rows: list[tuple[str, int, int]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    named = [Named(o, n, city=f"City {i}") for i, (o, n, _) in enumerate(rows)]
    pairs = {ends: float(rng.random()) for ends in combinations(range(len(rows)), 2) if rng.random() < 0.3}
    found = consolidated(named, [label for _, _, label in rows], pairs)
    members = Counter(found.entity_id)
    assert {r.entity_id: r.n_mentions for r in found.institutions} == members
    assert len(found.institutions) == len({label for _, _, label in rows})
    assert sum(r.n_occurrences for r in found.institutions) == sum(n for _, n, _ in rows)
    for r in found.institutions:
        assert 0 <= r.confidence <= 1
        assert (r.weakest_link is None) == (r.n_mentions == 1)
        assert r.preferred_name
        assert r.preferred_name not in r.variant_names
        assert len(set(r.variant_names)) == len(r.variant_names)


def test_membership_is_the_same_in_several_lots(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    ends = {(a, b): float(random.random()) for a in range(30) for b in range(a + 1, 30) if (a * b) % 3}
    label = np.minimum(np.arange(30), random.integers(0, 9, 30))
    whole = membership(30, matches_of(ends), label)
    monkeypatch.setattr(vectors, "AT_ONCE", 13)
    for one, other in zip(whole, membership(30, matches_of(ends), label), strict=True):
        assert one == pytest.approx(other, nan_ok=True, abs=1e-12)
