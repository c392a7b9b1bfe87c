"""Training the reranker on a handful of made-up organisations; needs PyTorch."""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.errors import UsageError
from pipeline.scoring import ScoringSettings, WordPairReranker, load_rescorer
from pipeline.scoring.word_pair_model import WEIGHTS_FILE
from pipeline.text import compare
from pipeline.training.labelled_pairs import MinedPairs
from pipeline.training.labels import is_held_out, read_folds
from pipeline.training.loop import CHECKPOINT
from pipeline.training.reranker import (
    RerankerRecipe,
    Unseen,
    fit_combination,
    train_reranker,
)

pytest.importorskip("torch")

CITIES = (
    *("Oxford", "Leeds", "Lyon", "Graz", "Porto", "Ghent", "Turin", "Bonn", "Basel", "Delft", "Vilnius"),
    *("Malmö", "Krakow", "Seville", "Zagreb", "Riga", "Tartu", "Lund", "Bergen", "Aarhus", "Geneva"),
    *("Padua", "Siena", "Parma", "Kiel", "Jena", "Leiden", "Nantes", "Tours", "Rouen"),
)
FORMS = ("University of {}", "{} University, Dept. of Physics", "Univ. {}, Faculty of Law", "{} Hospital")
RECIPE = RerankerRecipe(
    n_channels=8, n_layers=1, n_heads=2, n_hidden=8, word_bits=9, word_dimensions=8, n_word_steps=3,
    batch_size=16, n_steps=40, steps_per_look=10, patience=9, n_warmup_steps=2, learning_rate=0.02,
    averaging=0.5,
)  # fmt: skip


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    lines = ["affiliation\tcluster\tfold"]
    for number, city in enumerate(CITIES):
        fold = ("train", "train", "train", "tune", "test")[number % 5]
        for form in FORMS:
            kind = "h" if "Hospital" in form else "u"
            lines.append(f"{form.format(city)}\t{kind}{number}\t{fold}")
    path = tmp_path / "labels.tsv"
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")
    return path


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    records = [
        {
            "id": f"https://ror.org/r{n}",
            "names": [{"value": f"{kind} of {city}", "types": ["label"]} for kind in ("College", "School")],
        }
        for n, city in enumerate(CITIES)
    ]
    path = tmp_path / "registry.jsonl"
    path.write_text("\n".join(map(json.dumps, records)) + "\n", encoding="utf-8")
    return path


def test_it_learns_and_what_is_written_is_a_reranker(labels: Path, registry: Path, tmp_path: Path) -> None:
    lines = list(train_reranker(labels, tmp_path / "m", registry, recipe=RECIPE, device="cpu"))
    losses = [float(x[1]) for line in lines if (x := re.match(r"step \d+: loss ([\d.]+), held out", line))]
    assert len(losses) == 4 and losses[-1] < losses[0]
    found = load_rescorer(ScoringSettings(reranker=str(tmp_path / "m")))
    assert isinstance(found, WordPairReranker) and found.combination is not None
    assert not (tmp_path / "m" / CHECKPOINT).exists()
    pairs = MinedPairs.of(read_folds(labels)["tune"])
    logit = found.rescore(pairs.features, pairs.left, pairs.right)
    shown = next(line for line in lines if line.startswith("tune, both"))
    unseen = Unseen.of({"tune": pairs})
    combined = unseen.combined("tune", found.combination, logit[unseen.doubtful["tune"]])
    assert pairs.quality(combined) in shown
    assert (pairs.judged(logit).average_precision or 0) > pairs.is_match.mean() + 0.1


def test_a_run_that_was_stopped_goes_on_to_the_same_file(
    labels: Path, registry: Path, tmp_path: Path
) -> None:
    for name in ("whole", "again"):
        list(train_reranker(labels, tmp_path / name, registry, recipe=RECIPE, device="cpu"))
    for line in train_reranker(labels, tmp_path / "stopped", registry, recipe=RECIPE, device="cpu"):
        if line.startswith("step 20:"):
            break
    assert (tmp_path / "stopped" / CHECKPOINT).is_file()
    lines = list(train_reranker(labels, tmp_path / "stopped", registry, recipe=RECIPE, device="cpu"))
    assert "resumed at step 20" in lines
    for name in (WEIGHTS_FILE, "config.json", f"words/{WEIGHTS_FILE}"):
        whole, again, stopped = ((tmp_path / n / name).read_bytes() for n in ("whole", "again", "stopped"))
        assert whole == again == stopped


def test_the_checkpoint_of_another_recipe_is_refused(labels: Path, registry: Path, tmp_path: Path) -> None:
    for line in train_reranker(labels, tmp_path / "m", registry, recipe=RECIPE, device="cpu"):
        if line.startswith("step 10:"):
            break
    other = replace(RECIPE, seed=1)
    with pytest.raises(UsageError, match="of another recipe"):
        list(train_reranker(labels, tmp_path / "m", registry, recipe=other, device="cpu"))


