"""The recipes of the published models, each on a tiny checkpoint in the published format."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
for library in ("sentence_transformers", "accelerate", "datasets"):
    pytest.importorskip(library)

import published  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from sentence_transformers import SentenceTransformer  # noqa: E402
from sentence_transformers.sentence_transformer.losses import (  # noqa: E402
    TripletDistanceMetric,
    TripletLoss,
)

from blocking.sentence import SentenceSettings, SentenceTransformerEncoder  # noqa: E402
from pipeline.cli import main  # noqa: E402
from pipeline.errors import UsageError  # noqa: E402
from pipeline.scoring import CrossEncoderScorer  # noqa: E402
from pipeline.training import fine_tuning, trainers  # noqa: E402
from pipeline.training.curves import EDGES, Look, Similarities, draw  # noqa: E402
from pipeline.training.examples import Pairs, Triplets, write_examples  # noqa: E402
from pipeline.training.fine_tuning import FineTuned, fine_tune  # noqa: E402
from pipeline.training.labels import Columns  # noqa: E402
from pipeline.training.losses import OneOfAGroup, TripletMargin  # noqa: E402
from pipeline.training.material import read_material  # noqa: E402
from pipeline.training.recipe import RECIPES, Recipe  # noqa: E402
from pipeline.training.starting import start_encoder  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
PLACES = "oxford cambridge stanford california berkeley massachusetts".split()  # noqa: SIM905
FORMS = (
    *("university of {}", "{} university uk", "department of physics {}", "{} college hospital"),
    *("institute of technology {}", "the {} university computer science", "physics {} uk", "hospital of {}"),
)
#: The forms that training does not see.
N_TEST_FORMS = 3
SMALL = {"batch_size": 6, "device_batch_size": 6, "n_warmup_steps": 0, "warmup_share": 0.1, "max_length": 24}


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def triplets(forms: tuple[str, ...]) -> Triplets:
    rows = [
        (forms[a].format(place), forms[b].format(place), forms[b].format(PLACES[(n + 1 + a) % 6]))
        for n, place in enumerate(PLACES)
        for a in range(len(forms))
        for b in range(len(forms))
        if a != b and (n + 1 + a) % 6 != n
    ]
    return Triplets(*([row[side] for row in rows] for side in range(3)))


def hospital_pairs(forms: tuple[str, ...]) -> Pairs:
    """A university's forms are of one thing, its hospital and its college are others."""
    rows = [
        (form.format(place), right.format(place), label)
        for place in PLACES
        for form in forms
        for right, label in (
            *(("{} university technology", 1), ("university of {} uk", 1), ("{} hospital", 0)),
            *(("hospital {} uk", 0), ("{} college", 0)),
        )
    ]
    return Pairs([a for a, _, _ in rows], [b for _, b, _ in rows], [label for _, _, label in rows])


def write_sides(make: Callable[[tuple[str, ...]], Triplets | Pairs], path: Path) -> Path:
    """Rows of fold train, and of fold tune: other ways to write the same universities."""
    columns: dict[str, list[Any]] = {}
    for fold, forms in (("train", FORMS[:-N_TEST_FORMS]), ("tune", FORMS[-N_TEST_FORMS:])):
        rows = make(forms)
        for name, cells in (rows.columns() | {"fold": [fold] * len(rows)}).items():
            columns.setdefault(name, []).extend(cells)
    write_examples(columns, path)
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Triplets of six universities."""
    return write_sides(triplets, tmp_path_factory.mktemp("data") / "triplets.csv")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs of six universities and their hospitals and colleges."""
    return write_sides(hospital_pairs, tmp_path_factory.mktemp("data") / "pairs.jsonl")


def plain_bert(folder: Path) -> Path:
    """A BERT without any head, wide enough for its mask token to hear of the other tokens."""
    folder.mkdir()
    config = published.bert_config(published.write_tokenizer(folder), 128, 2)
    published.save(folder, config | {"hidden_dropout_prob": 0.0}, published.bert_tensors(config, 8))
    return folder


