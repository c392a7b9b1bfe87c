"""Known names: the table against a plain search in text, recognition by place, and its features."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import pipeline
from pipeline.cli import main
from pipeline.concepts import concept_tokens
from pipeline.errors import UsageError
from pipeline.known_names import MAX_TOKENS, KnownNames, made_of
from pipeline.parsing.features import tokens_of
from pipeline.parsing.marking import NameMarks
from pipeline.parsing.reading import read
from pipeline.recognition import recognize
from pipeline.records import Forms
from pipeline.registry import Registry, import_registry, short_id
from pipeline.scoring.known import KNOWN_NAMES, KnownFeatures
from pipeline.text import compare
from pipeline.training.names import train_names, without_city

ROOT = Path(__file__).resolve().parents[2]

#: Records of these tests: 0 York (GB), 1 York (CA), 2 a hospital of 0, 3 a closed York (GB), 4 Springfield.
PLACES = [("GB", "York"), ("CA", "Toronto"), ("GB", "York"), ("GB", "Leeds"), ("US", "Springfield")]
NAMES = {
    "University of York": {0},
    "York University": {1},
    "York Teaching Hospital": {2},
    "York Institute": {2, 3},
    "York Institute for Health": {3},
    "University of Springfield Riverside": {4},
    "YU": {1},
    "CALYORK": {0},
}


def tokens(text: str) -> tuple[str, ...]:
    return tuple(concept_tokens(compare(text)))


def table() -> KnownNames:
    return made_of(
        {tokens(n): r for n, r in NAMES.items()}, PLACES, [True, True, True, False, True], [(0, 2)]
    )


def recognized(organization: str, context: str, country: str | None = None, city: str | None = None):
    own, text = (" ".join(tokens(t)) for t in (organization, context))
    return recognize(table(), [own], [text], [(country, city)])


WORDS = ["alpha", "beta", "gamma", "delta"]
PHRASE = st.lists(st.sampled_from(WORDS), min_size=2, max_size=5)


@given(
    st.lists(PHRASE, min_size=1, max_size=8),
    st.lists(st.lists(st.sampled_from(WORDS), max_size=12), min_size=1, max_size=5),
)
def test_names_are_found_as_a_plain_search_finds_them(
    phrases: list[list[str]], texts: list[list[str]]
) -> None:
    known = made_of({tuple(p): {i} for i, p in enumerate(phrases)}, [(None, None)] * len(phrases), [True], [])
    bags = {tuple(sorted(p)) for p in phrases}
    for text, found in zip(texts, known.within(texts), strict=True):
        expected: list[tuple[int, int]] = []
        for n in range(min(MAX_TOKENS, len(text)), 1, -1):
            for start in range(len(text) - n + 1):
                is_inside = any(a <= start and start + n <= b for a, b in expected)
                if tuple(sorted(text[start : start + n])) in bags and not is_inside:
                    expected.append((start, start + n))
        assert sorted((f.start, f.end) for f in found) == sorted(expected)


def test_the_order_of_words_counts_where_it_tells_records_apart() -> None:
    known = table()
    assert known.named(tokens("University of York")) == (0,)
    assert known.named(tokens("York University")) == (1,)
    assert known.named(tokens("Riverside University of Springfield")) == (4,)
    assert known.named(tokens("University of Nowhere")) == ()


def test_a_name_elsewhere_is_not_the_record() -> None:
    assert recognized("University of York", "University of York, UK", "GB").organization == [(0,)]
    assert recognized("University of York", "University of York, Canada", "CA").organization == [()]


def test_a_city_and_then_existence_choose_among_records_of_one_name() -> None:
    assert recognized("York Institute", "York Institute", "GB", "Leeds").organization == [(3,)]
    assert recognized("York Institute", "York Institute", "GB").organization == [(2,)]


def test_a_longer_name_around_the_organisation_outranks_it() -> None:
    found = recognized("York Institute", "York Institute for Health, York", "GB")
    assert found.organization == [(3,)]


def test_the_city_completes_a_name() -> None:
    found = recognized("University of Springfield", "Univ of Springfield, 1 Main St", "US", "Riverside")
    assert found.organization == [(4,)]


def test_short_acronyms_need_a_country() -> None:
    assert recognized("YU", "YU").organization == [()]
    assert recognized("YU", "YU, Canada", "CA").organization == [(1,)]
    assert recognized("CALYORK", "CALYORK").organization == [(0,)]


def test_part_of_a_name_and_the_rest_of_the_string() -> None:
    found = recognized("York University School of Law", "York University School of Law", "CA")
    assert (found.organization, found.within) == ([()], [(1,)])
    both = recognized("University of York", "University of York and York Teaching Hospital", "GB")
    assert both.mentioned == [(0, 2)]


def test_a_place_is_filled_from_the_only_record() -> None:
    found = recognized("University of York", "University of York")
    assert (found.country_code, found.city) == (["GB"], ["York"])
    unknown = recognized("Nowhere College", "Nowhere College", "US")
    assert (unknown.country_code, unknown.city) == (["US"], [None])


def test_features_are_symmetric_and_tell_one_from_related_from_others(tmp_path: Path) -> None:
    organizations = ["University of York", "York University", "York Teaching Hospital", "Nowhere College"]
    own = [" ".join(tokens(o)) for o in organizations]
    table().save(tmp_path)
    known = recognize(KnownNames.load(tmp_path), own, own, [(None, None)] * 4)
    n = len(own)
    forms = Forms(
        display=own,
        context=own,
        organization=own,
        concept=own,
        context_concept=own,
        units=[""] * n,
        acronyms=[()] * n,
        city=[None] * n,
        region=[None] * n,
        country_code=[None] * n,
        is_main=np.ones(n, bool),
        keys={},
        known=known,
    )
    features = KnownFeatures.of_forms(forms)
    left, right = np.array([0, 0, 0, 0]), np.array([0, 1, 2, 3])
    found = features.of(left, right)
    assert list(found) == list(KNOWN_NAMES)
    assert found["known_organization"].tolist() == [1, -1, -1, 0]
    assert found["known_related"].tolist() == [1, -1, 2, 0]
    assert found["known_country"].tolist() == [1, -1, 1, 0]
    assert found["n_known"].tolist() == [2, 2, 2, 1]
    turned = features.of(right, left)
    assert all(np.array_equal(found[name], turned[name]) for name in KNOWN_NAMES)


def test_a_table_reads_back(tmp_path: Path) -> None:
    table().save(tmp_path)
    read = KnownNames.load(tmp_path)
    assert read.named(tokens("York University")) == (1,)
    assert read.places == table().places
    assert (read.related != table().related).nnz == 0


def test_a_name_without_its_city_is_no_other_whose_words_it_has_in_another_order() -> None:
    city = ["Seattle", "St. Louis", "Chicago", "Toronto", "York"]
    names = {
        tokens("University of Washington"): {0},
        tokens("Washington University in St. Louis"): {1},
        tokens("Loyola University Chicago"): {2},
        tokens("York University Toronto"): {3},
        tokens("York University"): {3},
        tokens("University of York"): {4},
    }
    # Of Loyola no record has the words in another order; York University is a name of a record as it is.
    assert without_city(names, city) == {tokens("Washington University"): {1}}


def test_the_shipped_table_tells_washington_university_from_the_university_of_washington() -> None:
    known = KnownNames.load()
    found = [known.named(tokens(t)) for t in ("University of Washington", "Washington University")]
    assert [[known.places[known.place[r]] for r in records] for records in found] == [
        [("US", "Seattle")],
        [("US", "St. Louis")],
    ]


def test_the_shipped_table_knows_translations() -> None:
    known = KnownNames.load()
    english, german = (
        known.named(tokens(n))
        for n in ("Vienna University of Economics and Business", "Wirtschaftsuniversität Wien")
    )
    assert english
    assert english == german
    strings = ["Vienna University of Economics and Business, Austria", "Wirtschaftsuniversität Wien, Austria"]
    assert len(pipeline.resolve(strings).institutions) == 1


@pytest.mark.parametrize("content", [None, b"not a table", b""])
def test_a_missing_or_damaged_table_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "names.safetensors").write_bytes(content)
    settings = pipeline.Settings().with_values(normalization={"known_names": str(tmp_path)})
    with pytest.raises(UsageError, match=r"affil train names|damaged"):
        pipeline.resolve(["University of York"], settings)


def test_without_a_table_nothing_is_known() -> None:
    settings = pipeline.Settings().with_values(normalization={"known_names": "none"})
    found = pipeline.resolve(["University of York, UK", "Univ York, UK"], settings)
    assert found.forms.known is None
    assert len(found.institutions) == 1


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The registry of the example."""
    path = tmp_path_factory.mktemp("registry") / "example.parquet"
    import_registry(ROOT / "examples" / "registry.csv", path)
    return path