def test_training_goes_on_from_a_reranker_with_ones_own_strings(
    labels: Path, registry: Path, tmp_path: Path
) -> None:
    list(train_reranker(labels, tmp_path / "a", registry, recipe=RECIPE, device="cpu"))
    own = tmp_path / "own.csv"
    rows = [line.split("\t")[:2] for line in labels.read_text(encoding="utf-8").splitlines()]
    own.write_text("\n".join(f'"{a}",{b}' if i else f"{a},{b}" for i, (a, b) in enumerate(rows)) + "\n")
    few = replace(RECIPE, n_steps=10)
    lines = list(train_reranker(own, tmp_path / "b", recipe=few, start=tmp_path / "a", device="cpu"))
    first = next(line for line in lines if line.startswith("step 0"))
    assert float(first.split("average precision ")[2][:6]) > 0.5
    a, b = (WordPairReranker.load(tmp_path / n) for n in "ab")
    assert np.array_equal(a.standard.mean, b.standard.mean)
    assert np.array_equal(a.words.of(["oxford"]), b.words.of(["oxford"]))
    with pytest.raises(UsageError, match="another size"):
        wide = replace(few, n_channels=4)
        list(train_reranker(own, tmp_path / "c", recipe=wide, start=tmp_path / "a", device="cpu"))
    with pytest.raises(UsageError, match="leave the registry out"):
        list(train_reranker(own, tmp_path / "d", registry, recipe=few, start=tmp_path / "a", device="cpu"))


def test_what_is_held_out_is_a_part_of_the_clusters() -> None:
    shares = np.mean([is_held_out(f"c{n}") for n in range(2000)])
    assert 0.17 < shares < 0.23


def test_the_combination_is_the_one_that_made_the_truth() -> None:
    random = np.random.default_rng(0)
    a, b = random.normal(0, 3, (2, 50_000))
    truth = random.random(50_000) < 1 / (1 + np.exp(-(0.4 * a + 0.9 * b - 0.5)))
    found = fit_combination(a, b, truth.astype(float))
    assert [found.features, found.reranker, found.intercept] == pytest.approx([0.4, 0.9, -0.5], abs=0.05)


def test_too_little_to_learn_from_is_refused(registry: Path, tmp_path: Path) -> None:
    few = tmp_path / "few.csv"
    few.write_text("affiliation,cluster,fold\nUniversity of Oxford,a,train\nUniversity of Leeds,b,tune\n")
    with pytest.raises(UsageError, match=r"few\.csv.*part"):
        list(train_reranker(few, tmp_path / "m", registry, recipe=RECIPE, device="cpu"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_steps": 0}, "n_steps must be 1 or more"),
        ({"dropout": 1.0}, "dropout must lie in"),
        ({"doubtful_share": 1.5}, "doubtful_share must lie in"),
        ({"n_heads": 3}, "n_heads must divide n_channels"),
    ],
)
def test_bad_recipes_are_refused(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        RerankerRecipe(**wrong)


def test_the_recipe_in_the_package_says_everything_but_threads_and_seed() -> None:
    path = Path(__file__).parents[2] / "pipeline" / "training" / "recipes" / "reranker.toml"
    named = set(re.findall(r"(?m)^(\w+) =", path.read_text(encoding="utf-8")))
    assert named == {f.name for f in fields(RerankerRecipe)} - {"n_threads", "seed"}
    assert RerankerRecipe.read() == RerankerRecipe.read(path)


def test_the_command_trains_by_a_recipe_file(labels: Path, registry: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        "n_channels = 4\nn_layers = 1\nn_heads = 1\nn_hidden = 4\nword_bits = 8\nword_dimensions = 4\n"
        "n_word_steps = 1\nbatch_size = 8\nn_steps = 2\nsteps_per_look = 1\n"
    )
    options = ["--labels", labels, "--registry", registry, "--output", tmp_path / "m", "--recipe", recipe]
    done = CliRunner().invoke(
        main, ["train", "reranker", *map(str, options), "--seed", "3", "--device", "cpu"]
    )
    assert done.exit_code == 0, done.output
    assert "step 2: loss" in done.output and "tune, both: average precision" in done.output
    assert WordPairReranker.load(tmp_path / "m").model.shape.n_channels == 4


def test_what_people_judged_moves_pairs_as_they_said(labels: Path, registry: Path, tmp_path: Path) -> None:
    """Beside the same labels, from the same weights: other names that labels alone would join, or part."""
    held = next(a for a, _ in read_folds(labels)["tune"])
    same = [(f"University of {c}", f"Zarquon Kolleg {c}", "same") for c in CITIES if c not in held]
    two = [(f"University of {c}", f"University of New {c}", "different") for c in CITIES if c not in held]
    said = tmp_path / "said.csv"
    rows = ["left,right,verdict", *(",".join(row) for row in (*same, *two)), f"{held},Elsewhere,same"]
    said.write_text("\n".join(rows) + "\n", encoding="utf-8")
    recipe = replace(RECIPE, n_steps=120, patience=20)
    lines = {}
    for name, judgements in (("without", None), ("with", said)):
        trained = train_reranker(
            labels, tmp_path / name, registry, recipe=recipe, judgements=judgements, device="cpu"
        )
        lines[name] = list(trained)
    assert any(line.startswith("judged: ") and "held-out strings" in line for line in lines["with"])
    assert not any(line.startswith("judged: ") for line in lines["without"])
    logit = {}
    new = [(f"University of {c}", f"Zarquon Kolleg {c}") for c in ("Varna", "Tomar", "Visby")]
    new += [(f"University of {c}", f"University of New {c}") for c in ("Varna", "Tomar", "Visby")]
    forms = MinedPairs.of([(text, str(n)) for n, text in enumerate(dict.fromkeys(sum(new, ())))])
    number = {text: n for n, text in enumerate(forms.features.forms.context)}
    left, right = (np.array([number[compare(pair[side])] for pair in new]) for side in (0, 1))
    for name in ("without", "with"):
        logit[name] = WordPairReranker.load(tmp_path / name).rescore(forms.features, left, right)
    moved = logit["with"] - logit["without"]
    assert moved[:3].min() > 0.1
    assert moved[3:].max() < -0.1