#: Recipe → what writes the checkpoint to start from, and what is smaller than published.
CASES: dict[str, tuple[Callable[[Path], Path], dict[str, Any]]] = {
    "gte-triplet": (published.write_gte, {"learning_rate": 3e-3}),
    "academic-infonce": (
        lambda folder: published.write_gemma(folder, with_dense=True),
        {"nested_dimensions": (64, 32), "learning_rate": 3e-3, "n_epochs": 1, "steps_per_look": 5},
    ),
    "mention-triplet": (
        plain_bert,
        {"learning_rate": 3e-4, "projection": 16, "max_length": 40, "n_epochs": 5},
    ),
    "aspire-cocited": (published.write_aspire, {"learning_rate": 1e-3, "n_epochs": 4, "patience": 3}),
    "reranker-bce": (published.write_jina, {"max_length": 48, "learning_rate": 1e-3, "n_epochs": 4}),
}


def small(name: str, **more: Any) -> Recipe:
    return dataclasses.replace(Recipe.read(name), **(SMALL | {"steps_per_look": 10} | CASES[name][1] | more))


@dataclasses.dataclass
class Trained:
    recipe: Recipe
    start: Path
    found: FineTuned
    lines: list[str]


@pytest.fixture(scope="module")
def trained(data: Path, pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Trained]:
    """What a recipe made, once for all tests."""
    known: dict[str, Trained] = {}

    def train(name: str) -> Trained:
        if name not in known:
            folder = tmp_path_factory.mktemp(name)
            start, lines = CASES[name][0](folder / "start"), []
            examples = pairs if name == "reranker-bce" else data
            found = fine_tune(
                small(name), str(start), examples, folder / "out", device="cpu", say=lines.append
            )
            known[name] = Trained(small(name), start, found, lines)
        return known[name]

    return train


# --- the recipes as files


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_file_names_every_option(name: str) -> None:
    path = Path(fine_tuning.__file__).parent / "recipes" / f"{name}.toml"
    assert set(tomllib.loads(path.read_text())) == {field.name for field in dataclasses.fields(Recipe)}


@pytest.mark.parametrize(
    ("name", "stated"),
    [
        (
            "gte-triplet",
            {
                "loss": "triplet",
                "distance": "squared-l2",
                "is_unit_length": True,
                "margin": 1.0,
                "n_epochs": 3,
            }
            | {"learning_rate": 1e-4, "batch_size": 32, "n_warmup_steps": 30, "schedule": "cosine"}
            | {"test_share": 0.1},
        ),
        (
            "reranker-bce",
            {"loss": "binary-cross-entropy", "learning_rate": 2e-5, "batch_size": 16, "warmup_share": 0.1}
            | {"is_bfloat16": True, "best": "map", "at_k": 10, "max_length": 1024},
        ),
        (
            "academic-infonce",
            {"loss": "info-nce", "temperature": 0.02, "learning_rate": 2e-5, "n_warmup_steps": 100}
            | {"weight_decay": 0.1, "device_batch_size": 32, "batch_size": 8192, "is_bfloat16": True}
            | {"max_length": 2048, "nested_dimensions": (768, 512, 256, 128)}
            | {"negatives": ("in-batch", "mined")},
        ),
        (
            "mention-triplet",
            {"loss": "triplet", "pooling": "mask", "projection": 128, "negatives": ("given",)},
        ),
        (
            "aspire-cocited",
            {"loss": "triplet", "distance": "l2", "is_unit_length": False, "negatives": ("in-batch",)}
            | {"learning_rate": 2e-5, "n_warmup_steps": 1000, "schedule": "linear", "weight_decay": 0.0}
            | {"best": "loss", "patience": 3, "pooling": "cls"},
        ),
    ],
)
def test_recipes_are_those_of_the_cards(name: str, stated: dict[str, Any]) -> None:
    recipe = dataclasses.asdict(Recipe.read(name))
    assert {key: recipe[key] for key in stated} == stated


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rat = 1", "unknown setting; did you mean 'learning_rate'"),
        ("margin = 'x'", "margin must be float"),
        ("margin = 0", "margin must be above 0"),
        ("loss = 'hinge'", "loss must be one of triplet, info-nce"),
        ("kind = 'reranker'", "loss must be binary-cross-entropy for a reranker"),
        ("best = 'map'", "best must be loss for an encoder"),
        ("batch_size = 48", "a multiple of device_batch_size 32"),
        ("batch_size = 64\nnegatives = ['in-batch']", "device_batch_size must be batch_size"),
        ("negatives = ['hard']", "negatives must be a list of given, in-batch, mined"),
        ("n_warmup_steps = 3\nwarmup_share = 0.1", "two forms of one thing"),
        ("test_share = 1", "test_share must be in"),
        ("n_epochs = 0", "n_epochs must be 1 or more"),
        ("=", "not valid TOML"),
    ],
)
def test_recipes_that_cannot_be_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        Recipe.read(str(path))


