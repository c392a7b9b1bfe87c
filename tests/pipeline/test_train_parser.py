"""Training the tagger on a handful of made-up organisations, and the one in the package."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.cli import main
from pipeline.errors import UsageError
from pipeline.parsing import ParsingSettings, parse_text
from pipeline.parsing.features import Tokens, tokens_of
from pipeline.parsing.marking import NAMES, NameMarks
from pipeline.parsing.reading import Reading, read
from pipeline.parsing.tagger import FIRST, INSIDE, TAGS, WEIGHTS_FILE, Tagger, allowed, best_tags
from pipeline.training.loop import CHECKPOINT
from pipeline.training.nameless import with_known_names
from pipeline.training.parser import LabelFiles, ParserRecipe, train_parser
from pipeline.training.spans import Example, HeldNames, Name, align, span_quality
from pipeline.training.swapping import SpareNames, swapped
from pipeline.training.tags import UNKNOWN, lessons_of, tags_of

CITIES = "Oxford Leeds Lyon Graz Porto Ghent Turin Bonn Basel Delft Vilnius Malmö Krakow Seville".split()  # noqa: SIM905
RECIPE = ParserRecipe(
    bucket_bits=10, dimensions=8, n_channels=8, batch_size=16, n_steps=40, steps_per_look=10, patience=9,
    n_warmup_steps=2, learning_rate=0.02, averaging=0.5,
)  # fmt: skip


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    records = [
        {"id": f"https://ror.org/u{n}", "names": [{"value": f"University of {city}", "types": ["label"]}]}
        for n, city in enumerate(CITIES)
    ]
    names = [{"value": "Zarquon", "types": ["label"]}, {"value": "ZQN", "types": ["acronym"]}]
    records.append({"id": "https://ror.org/zarquon", "names": names})
    path = tmp_path / "registry.jsonl"
    path.write_text("\n".join(map(json.dumps, records)) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """`Zarquon` is an organisation beside a university: the rules alone take it for nothing."""
    rows = []
    for n, city in enumerate(CITIES):
        fold = ("train", "train", "train", "tune", "test")[n % 5]
        forms = {f"Dept. of Physics, University of {city}": [f"u{n}"]}
        forms[f"Faculty of Law, Zarquon, University of {city}"] = [f"u{n}", "zarquon"]
        forms[f"University of {city}, Zarquon"] = [f"u{n}", "zarquon"]
        rows += [{"affiliation": text, "cluster": own, "fold": fold} for text, own in forms.items()]
    path = tmp_path / "labels.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    return path


def organizations(text: str, model: str | None = None) -> list[str]:
    return [m.organization for m in parse_text(text, ParsingSettings(model=model))]


def test_it_learns_what_the_rules_do_not_know(labels: Path, registry: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    lines = list(train_parser(LabelFiles([labels]), registry, tmp_path / "m", recipe=RECIPE))
    losses = [float(found[1]) for line in lines if (found := re.search(r"loss ([\d.]+)", line))]
    assert len(losses) == 4
    assert losses[-1] < losses[0] / 2
    text = "Faculty of History, Zarquon, University of Bergen"
    assert organizations(text, "rules") == ["University of Bergen"]
    assert set(organizations(text, str(tmp_path / "m"))) == {"University of Bergen", "Zarquon"}
    assert not (tmp_path / "m" / CHECKPOINT).exists()


def test_a_run_that_was_stopped_goes_on_to_the_same_file(
    labels: Path, registry: Path, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    files = LabelFiles([labels])
    for name in ("whole", "again"):
        list(train_parser(files, registry, tmp_path / name, recipe=RECIPE))
    for line in train_parser(files, registry, tmp_path / "stopped", recipe=RECIPE):
        if line.startswith("step 20"):
            break
    assert (tmp_path / "stopped" / CHECKPOINT).is_file()
    lines = list(train_parser(files, registry, tmp_path / "stopped", recipe=RECIPE))
    assert "resumed at step 20" in lines
    whole, again, stopped = (
        (tmp_path / n / WEIGHTS_FILE).read_bytes() for n in ("whole", "again", "stopped")
    )
    assert whole == again == stopped
    other = replace(RECIPE, seed=1)
    list(train_parser(files, registry, tmp_path / "other", recipe=other))
    assert (tmp_path / "other" / WEIGHTS_FILE).read_bytes() != whole


def test_the_checkpoint_of_another_recipe_is_refused(labels: Path, registry: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    for line in train_parser(LabelFiles([labels]), registry, tmp_path / "m", recipe=RECIPE):
        if line.startswith("step 10"):
            break
    with pytest.raises(UsageError, match="of another recipe"):
        list(train_parser(LabelFiles([labels]), registry, tmp_path / "m", recipe=replace(RECIPE, seed=1)))
    (tmp_path / "m" / CHECKPOINT).write_bytes(b"nonsense")
    with pytest.raises(UsageError, match="is damaged"):
        list(train_parser(LabelFiles([labels]), registry, tmp_path / "m", recipe=RECIPE))


def test_training_goes_on_from_a_tagger(labels: Path, registry: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    files = LabelFiles([labels])
    list(train_parser(files, registry, tmp_path / "a", recipe=RECIPE))
    lines = train_parser(files, registry, tmp_path / "b", recipe=RECIPE, start=tmp_path / "a")
    first = next(line for line in lines if "step 0" in line)
    assert "exact number 1.0000" in first
    with pytest.raises(UsageError, match="of another size"):
        list(
            train_parser(
                files, registry, tmp_path / "c", recipe=replace(RECIPE, n_channels=4), start=tmp_path / "a"
            )
        )


def test_the_command_trains_by_a_recipe_file(labels: Path, registry: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        "bucket_bits = 9\ndimensions = 4\nn_channels = 4\nbatch_size = 8\nn_steps = 2\nsteps_per_look = 1\n"
    )
    options = [
        "--labels",
        labels,
        "--single-labels",
        labels,
        "--registry",
        registry,
        "--output",
        tmp_path / "m",
    ]
    done = CliRunner().invoke(
        main, ["train", "parser", *map(str, options), "--recipe", str(recipe), "--seed", "3"]
    )
    assert done.exit_code == 0, done.output
    assert "step 2: loss" in done.output
    assert Tagger.load(tmp_path / "m").n_buckets == 512


def test_what_is_wrong_with_the_input_is_one_line(labels: Path, registry: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    plain = tmp_path / "plain.csv"
    plain.write_text("affiliation,cluster,fold\nUniversity of Oxford,x,test\n")
    for files, message in (
        (LabelFiles([tmp_path / "none.jsonl"]), "no such gold file"),
        (LabelFiles([labels], fold_column="split"), "no column 'split'"),
        (LabelFiles([plain]), "no string of fold 'train' to learn from"),
    ):
        with pytest.raises(UsageError, match=message) as error:
            list(train_parser(files, registry, tmp_path / "m", recipe=RECIPE))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bucketbits = 9\n", "did you mean 'bucket_bits'"),
        ("batch_size = 0\n", "batch_size must be 1 or more"),
        ("dropout = 1.0\n", "dropout must lie in"),
        ("complete_share = 2\n", "complete_share must lie in"),
        ("bare_share = -0.1\n", "bare_share must lie in"),
        ("caution = -1.0\n", "caution must be 0 or more"),
        ("x = [\n", "not valid TOML"),
    ],
)
def test_what_is_wrong_with_a_recipe_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        ParserRecipe.read(path)


def test_the_recipe_in_the_package_fits_the_tagger_in_the_package() -> None:
    recipe = ParserRecipe.read()
    tagger = Tagger.load()
    assert tagger.n_buckets == 1 << recipe.bucket_bits
    assert tagger.arrays["table"].shape[1] == recipe.dimensions
    with pytest.raises(UsageError, match="no such recipe"):
        ParserRecipe.read(Path("none.toml"))


def test_the_network_gives_the_logits_that_numpy_gives() -> None:
    pytest.importorskip("torch")
    from pipeline.training.tagger_network import Layout, Network

    network = Network(RECIPE)
    texts = ["Dept. of Physics, University of Oxford, UK", "CNRS", "Zarquon; University of Porto, Portugal"]
    batch = lessons_of([Example(t, 1, ()) for t in texts], network.tagger().n_buckets, True)
    layout = Layout.of([len(x.tags) for x in batch])
    expected = network.logits(batch, layout).detach().numpy()
    tagger = Tagger(network.tagger().arrays)
    own = tokens(texts)
    found = [
        tagger._logits(vectors[None], np.ones((1, len(vectors), 1), np.float32))[0]
        for vectors in np.split(tagger._vectors(own), own.first[1:-1])
    ]
    # The table is kept in one byte a number.
    np.testing.assert_allclose(np.concatenate(found), expected[layout.rows], atol=0.02)


def test_caution_is_what_the_loss_adds_to_the_logit_of_an_organisation() -> None:
    torch = pytest.importorskip("torch")
    from pipeline.training.tagger_network import Network

    texts = ["Dept. of Physics, University of Oxford, UK", "CNRS, University of Porto, Portugal"]
    batch = lessons_of([Example(t, 1, ()) for t in texts], 1 << RECIPE.bucket_bits, True)
    still = replace(RECIPE, feature_dropout=0, dropout=0, caution=0)
    plain, cautious = Network(still), Network(replace(still, caution=0.5))
    assert plain.loss(batch) != cautious.loss(batch)
    with torch.no_grad():
        plain.weights["bias_out"][FIRST] += 0.5
    assert plain.loss(batch).item() == pytest.approx(cautious.loss(batch).item())


def tokens(texts: list[str]) -> Tokens:
    """The tokens of texts; of those that the rules take for places only, as if they were blank."""
    blank = read("x")
    assert blank is not None
    return tokens_of([read(text) or blank._replace(text="", pieces=[], chosen=[]) for text in texts])


# The tagger in the package.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Sorbonne Université, Inserm, Unité de recherche, Paris", {"Sorbonne Université", "Inserm"}),
        (
            "Brigham and Women's Hospital, Harvard Medical School, Boston",
            {"Brigham and Women's Hospital", "Harvard Medical School"},
        ),
    ],
)
def test_the_tagger_in_the_package_finds_partners(text: str, expected: set[str]) -> None:
    assert expected <= set(organizations(text))
    assert not expected <= set(organizations(text, "rules"))


def test_parsing_needs_no_torch() -> None:
    code = (
        "import sys; from pipeline.parsing import parse_text;"
        " parse_text('CNRS, University of Porto, Portugal'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is missing; `affil train parser`"),
        (b"nonsense", "is damaged"),
        ("other", "is no parser of the kind"),
    ],
)
def test_a_model_that_cannot_be_read_is_refused(
    tmp_path: Path, content: bytes | str | None, message: str
) -> None:
    from safetensors.numpy import save

    if content is not None:
        data = save({"x": np.zeros(1)}) if content == "other" else content
        (tmp_path / WEIGHTS_FILE).write_bytes(data)
    with pytest.raises(UsageError, match=message):
        parse_text("University of Porto", ParsingSettings(model=str(tmp_path)))


WORDS = [
    "CNRS",
    "Inserm",
    "University of Porto",
    "Dept. of Law",
    ",",
    ";",
    "Lyon",
    "France",
    "(KIT)",
    "清华大学",
]
TEXTS = st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join)


@settings(deadline=None)
@given(st.lists(TEXTS | st.text(max_size=60), max_size=8))
def test_spans_are_tokens_in_order_whatever_stands_beside_the_text(texts: list[str]) -> None:
    tagger, own = Tagger.load(), tokens(texts)
    found = tagger.spans(own)
    assert len(found) == len(texts)
    for n, spans in enumerate(found):
        starts, ends = {s for s, _ in own.spans(n)}, {e for _, e in own.spans(n)}
        assert all(s in starts and e in ends and s < e for s, e in spans)
        assert all(a[1] <= b[0] for a, b in pairwise(spans))
    assert tagger.spans(tokens(texts[::-1]))[::-1] == found
    assert [tagger.spans(tokens([t]))[0] for t in texts] == found


@settings(deadline=None)
@given(TEXTS | st.text(max_size=80))
def test_every_token_stands_where_it_is_written(text: str) -> None:
    found = tokens([text, text])
    assert found.spans(0) == found.spans(1)
    assert found.n_tokens.sum() == len(found.word) == len(found.segment) == len(found.name)
    assert [text[s:e] for s, e in found.spans(0)] == [found.words[w] for w in found.word[: found.first[1]]]
    rest = "".join(text[a[1] : b[0]] for a, b in pairwise(found.spans(0)))
    assert not rest.strip()


def test_the_best_tags_are_those_of_a_search_through_all() -> None:
    random = np.random.default_rng(0)
    between, start = allowed()
    between = between + random.normal(size=between.shape).astype(np.float32)
    logits = random.normal(size=(6, 4, len(TAGS))).astype(np.float32)
    counts = np.array([4, 3, 4, 1, 2, 4])
    found = best_tags(logits, counts, between, start)
    for row, n in enumerate(counts.tolist()):
        ways = product(range(len(TAGS)), repeat=n)

        def value(way: tuple[int, ...], row: int = row) -> float:
            steps = sum(between[a, b] for a, b in pairwise(way))
            return float(start[way[0]] + logits[row, range(len(way)), way].sum() + steps)

        assert tuple(found[row, :n].tolist()) == max(ways, key=value)


# What is learned from.


def test_names_are_found_where_they_stand() -> None:
    text = "Dept., Univ. of Oxford, ICE and ice, University of Oxford Press"
    names = [Name(("university", "of", "oxford"), False), Name(("ice",), True), Name(("oxford",), False)]
    assert [text[a:b] for a, b in align(text, names)] == ["Univ. of Oxford", "ICE", "University of Oxford"]
    assert align(text, []) == align("", names) == []


def test_quality_counts_by_hand() -> None:
    text = "A Institute, B Hospital, C"
    several = Example(text, 2, (((0, 11),), ((13, 23),)))
    partly = Example(text, 2, (((0, 11),),))
    found = span_quality(
        [several, several, partly],
        [["The A Institute", "B Hospital"], ["A Institute", "C", "D"], ["A Institute"]],
    )
    assert (found.n_strings, found.n_exact, found.n_aligned) == (3, 1, 2)
    assert (found.n_found, found.n_right, found.n_gold, found.n_hit) == (5, 3, 4, 3)
    assert found.precision == 0.6
    assert found.recall == 0.75
    assert span_quality([], []).f1 == 0


def tagged(text: str, names: list[str], n: int, is_complete: bool = True) -> dict[str, int]:
    spans = tuple(((text.index(name), text.index(name) + len(name)),) for name in names)
    reading = read(text)
    assert reading is not None
    return by_word(text, tags_of(Example(text, n, spans), reading, spans_of(reading), is_complete).tolist())


def spans_of(reading: Reading) -> list[tuple[int, int]]:
    return tokens_of([reading]).spans(0)


def by_word(text: str, values: list[int]) -> dict[str, int]:
    """The words of a text to what is known of each, the last time where one stands twice."""
    reading = read(text)
    assert reading is not None
    return dict(zip((text[a:b] for a, b in spans_of(reading)), values, strict=True))


def test_tags_tell_what_the_labels_tell() -> None:
    text = "Faculty of Law, CNRS, University of Porto, Portugal"
    found = tagged(text, ["University of Porto"], 1)
    assert (found["University"], found["Porto"]) == (FIRST, INSIDE)
    assert found["CNRS"] not in (FIRST, INSIDE, UNKNOWN)
    assert TAGS[found["Faculty"]] == "unit"
    assert TAGS[found["Portugal"]] == "place"
    # A label that is not found by name is the one other organisation that the rules see.
    assert tagged(text, ["University of Porto"], 2)["CNRS"] == FIRST
    # With one label a string, another organisation may or may not be one.
    assert tagged(text, ["University of Porto"], 1, is_complete=False)["CNRS"] == UNKNOWN
    # More labels than the rules see organisations: nothing is known of the rest.
    assert tagged(text, ["University of Porto"], 4)["CNRS"] == UNKNOWN


def test_what_was_set_aside_by_organisation_is_not_taken_for_none() -> None:
    text = "Faculty of Law, Zarquon Trust, University of Porto, Portugal"
    names = {
        "u": [Name(("university", "of", "porto"), False)],
        "z": [Name(("zarquon", "trust"), False), Name(("law",), False)],
        "other": [Name(("law",), False)],
    }
    sure, unsure = HeldNames(names, ["z"]).spans(text)
    assert [text[a:b] for a, b in sure] == ["Zarquon Trust"]
    assert [text[a:b] for a, b in unsure] == ["Law"]
    reading = read(text)
    assert reading is not None
    at = text.index("University")
    spans = (((at, at + len("University of Porto")),),)
    found = {}
    for held in ((), tuple(sure)):
        tags = tags_of(Example(text, 1, spans, held=held), reading, spans_of(reading), True)
        found[bool(held)] = by_word(text, tags.tolist())
    assert found[False]["Zarquon"] not in (FIRST, INSIDE)
    assert (found[True]["Zarquon"], found[True]["Trust"]) == (FIRST, INSIDE)


def test_a_label_that_the_registry_lacks_is_a_known_name_beside_the_others() -> None:
    text = "Faculty of Law, Zarquon Trust, ZQNX, University of Porto, Portugal"
    names = {
        "porto": [Name(("university", "of", "porto"), False)],
        "zarquon": [Name(("zarquon", "trust"), False), Name(("law",), False)],
        "zqnx": [Name(("zqnx",), True)],
    }
    at = text.index("University")
    porto = ((at, at + len("University of Porto")),)

    def named(n: int, names: dict[str, list[Name]], *lacking: tuple[Name, ...]) -> list[str]:
        (found,) = with_known_names([Example(text, n, (porto,), lacking)], names)
        assert found.n_labels == n and found.spans[0] == porto
        assert len(found.spans) + len(found.lacking) == n
        return [text[a:b] for own in found.spans[1:] for a, b in own]

    assert named(3, names, (), ()) == ["Zarquon Trust", "ZQNX"]
    # One of the two is no label's, and nothing tells which.
    assert named(2, names, ()) == []
    # What the registry holds is called otherwise; the other label is found.
    called = tuple(names["zqnx"])
    assert named(3, {"zarquon": names["zarquon"]}, called, ()) == ["Zarquon Trust"]
    assert named(2, names, called) == []


def test_texts_without_commas_teach_the_same_tags() -> None:
    text = "Faculty of Law, CNRS, University of Porto, Portugal"
    spans = tuple(((text.index(n), text.index(n) + len(n)),) for n in ("CNRS", "University of Porto"))
    found = [Example(text, 2, spans), Example("University of Porto", 1, (((0, 19),),))]
    with_marks, one, bare = lessons_of(found, 1 << RECIPE.bucket_bits, True, np.array([True, True]))
    (own,) = lessons_of(found[:1], 1 << RECIPE.bucket_bits, True)
    assert own.tags.tolist() == with_marks.tags.tolist()
    # The second has no comma to lose.
    assert len(one.tags) == 3
    is_word = [w not in ",;" for w in re.findall(r"\w+|,", text)]
    assert bare.tags.tolist() == with_marks.tags[is_word].tolist()
    assert len(bare.starts) == sum(is_word)


def test_a_label_is_looked_for_by_what_is_spelt_like_it() -> None:
    text = "Faculty of Law, CNRS, Porto University, Portugal"
    reading = read(text)
    assert reading is not None
    example = Example(text, 1, (), ((Name(("universidade", "do", "porto"), False),),))
    tags = by_word(text, tags_of(example, reading, spans_of(reading), True).tolist())
    assert (tags["Porto"], tags["University"]) == (FIRST, INSIDE)
    assert tags["CNRS"] not in (FIRST, INSIDE, UNKNOWN)


def test_other_names_of_the_country_and_class_take_the_place_of_labelled_ones() -> None:
    text = "Faculty of Law, CNRS, University of Porto, Porto, Portugal"
    records = [
        {"names": [{"value": name}], "locations": [{"country_code": country}]}
        for name, country in (
            ("University of Lisbon", "PT"),
            ("Lisbon Hospital", "PT"),
            ("University of Vigo", "ES"),
        )
    ]
    at = text.index("University")
    example = Example(text, 2, (((at, at + 19),), ((16, 20),)), held=((0, 14),))
    copies = swapped([example], SpareNames(records), np.random.default_rng(0), 3)
    assert {c.text for c in copies} == {"Faculty of Law, CNRS, University of Lisbon, Porto, Portugal"}
    shown = [c.text[a:b] for c in copies[:1] for own in (*c.spans, c.held) for a, b in own]
    assert shown == ["University of Lisbon", "CNRS", "Faculty of Law"]
    # A label that is named twice: its other name would be another's.
    twice = Example(text, 1, (((at, at + 19), (44, 49)),))
    assert swapped([twice], SpareNames(records), np.random.default_rng(0), 3) == []


def test_known_names_are_marked_where_they_stand() -> None:
    readings = [
        read(t) for t in ("Laboratoire Zarquon, Université de Lille, CNRS, IRSTEA, France", "Zarquon", "")
    ]
    found = tokens_of([r for r in readings if r])
    said = [(found.words[w], NAMES[n]) for w, n in zip(found.word, found.name, strict=True)]
    names = {w: key for w, key in said[: found.first[1]] if key}
    assert (names["Université"][0], names["Lille"][0], names["CNRS"][0]) == ("run", "run", "run")
    assert names["Université"][4:] == ("here", True, False)
    assert names["Lille"][4:] == ("here", False, True)
    assert names["IRSTEA"][-1] == "here"
    assert names["IRSTEA"][:2] == ("one", True)
    assert "Zarquon" not in names
    assert said[found.first[1] :] == [("Zarquon", ())]
    marks = NameMarks.load()
    assert marks.is_known("Université de Lille")
    assert not marks.is_known("Zarquon of Nowhere")
    assert not marks.is_known("")