def test_the_command_makes_a_table_that_a_run_uses(registry: Path, tmp_path: Path) -> None:
    asked = ["train", "names", "--registry", str(registry), "--output", str(tmp_path)]
    done = CliRunner().invoke(main, asked)
    assert done.exit_code == 0, done.output
    known = KnownNames.load(tmp_path)
    assert 0 < len(known) <= len(Registry.read(registry))
    oxford = known.named(tokens("University of Oxford"))
    assert len(oxford) == 1
    assert known.places[known.place[oxford[0]]] == ("GB", "Oxford")
    settings = pipeline.Settings().with_values(normalization={"known_names": str(tmp_path)})
    found = pipeline.resolve(["University of Oxford, UK", "ETH Zurich, Switzerland"], settings)
    assert found.forms.known is not None
    assert found.forms.known.organization[0] == oxford


def test_names_of_records_that_are_left_out_are_not_learnt(registry: Path, tmp_path: Path) -> None:
    records = Registry.read(registry)
    oxford = short_id(records.id[records.name.index("University of Oxford")])
    left_out = tmp_path / "folds.tsv"
    left_out.write_text(f"ror_id\tfold\n{oxford}\tnames-test\n", encoding="utf-8")
    list(train_names(registry, tmp_path / "names", left_out))
    known = KnownNames.load(tmp_path / "names")
    assert known.named(tokens("University of Oxford")) == ()
    assert known.named(tokens("ETH Zurich"))