# --- losses and batches


class Given(torch.nn.Module):
    """Stands for a model: features are vectors already."""

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        return {"sentence_embedding": features["vectors"]}


def features(seed: int, n_columns: int = 3) -> list[dict[str, Any]]:
    source = torch.Generator().manual_seed(seed)
    return [{"vectors": torch.randn(8, 6, generator=source)} for _ in range(n_columns)]


@pytest.mark.parametrize("seed", range(4))
def test_the_triplet_losses_are_those_of_the_libraries(seed: int) -> None:
    columns = features(seed)
    vectors = [c["vectors"] for c in columns]
    squared = TripletMargin(Given(), is_squared=True, is_unit_length=True, margin=1.0)(columns)
    cosine = TripletLoss(Given(), TripletDistanceMetric.COSINE, triplet_margin=0.5)
    halved = cosine.compute_loss_from_embeddings(vectors, None)
    assert float(squared) == pytest.approx(2 * float(halved), abs=1e-5)
    plain = TripletMargin(Given(), is_squared=False, is_unit_length=False, margin=1.0)
    expected = torch.nn.TripletMarginLoss(margin=1.0, p=2, eps=0)
    assert float(plain(columns)) == pytest.approx(float(expected(*vectors)), abs=1e-5)
    in_batch = plain(columns[:2])
    assert float(in_batch) == pytest.approx(
        float(expected(vectors[0], vectors[1], torch.cat([vectors[1][-1:], vectors[1][:-1]]))), abs=1e-5
    )


