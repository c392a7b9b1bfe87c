"""Training on a handful of made-up organisations; needs PyTorch."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from blocking import load_encoder
from pipeline.cli import main
from pipeline.errors import UsageError
from pipeline.training.batches import Batches, Shares
from pipeline.training.encoder import train_encoder
from pipeline.training.encoder_recipe import EncoderRecipe
from pipeline.training.loop import CHECKPOINT
from pipeline.training.recall import Lookout
from pipeline.training.renderings import (
    LabelledTexts,
    organizations,
    read_left_out,
    read_registry,
    render,
)

pytest.importorskip("torch")

RECIPE = EncoderRecipe(
    bucket_bits=10,
    gram_lengths=(3, 4),
    dimensions=16,
    nested_dimensions=(16, 8),
    batch_size=16,
    n_contexts=2,
    n_steps=40,
    n_warmup_steps=2,
    steps_per_look=10,
    patience=9,
    learning_rate=0.02,
)
CITIES = "Oxford Leeds Lyon Graz Porto Ghent Turin Bonn Basel Delft Vilnius Malmö Krakow Seville".split()  # noqa: SIM905
TEXTS = ["university of oxford", "oxford university uk", "université de lyon"]


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    lines = ["affiliation\tcluster\tfold"]
    for number, city in enumerate(CITIES):
        fold = ("train", "train", "train", "tune", "test")[number % 5]
        forms = ("University of {}", "{} University, Dept. of Physics", "Univ. {}, Faculty of Law")
        lines += [f"{form.format(city)}\tu{number}\t{fold}" for form in forms]
    path = tmp_path / "labels.tsv"
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")
    return path


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    def record(number: int, names: list[str], status: str = "active") -> dict[str, object]:
        named = [{"value": name, "types": ["label"], "lang": None} for name in names]
        named.append({"value": f"AC{number}", "types": ["acronym"], "lang": None})
        place = {"city": CITIES[number % 14], "country": "France", "country_code": "FR"}
        return {"id": f"https://ror.org/r{number}", "names": named, "locations": [place], "status": status}

    records = [
        record(1, ["Institut Pasteur", "Pasteur Institute"]),
        record(2, ["Музей истории"]),
        record(3, ["Hidden Institute", "Unseen Institute"]),
        record(4, ["Gone Institute"], "withdrawn"),
    ]
    path = tmp_path / "registry.jsonl"
    path.write_text("\n".join(map(json.dumps, records)) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def left_out(tmp_path: Path) -> Path:
    path = tmp_path / "folds.tsv"
    path.write_text("ror_id\tfold\nr1\ttrain\nr3\tnames-test\n", encoding="utf-8")
    return path


def test_the_loss_falls_and_what_is_written_is_an_encoder(
    labels: Path, registry: Path, left_out: Path, tmp_path: Path
) -> None:
    lines = list(train_encoder(labels, tmp_path / "model", registry, left_out, RECIPE))
    losses = [float(found[1]) for line in lines if (found := re.search(r"loss ([\d.]+)", line))]
    assert len(losses) == 4
    assert losses[-1] < losses[0] / 2
    encoder = load_encoder(str(tmp_path / "model"))
    assert (encoder.name, encoder.dimensions) == ("built-in", 16)
    a, b, c = encoder.encode(TEXTS)
    assert a @ b > a @ c
    assert not (tmp_path / "model" / CHECKPOINT).exists()


def test_a_run_that_was_stopped_goes_on_to_the_same_encoder(labels: Path, tmp_path: Path) -> None:
    list(train_encoder(labels, tmp_path / "whole", recipe=RECIPE))
    for line in train_encoder(labels, tmp_path / "stopped", recipe=RECIPE):
        if line.startswith("step 20"):
            break
    assert (tmp_path / "stopped" / CHECKPOINT).is_file()
    lines = list(train_encoder(labels, tmp_path / "stopped", recipe=RECIPE))
    assert "resumed at step 20" in lines
    whole, stopped = (load_encoder(str(tmp_path / name)) for name in ("whole", "stopped"))
    np.testing.assert_allclose(stopped.encode(TEXTS), whole.encode(TEXTS), atol=1e-5)


def test_the_checkpoint_of_another_recipe_is_refused(labels: Path, tmp_path: Path) -> None:
    for line in train_encoder(labels, tmp_path, recipe=RECIPE):
        if line.startswith("step 10"):
            break
    with pytest.raises(UsageError, match="of another recipe"):
        list(train_encoder(labels, tmp_path, recipe=replace(RECIPE, seed=1)))
    (tmp_path / CHECKPOINT).write_bytes(b"nonsense")
    with pytest.raises(UsageError, match="is damaged"):
        list(train_encoder(labels, tmp_path, recipe=RECIPE))


def test_the_command_trains_by_a_recipe_file(labels: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        "bucket_bits = 9\ndimensions = 8\nnested_dimensions = [8]\n"
        "batch_size = 8\nn_steps = 2\nsteps_per_look = 1\n"
    )
    options = [
        "--labels",
        str(labels),
        "--output",
        str(tmp_path / "m"),
        "--recipe",
        str(recipe),
        "--seed",
        "3",
    ]
    done = CliRunner().invoke(main, ["train", "encoder", *options])
    assert done.exit_code == 0, done.output
    assert "step 2: loss" in done.output
    assert load_encoder(str(tmp_path / "m")).dimensions == 8


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bucketbits = 9\n", "did you mean 'bucket_bits'"),
        ("dimensions = 8\n", "nested_dimensions must lie in 1 … 8, got \\[256, 128, 64\\]"),
        ("batch_size = 1\n", "batch_size must be 2 or more"),
        ("dropout = 1.0\n", "dropout must lie in"),
        ("temperature = 0.0\n", "temperature must be above 0"),
        ("x = [\n", "not valid TOML"),
    ],
)
def test_what_is_wrong_with_a_recipe_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        EncoderRecipe.read(path)


def test_the_recipe_in_the_package_can_be_read() -> None:
    assert EncoderRecipe.read().nested_dimensions == (256, 128, 64)
    with pytest.raises(UsageError, match="no such recipe"):
        EncoderRecipe.read(Path("none.toml"))


def test_names_of_records_that_are_left_out_are_not_read(registry: Path, left_out: Path) -> None:
    labelled = LabelledTexts(
        ["r1", "r1"], ["pasteur paris", "pasteur"], ["pasteur paris", "pasteur"], ["a", "b"], ["", ""]
    )
    found = {o.label: o for o in organizations(labelled, registry, read_left_out(left_out))}
    assert set(found) == {"r1", "r2"}
    assert found["r1"].names == ("institut pasteur", "pasteur institute")
    assert found["r1"].texts == ("pasteur paris", "a", "pasteur", "b")
    assert found["r2"].texts == ()
    assert found["r2"].country_code == "FR"


def test_renderings_of_an_organisation_lie_together_and_differ(registry: Path) -> None:
    found = organizations(LabelledTexts([], [], [], [], []), registry)
    rendered = render(found, ["department of law"], n_contexts=5, seed=1)
    assert rendered.starts[0] == 0
    assert rendered.starts[-1] == len(rendered.text)
    for start, end in zip(rendered.starts, rendered.starts[1:], strict=False):
        own = rendered.text[start:end]
        assert len(set(own)) == len(own) >= 2
    assert any("department of law" in text for text in rendered.text)
    assert rendered.text == render(found, ["department of law"], n_contexts=5, seed=1).text
    assert rendered.text != render(found, ["department of law"], n_contexts=5, seed=2).text


def test_a_batch_pairs_two_renderings_of_distinct_organisations(registry: Path) -> None:
    rendered = render(organizations(LabelledTexts([], [], [], [], []), registry), [], n_contexts=6)
    batches = Batches(rendered, 3, Shares(labelled=0.5, one_country=0.5, alike=0.5))
    batches.see(np.eye(len(rendered.country), 4, dtype=np.float32))
    owner = np.repeat(np.arange(len(rendered.country)), np.diff(rendered.starts))
    for seed in range(20):
        left, right = batches.draw(np.random.default_rng(seed))
        assert np.all(owner[left] == owner[right])
        assert np.all(left != right)
        assert len(set(owner[left].tolist())) == len(left) == 3


@pytest.mark.parametrize("line", ["{", "[]", '{"id": "x"}'])
def test_a_line_that_is_no_record_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "registry.jsonl"
    path.write_text(f"{line}\n")
    with pytest.raises(UsageError, match="line 1: not a registry record"):
        list(read_registry(path))


class _Letters:
    """Texts as counts of two letters: what is near is known."""

    name, dimensions = "letters", 2

    def encode(self, texts: list[str], *, on_progress: object = None) -> np.ndarray:
        found = np.array([[t.count("a") + 1e-3, t.count("b") + 1e-3] for t in texts], np.float32)
        return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_recall_is_the_mean_share_of_fellows_among_the_nearest() -> None:
    encoder = _Letters()
    near = Lookout.of(["aaa", "aaaa", "bbb", "bbbb"], list("xxyy"), n_neighbours=1)
    assert near.recall(encoder) == 1.0
    far = Lookout.of(["aaa", "bbb", "aaaa", "bbbb"], list("xxyy"), n_neighbours=1)
    assert far.recall(encoder) == 0.0
    assert Lookout.of(["aaa", "bbb"], list("xy")).recall(encoder) == 1.0
    hidden = Lookout.of(["aaab", "aaabb"], list("xx"), others=["aaab aaab"], n_neighbours=1)
    assert hidden.recall(encoder) == 0.5
    assert Lookout.of(["aaa"], ["x"]).recall(encoder) == 1.0
    alone = Lookout.of(["aaa", "aaaa", "bbb"], list("xxy"), n_neighbours=1)
    np.testing.assert_array_equal(alone.shares(encoder), [1.0, 1.0, np.nan])
