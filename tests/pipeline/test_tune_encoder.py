"""Fine-tuning an encoder: on a corpus of its own, from the one in the package; needs PyTorch."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from blocking.ngram_bag import BagFeatures, NgramBagEncoder
from pipeline.cli import main
from pipeline.training.encoder import train_encoder
from pipeline.training.encoder_recipe import TuningRecipe, encoder_recipe
from pipeline.training.labels import fold_of_cluster, read_folds

pytest.importorskip("torch")

BUILT_IN = Path(str(files("pipeline"))) / "models" / "encoder"
PLACES = (
    *("Oslo", "Bergen", "Aarhus", "Uppsala", "Lund", "Turku", "Tampere", "Vilnius", "Riga", "Tartu"),
    *("Gdansk", "Poznan", "Krakow", "Brno", "Graz", "Linz", "Bern", "Basel", "Lausanne", "Lyon"),
    *("Grenoble", "Nantes", "Toulouse", "Bologna", "Padua", "Turin", "Pisa", "Seville", "Granada", "Porto"),
)
#: Words of a house that sends its invoices with them: what a string is of, they never say.
HOUSE = ("Kostenstelle {} Bereich", "Beleg Buchung {}", "Rechnungsstelle Haus {}", "Lieferant Kreditor {}")
KINDS = ("University of {}", "{} Museum of Art", "{} Institute of Technology")
#: Texts that are of no place and of no house above.
UNRELATED = (
    *("harvard medical school boston usa", "indian institute of science bangalore", "清华大学 北京"),
    *("max planck institute for plasma physics", "hospital das clinicas sao paulo", "mcgill university"),
    *("московский государственный университет", "nasa goddard space flight center greenbelt md"),
    *("queensland health brisbane", "university of cape town south africa", "keio university tokyo"),
)


def house_rows() -> list[tuple[str, str]]:
    """(string, cluster): four strings of each institution, each with words of the house."""
    return [
        (f"{HOUSE[(i + n) % 4].format(17 * i + n)} {kind.format(place)}", f"{kind.format(place)}")
        for i, (place, kind) in enumerate((p, k) for p in PLACES for k in KINDS)
        for n in range(4)
    ]


def write(path: Path, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["train", "encoder", *map(str, arguments)])


@dataclass(frozen=True)
class Tuned:
    labels: Path
    folder: Path
    output: str


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    folder = tmp_path_factory.mktemp("tuned")
    labels = write(folder / "own.csv", ("affiliation", "cluster"), house_rows())
    done = call("--from", "built-in", "--labels", labels, "--output", folder / "model")
    assert done.exit_code == 0, done.output
    return Tuned(labels, folder / "model", done.output)


def built_in() -> NgramBagEncoder:
    return NgramBagEncoder.load(BUILT_IN)


def test_the_loss_falls_and_what_is_held_out_is_found_better(tuned: Tuned) -> None:
    losses = [float(x) for x in re.findall(r"loss ([\d.]+)", tuned.output)]
    recalls = [float(x) for x in re.findall(r"recall@5 ([\d.]+)", tuned.output)]
    assert losses[-1] < losses[0] * 0.7
    # The words of the house are those of other institutions too: that they say nothing can be learnt.
    assert max(recalls) > recalls[0] + 0.1


def test_features_and_dimensions_stay_and_the_name_is_its_own(tuned: Tuned) -> None:
    before, after = built_in(), NgramBagEncoder.load(tuned.folder)
    assert (after.features, after.dimensions) == (before.features, before.dimensions)
    assert re.fullmatch(r"built-in fine-tuned [0-9a-f]{8}", after.name)


def test_vectors_of_unrelated_texts_hardly_move(tuned: Tuned) -> None:
    before, after = built_in(), NgramBagEncoder.load(tuned.folder)
    cosine = (before.encode(UNRELATED) * after.encode(UNRELATED)).sum(axis=1)
    assert cosine.min() > 0.98
    own = [string.lower() for string, _ in house_rows()[:40]]
    assert (before.encode(own) * after.encode(own)).sum(axis=1).mean() < cosine.min()


def test_held_out_clusters_are_never_trained_on(tuned: Tuned, tmp_path: Path) -> None:
    """With other labels within what is held out, the steps are the same."""
    held = {c for _, c in read_folds(tuned.labels)["tune"]}
    assert 5 < len(held) < 45
    rows = [(a, f"{c}{len(a) % 2}" if c in held else c) for a, c in house_rows()]
    folds = [(a, c, "tune" if c.rstrip("01") in held else "train") for a, c in rows]
    labels = write(tmp_path / "own.csv", ("affiliation", "cluster", "fold"), folds)
    done = call("--from", "built-in", "--labels", labels, "--output", tmp_path / "model")
    assert done.exit_code == 0, done.output
    both = [re.findall(r"loss ([\d.]+)", output) for output in (tuned.output, done.output)]
    n = min(map(len, both))
    assert n
    assert both[0][:n] == both[1][:n]


def small(folder: Path) -> Path:
    """An encoder of sixteen dimensions, untrained."""
    features = BagFeatures(bucket_bits=10, gram_lengths=(3, 4), is_transliterated=False)
    table = np.random.default_rng(0).standard_normal((1 << 10, 16), dtype=np.float32)
    NgramBagEncoder(table, features, name="own").save(folder)
    return folder


def test_an_encoder_of_another_shape_brings_its_own(tuned: Tuned, tmp_path: Path) -> None:
    start, recipe = small(tmp_path / "small"), tmp_path / "recipe.toml"
    assert encoder_recipe(start=start).nested_dimensions == (16, 8, 4)
    recipe.write_text("n_steps = 20\nn_warmup_steps = 1\nlearning_rate = 0.05\nbucket_bits = 10\n")
    options = ("--labels", tuned.labels, "--recipe", recipe)
    done = call("--from", start, *options, "--output", tmp_path / "once")
    assert done.exit_code == 0, done.output
    once = NgramBagEncoder.load(tmp_path / "once")
    assert (once.features, once.dimensions) == (NgramBagEncoder.load(start).features, 16)
    done = call("--from", tmp_path / "once", *options, "--output", tmp_path / "twice", "--seed", 2)
    assert done.exit_code == 0, done.output
    twice = NgramBagEncoder.load(tmp_path / "twice")
    assert re.fullmatch(r"own fine-tuned [0-9a-f]{8}", twice.name)
    assert (twice.name == once.name) == np.array_equal(twice.table, once.table)
    assert not np.array_equal(NgramBagEncoder.load(start).table, once.table)


def test_until_something_is_better_the_encoder_stays(tuned: Tuned, tmp_path: Path) -> None:
    start = small(tmp_path / "small")
    recipe = TuningRecipe.of(NgramBagEncoder.load(start))
    for line in train_encoder(tuned.labels, tmp_path / "model", recipe=recipe, start=start):
        if line.startswith("step 0"):
            break
    tables = [NgramBagEncoder.load(folder).table for folder in (start, tmp_path / "model")]
    np.testing.assert_allclose(*tables, rtol=1e-6)


def test_what_was_interrupted_goes_on_from_the_same_encoder_alone(tuned: Tuned, tmp_path: Path) -> None:
    for line in train_encoder(tuned.labels, tmp_path / "model", start=BUILT_IN):
        if line.startswith("step 10"):
            break
    output = ("--labels", tuned.labels, "--output", tmp_path / "model")
    other = built_in()
    NgramBagEncoder(-other.table, other.features).save(tmp_path / "other")
    done = call("--from", tmp_path / "other", *output)
    assert done.exit_code == 2
    assert "is of another recipe or start; remove it" in done.output
    done = call("--from", "built-in", *output)
    assert done.exit_code == 0, done.output
    assert "resumed at step 10" in done.output
    whole, resumed = (NgramBagEncoder.load(folder) for folder in (tuned.folder, tmp_path / "model"))
    np.testing.assert_allclose(resumed.encode(UNRELATED), whole.encode(UNRELATED), atol=1e-3)


def test_the_recipe_in_the_package_is_the_default() -> None:
    recipe = encoder_recipe(start=BUILT_IN)
    assert recipe == TuningRecipe()
    assert recipe.nested_dimensions == (256, 128, 64)


def learned(n: int) -> str:
    """A cluster that is not held out: of fold `train` where no column says so."""
    return [f"c{i}" for i in range(40) if fold_of_cluster(f"c{i}") == "train"][n]


HELD = next(f"c{i}" for i in range(40) if fold_of_cluster(f"c{i}") == "tune")


@pytest.mark.parametrize(
    ("rows", "recipe", "start", "message"),
    [
        (None, "dimensions = 64\n", "built-in", "dimensions is 64, but the model to start from has 256"),
        (None, "gram_lengths = [3]\n", "built-in", "gram_lengths is (3,), but the model to start from has"),
        (None, "steps = 3\n", "built-in", "unknown setting"),
        (None, "", "nowhere", "nowhere holds no ngram-bag encoder"),
        (None, "", "OUTPUT", "holds the encoder to start from; write to another folder"),
        ([("Univ A", learned(0)), ("Univ B", learned(1))], "", "built-in", "too few clusters"),
        ([("Univ A", learned(0)), ("Univ B", HELD)], "", "built-in", "no two strings of fold 'tune'"),
        (
            [("Univ A", learned(0)), ("Univ A, Oslo", learned(0)), ("Univ B", HELD), ("Univ B, Bonn", HELD)],
            "",
            "built-in",
            "nothing to learn from",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    rows: list[tuple[str, ...]] | None, recipe: str, start: str, message: str, tmp_path: Path
) -> None:
    labels = write(tmp_path / "own.csv", ("affiliation", "cluster"), rows or house_rows())
    (tmp_path / "recipe.toml").write_text(recipe)
    output = small(tmp_path / "small") if start == "OUTPUT" else tmp_path / "model"
    options = ("--labels", labels, "--recipe", tmp_path / "recipe.toml", "--output", output)
    done = call("--from", output if start == "OUTPUT" else start, *options)
    assert done.exit_code == 2
    assert message in done.output
    assert len(done.output.strip().splitlines()) == 1
    assert not (tmp_path / "model").exists()


def test_what_people_judged_moves_texts_as_they_said(tuned: Tuned, tmp_path: Path) -> None:
    """Beside the same labels: what is one institution comes nearer, what is two goes apart."""
    same = ("Zentrum Nord der Rechnungsstelle", "Clinique du Sud, Lausanne")
    two = ("Ninth Hospital of Zarquon City", "Third Hospital of Zarquon City")
    held = next(a for a, c in house_rows() if fold_of_cluster(c) == "tune")
    rows = [(*same, "same"), (*two, "different"), (held, same[0], "same")]
    said = write(tmp_path / "said.csv", ("left", "right", "verdict"), rows)
    options = ("--labels", tuned.labels, "--judgements", said, "--output", tmp_path / "model")
    done = call("--from", "built-in", *options)
    assert done.exit_code == 0, done.output
    assert "of two; 1 about held-out strings were left out" in done.output
    cosines = []
    for folder in (tuned.folder, tmp_path / "model"):
        encoder = NgramBagEncoder.load(folder)
        both = (encoder.encode([text.lower() for text in pair]) for pair in (same, two))
        cosines.append([float(a @ b) for a, b in both])
    (same_before, two_before), (same_after, two_after) = cosines
    assert same_after > same_before + 0.1
    assert two_after < two_before - 0.1