def test_a_registry_that_is_none_is_one_line(tmp_path: Path) -> None:
    asked = ["train", "names", "--registry", str(tmp_path / "none"), "--output", str(tmp_path / "out")]
    done = CliRunner().invoke(main, asked)
    assert done.exit_code != 0
    assert not (tmp_path / "out").exists()


def test_the_tagger_knows_the_names_of_the_same_table(registry: Path, tmp_path: Path) -> None:
    """One setting for all: without a table the tagger knows none, with another it knows those of that one."""
    CliRunner().invoke(main, ["train", "names", "--registry", str(registry), "--output", str(tmp_path)])
    text = "University of Oxford, Université de Lille, UK"
    reading = read(text)
    assert reading is not None
    marked = {}
    for source in ("built-in", "none", str(tmp_path)):
        tokens = tokens_of([reading], NameMarks.load(source))
        marked[source] = {tokens.words[w] for w, n in zip(tokens.word, tokens.name, strict=True) if n}
    assert {"Oxford", "Lille"} <= marked["built-in"]
    assert marked["none"] == set()
    assert "Oxford" in marked[str(tmp_path)] and "Lille" not in marked[str(tmp_path)]
    # Nothing but the names parts the two.
    found = {}
    for source in marked:
        settings = pipeline.Settings().with_values(normalization={"known_names": source})
        mentions = pipeline.resolve(["Rockefeller University Weill Cornell Medicine"], settings).mentions
        found[source] = set(mentions["organization"])
    assert found["built-in"] == {"Rockefeller University", "Weill Cornell Medicine"}
    assert found["none"] == found[str(tmp_path)] == {"Rockefeller University Weill Cornell Medicine"}