def test_equal_texts_have_a_gradient() -> None:
    a = torch.ones(2, 3, requires_grad=True)
    TripletMargin(Given(), is_squared=False, is_unit_length=False, margin=1.0)(
        [{"vectors": a}, {"vectors": a}, {"vectors": a * 2}]
    ).backward()
    assert a.grad is not None and bool(a.grad.isfinite().all())


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, 12), max_size=80), st.integers(2, 9), st.integers(0, 3))
def test_a_batch_holds_one_row_of_a_group(groups: list[int], batch_size: int, epoch: int) -> None:
    sampler = OneOfAGroup(groups, batch_size, None, 7)
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert len(batches) == len(sampler) and batches == list(sampler)
    rows = [row for batch in batches for row in batch]
    assert len(set(rows)) == len(rows)
    for batch in batches:
        own = [groups[row] for row in batch]
        assert len(set(own)) == len(own)
        assert max(2, min(batch_size, len(set(groups))) / 2) <= len(own) <= batch_size
    # Only a round's end is left out.
    counts = Counter(groups)
    rounds = [sum(n > r for n in counts.values()) for r in range(max(counts.values(), default=0))]
    assert len(rows) >= sum(n // batch_size * batch_size for n in rounds)


@pytest.mark.parametrize("negatives", [False, True])
def test_cached_gradients_are_those_of_the_whole_batch(tmp_path: Path, negatives: bool) -> None:
    """InfoNCE of all prefixes written out, on one batch of 12, against mini-batches of 3."""
    recipe = small("academic-infonce", temperature=0.02, device_batch_size=3)
    start = published.write_gemma(tmp_path / "gemma", with_dense=True)
    model = start_encoder(str(start), recipe, "cpu").inner
    model.eval()
    rows = triplets(FORMS[:4]).take(range(12))
    columns = list(rows.columns().values())[: 3 if negatives else 2]
    read = [model.preprocess(column) for column in columns]
    loss = trainers._loss(recipe, model)([dict(one) for one in read], None)
    loss.backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    anchor, *others = (model(dict(one))["sentence_embedding"] for one in read)
    expected = torch.zeros(())
    for d in recipe.nested_dimensions:
        a, b = (torch.nn.functional.normalize(v[:, :d], dim=1) for v in (anchor, torch.cat(others)))
        expected = expected + torch.nn.functional.cross_entropy(a @ b.T / 0.02, torch.arange(12))
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    for name, parameter in model.named_parameters():
        if name in found:
            torch.testing.assert_close(found[name], parameter.grad, atol=2e-3, rtol=2e-2)


# --- each recipe, trained


@pytest.mark.parametrize("name", CASES)
def test_the_loss_falls(name: str, trained: Callable[[str], Trained]) -> None:
    own = trained(name)
    looks = own.found.looks[0]
    assert looks[0].step == 0 and len(looks) > 2
    assert min(look.test["loss"] for look in looks[1:]) < 0.95 * looks[0].test["loss"]
    losses = [look.train_loss for look in looks if look.train_loss is not None]
    assert min(losses[1:]) < losses[0]
    if own.found.before is not None and own.found.after is not None:
        assert own.found.after.nearer >= own.found.before.nearer
    assert sum(line.startswith("step ") for line in own.lines) == sum(map(len, own.found.looks))


@pytest.mark.parametrize("name", [n for n in CASES if n != "reranker-bce"])
def test_an_encoder_comes_back_as_it_was_measured(name: str, trained: Callable[[str], Trained]) -> None:
    """Loaded as a run loads it, the held-out rows lie where training measured them."""
    own = trained(name)
    encoder = SentenceTransformerEncoder(str(own.found.folder), SentenceSettings(device="cpu"))
    rows = triplets(FORMS[-N_TEST_FORMS:])
    a, b, c = (encoder.encode(column) for column in rows.columns().values())
    after = Similarities.of((a * b).sum(1), (a * c).sum(1))
    assert own.found.after is not None
    assert after.nearer == pytest.approx(own.found.after.nearer, abs=0.02)
    assert after.mean_positive == pytest.approx(own.found.after.mean_positive, abs=1e-3)
    assert after.mean_negative == pytest.approx(own.found.after.mean_negative, abs=1e-3)
    # And they moved.
    assert own.found.before != own.found.after
    assert encoder.dimensions == (16 if name == "mention-triplet" else encoder.dimensions)


@pytest.mark.parametrize("name", ["gte-triplet", "mention-triplet"])
def test_the_best_look_is_kept(name: str, trained: Callable[[str], Trained]) -> None:
    """The loss of the model that was written, by its own formula, is that of the best look."""
    own = trained(name)
    a, b, c = (torch.nn.functional.normalize(v, dim=1) for v in written_vectors(own))
    loss = ((a - b).square().sum(1) - (a - c).square().sum(1) + 1).relu().mean()
    assert float(loss) == pytest.approx(min(look.test["loss"] for look in own.found.looks[0][1:]), abs=1e-3)
    assert float(loss) == pytest.approx(own.found.best("loss").test["loss"], abs=1e-3)
    assert (
        f"loss {own.found.best('loss').test['loss']:.4f} on" in (own.found.folder / "README.md").read_text()
    )


def written_vectors(own: Trained) -> list[Any]:
    from blocking.assembly import assemble

    model = assemble(own.found.folder, "cpu", None)
    prompt = own.recipe.anchor_prompt or "{}"
    return [
        model.encode([prompt.format(t) for t in column], prompt="", convert_to_tensor=True)
        for column in triplets(FORMS[-N_TEST_FORMS:]).columns().values()
    ]


def ranking(folder: Path) -> dict[str, float]:
    """MAP, MRR and NDCG at 10 of the held-out pairs by the model as a run loads it, written out."""
    scorer = CrossEncoderScorer(str(folder), device="cpu")
    found: dict[str, list[float]] = {"map": [], "mrr@10": [], "ndcg@10": []}
    for left, (same, others) in hospital_pairs(FORMS[-N_TEST_FORMS:]).by_left().items():
        candidates = [*same, *others]
        logits = scorer.directed_logits([left] * len(candidates), candidates)
        order = np.argsort(-logits, kind="stable").tolist()
        hits = [place for place, number in enumerate(order, 1) if number < len(same)]
        found["map"].append(float(np.mean([(n + 1) / place for n, place in enumerate(hits)])))
        found["mrr@10"].append(1 / hits[0] if hits[0] <= 10 else 0.0)
        gain = sum(1 / np.log2(place + 1) for place in hits if place <= 10)
        found["ndcg@10"].append(gain / sum(1 / np.log2(n + 2) for n in range(min(10, len(same)))))
    return {name: float(np.mean(values)) for name, values in found.items()}


def test_the_metrics_of_a_reranker_are_those_of_their_definitions(trained: Callable[[str], Trained]) -> None:
    own = trained("reranker-bce")
    first, *looks = own.found.looks[0]
    for folder, look in ((own.start, first), (own.found.folder, max(looks, key=lambda x: x.test["map"]))):
        measured = ranking(folder)
        for name, value in measured.items():
            assert look.test[name] == pytest.approx(value, abs=1e-6)
    assert max(look.test["map"] for look in looks) > first.test["map"]


def test_logits_are_written_as_they_are(trained: Callable[[str], Trained]) -> None:
    """The published configuration asks for a sigmoid; the trained one gives logits."""
    from sentence_transformers import CrossEncoder

    folder = trained("reranker-bce").found.folder
    pair = [("university of oxford", "oxford university uk"), ("physics oxford uk", "hospital of stanford")]
    plain = CrossEncoder(str(folder), device="cpu").predict(pair)
    left, right = zip(*pair, strict=True)
    logits = CrossEncoderScorer(str(folder), device="cpu").directed_logits(left, right)
    np.testing.assert_allclose(plain, logits, atol=1e-5)


def test_two_stages_mine_with_the_model_of_the_first(trained: Callable[[str], Trained]) -> None:
    own = trained("academic-infonce")
    assert [line for line in own.lines if line.startswith("stage")] == [
        "stage 1 of 2: negatives in-batch",
        "stage 2 of 2: negatives mined",
    ]
    assert len(own.found.looks) == 2


def test_matryoshka_prefixes_are_of_use(trained: Callable[[str], Trained]) -> None:
    own = trained("academic-infonce")
    encoder = SentenceTransformerEncoder(
        str(own.found.folder), SentenceSettings(device="cpu", truncate_dim=32)
    )
    a, b, c = (encoder.encode(column) for column in triplets(FORMS[-N_TEST_FORMS:]).columns().values())
    assert a.shape[1] == 32
    assert ((a * b).sum(1) > (a * c).sum(1)).mean() > 0.5


def test_mined_negatives_are_of_other_groups_and_near(data: Path, tmp_path: Path) -> None:
    recipe = small("academic-infonce")
    model = start_encoder(str(published.write_gemma(tmp_path / "g", with_dense=True)), recipe, "cpu")
    train, _ = read_material(data, recipe, Columns())
    mined = train.with_negatives("mined", model, recipe)
    rows = mined.triplets
    assert len(mined) == len(train) and rows.negative is not None
    texts = sorted(train.group_of)
    vectors = model.encode(texts)
    cosine = dict(zip(texts, vectors @ vectors.T, strict=True))
    for anchor, negative in zip(rows.anchor, rows.negative, strict=True):
        assert train.group_of[anchor] != train.group_of[negative]
        own = train.group_of[anchor]
        others = [cosine[anchor][n] for n, t in enumerate(texts) if train.group_of[t] != own]
        assert cosine[anchor][texts.index(negative)] >= sorted(others)[-recipe.per_string] - 1e-5


@pytest.mark.parametrize("name", CASES)
def test_what_is_written(name: str, trained: Callable[[str], Trained], data: Path) -> None:
    own = trained(name)
    folder = own.found.folder
    record = json.loads((folder / "training.json").read_text())
    assert (
        Recipe(**{k: tuple(v) if isinstance(v, list) else v for k, v in record["recipe"].items()})
        == own.recipe
    )
    assert [len(stage) for stage in record["stages"]] == [len(stage) for stage in own.found.looks]
    picture = ET.fromstring((folder / "training.svg").read_text())
    titles = [element.text for element in picture.iter() if element.tag.endswith("text")]
    assert "loss by step" in titles
    assert ("similarities after training" in titles) == (name != "reranker-bce")
    # Checkpoints are gone, and nothing in the folder is a pickle or holds an example.
    assert not folder.with_name("out.training").exists()
    assert not [p for p in folder.rglob("*") if p.suffix in (".bin", ".pt", ".pth", ".py")]
    card = (folder / "README.md").read_text()
    assert "stanford" not in card and "stanford" not in json.dumps(record)
    assert all(t.dtype == torch.float32 for t in load_file(folder / "model.safetensors").values())


@pytest.mark.parametrize("name", ["reranker-bce", "academic-infonce"])
def test_bfloat16_needs_a_gpu_and_says_so(name: str, trained: Callable[[str], Trained]) -> None:
    assert "no GPU that has bfloat16: computing in float32" in trained(name).lines


# --- interruptions


@pytest.mark.parametrize(
    ("name", "n_looks"), [("gte-triplet", 3), ("academic-infonce", 3), ("academic-infonce", 8)]
)
def test_an_interrupted_training_ends_as_it_would_have(
    name: str, n_looks: int, trained: Callable[[str], Trained], data: Path, tmp_path: Path
) -> None:
    """In the first stage, and (the eighth look) in the second one."""
    own, output, lines = trained(name), tmp_path / "out", []

    def stop_at_a_look(line: str) -> None:
        lines.append(line)
        if sum(own.startswith("step ") for own in lines) == n_looks:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fine_tune(own.recipe, str(own.start), data, output, device="cpu", say=stop_at_a_look)
    assert lines[-1].startswith("checkpoints are in ")
    assert not output.exists()
    work = tmp_path / "out.training"
    assert [p.name for p in work.glob("stage-*/checkpoint-*")]
    # A checkpoint that was cut off while it was written.
    shutil.copytree(next(work.glob("stage-*/checkpoint-*")), work / "stage-1" / "checkpoint-9999")
    (work / "stage-1" / "checkpoint-9999" / "trainer_state.json").unlink()
    other = dataclasses.replace(own.recipe, learning_rate=1e-5)
    with pytest.raises(UsageError, match="checkpoints of another training"):
        fine_tune(other, str(own.start), data, output, device="cpu")
    fine_tune(own.recipe, str(own.start), data, output, device="cpu", say=lines.append)
    assert f"going on with the training in {work}" in lines
    assert not work.exists()
    whole, resumed = (load_file(folder / "model.safetensors") for folder in (own.found.folder, output))
    for key, value in whole.items():
        torch.testing.assert_close(resumed[key], value, atol=1e-5, rtol=1e-4)


# --- the command, and what it refuses


def run(*arguments: object) -> Any:
    return CliRunner().invoke(main, list(map(str, arguments)))


def test_from_labels_to_a_run(tmp_path: Path) -> None:
    """Labelled strings in, a run with the encoder that was made of them out."""
    rows = [(form.format(place), place) for place in PLACES for form in FORMS[:6]]
    labels, recipe = tmp_path / "labels.csv", tmp_path / "mine.toml"
    write_examples({"affiliation": [a for a, _ in rows], "cluster": [b for _, b in rows]}, labels)
    values = {"learning_rate": 1e-3, "batch_size": 8, "device_batch_size": 4, "test_share": 0.4}
    recipe.write_text("pooling = 'cls'\n" + "".join(f"{key} = {own}\n" for key, own in values.items()))
    start = published.write_aspire(tmp_path / "start")
    options = ("--recipe", recipe, "--from", start, "--data", labels, "--device", "cpu", "--seed", 3)
    done = run("train", "published", *options, "--output", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[-1] == f"written: {tmp_path / 'out'}"
    assert json.loads((tmp_path / "out" / "training.json").read_text())["recipe"]["seed"] == 3
    again = run("train", "published", *options, "--output", tmp_path / "out")
    assert again.exit_code == 2 and "is there already" in again.output
    resolved = run("resolve", labels, "--output", tmp_path / "run", "--encoder", tmp_path / "out", "--json")
    assert resolved.exit_code == 0, resolved.output
    assert json.loads(resolved.stdout)["counts"]["mentions"] >= 30


@pytest.mark.parametrize(
    ("recipe", "start", "message"),
    [
        ("gte", "x", "no such recipe: gte (known: gte-triplet,"),
        ("gte-triplet", "built-in", "built-in is no transformer; affil train encoder"),
        ("gte-triplet", "hashing", "hashing is no transformer"),
        ("gte-triplet", "jina-base", "jina-base is a reranker, no encoder"),
        ("reranker-bce", "gte-base", "gte-base is an encoder, no reranker"),
        ("gte-triplet", "./nothing", "no encoder './nothing'"),
        ("academic-infonce", "ASPIRE", "nested_dimensions [768, 512, 256, 128]"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    recipe: str, start: str, message: str, data: Path, tmp_path: Path
) -> None:
    if start == "ASPIRE":
        start = str(published.write_aspire(tmp_path / "start"))
    done = run(
        *("train", "published", "--recipe", recipe, "--from", start, "--data", data),
        *("--output", tmp_path / "out", "--device", "cpu"),
    )
    assert done.exit_code == 2 and message in done.output.splitlines()[-1]
    # Nothing is left that would be in the way of the next try.
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.training").exists()


@pytest.mark.parametrize(
    ("rows", "recipe", "message"),
    [
        (Pairs(["a", "b", "c"] * 4, ["d", "e", "f"] * 4, [1] * 12), "gte-triplet", "the examples have none"),
        (Pairs(["a", "b", "c", "g"], ["d", "e", "f", "h"], [1] * 4), "reranker-bce", "pairs of both labels"),
        (
            Triplets(["a", "a"], ["b", "b"], ["c", "d"]),
            "gte-triplet",
            "cannot be split into training and test",
        ),
    ],
)
def test_examples_that_do_not_do_are_refused(rows: Any, recipe: str, message: str, tmp_path: Path) -> None:
    write_examples(rows.columns(), tmp_path / "x.csv")
    start = CASES[recipe][0](tmp_path / "start")
    with pytest.raises(UsageError, match=message):
        fine_tune(small(recipe), str(start), tmp_path / "x.csv", tmp_path / "out", device="cpu")


def test_missing_libraries_are_named(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fine_tuning, "_LIBRARIES", ("torch", "no_such_library"))
    with pytest.raises(UsageError, match=r"needs no_such_library: pip install .*\[models,training\]"):
        fine_tune(small("gte-triplet"), "x", data, tmp_path / "out")


# --- prompts, the mask model, and the picture


@pytest.mark.parametrize("prompt", ["query: ", "the {} is a university", "passage"])
def test_a_run_reads_texts_as_training_did(prompt: str, data: Path, tmp_path: Path) -> None:
    """A text to put before, a sentence, and a prompt of the model by name."""
    recipe = small("academic-infonce", anchor_prompt=prompt, text_prompt=prompt, negatives=("given",))
    recipe = dataclasses.replace(recipe, loss="triplet", nested_dimensions=())
    start = published.write_gemma(tmp_path / "start", with_dense=True)
    named = f"embeddinggemma-academic={start}"
    found = fine_tune(recipe, named, data, tmp_path / "out", device="cpu")
    encoder = SentenceTransformerEncoder(str(tmp_path / "out"), SentenceSettings(device="cpu"))
    assert encoder.prompt == {"passage": "title: none | text: "}.get(prompt, prompt)
    rows = triplets(FORMS[-N_TEST_FORMS:])
    a, b, c = (encoder.encode(column) for column in rows.columns().values())
    after = Similarities.of((a * b).sum(1), (a * c).sum(1))
    assert found.after is not None
    assert after.mean_positive == pytest.approx(found.after.mean_positive, abs=1e-3)
    assert after.mean_negative == pytest.approx(found.after.mean_negative, abs=1e-3)


def test_a_mask_model_that_is_trained_already_is_taken_as_it_is(tmp_path: Path) -> None:
    folder = published.write_mask(tmp_path / "mask")
    model = start_encoder(str(folder), small("mention-triplet"), "cpu")
    plain = SentenceTransformerEncoder(str(folder), SentenceSettings(device="cpu", max_length=40))
    texts = ["university of oxford", "hospital"]
    np.testing.assert_allclose(model.encode(texts), plain.encode(texts), atol=1e-6)
    assert isinstance(model.inner, SentenceTransformer)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=1, max_size=40))
def test_histograms_lose_no_row(rows: list[tuple[float, float]]) -> None:
    near, far = (np.array([row[side] for row in rows]) for side in (0, 1))
    found = Similarities.of(near, far)
    assert sum(found.positive) == sum(found.negative) == len(rows)
    assert len(found.positive) == len(EDGES) - 1
    assert found.nearer == pytest.approx(sum(a > b for a, b in rows) / len(rows), abs=1e-4)
    looks = [Look(0, None, {"loss": 2.0}), Look(7, 1.5, {"loss": 1.0})]
    assert ET.fromstring(draw(looks, found, found)).tag.endswith("svg")


def test_the_command_says_what_it_does_and_nothing_else(data: Path, tmp_path: Path) -> None:
    """In a process of its own: the libraries draw no bars and warn of nothing."""
    recipe = tmp_path / "mine.toml"
    recipe.write_text("pooling = 'cls'\nmax_length = 24\nn_epochs = 1\nsteps_per_look = 2\n")
    start = published.write_aspire(tmp_path / "start")
    options = ("--recipe", recipe, "--from", start, "--data", data, "--output", tmp_path / "out")
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "train", "published", *map(str, options), "--device", "cpu"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "120 rows to learn from, 36 to test by"
    assert [line.split(":")[0] for line in lines[1:4]] == ["step 0 of 4", "step 2 of 4", "step 4 of 4"]
    assert lines[-1] == f"written: {tmp_path / 'out'}"
