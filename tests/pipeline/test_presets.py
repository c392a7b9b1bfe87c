"""The published models by name: through a run, through the commands, and what is said of bad input."""

import dataclasses
import json
import logging
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("sentence_transformers")

import published  # noqa: E402
import references  # noqa: E402

from blocking import BlockingError, BlockingSettings  # noqa: E402
from pipeline import AffilError, ScoringSettings, Settings, UsageError, presets, resolve  # noqa: E402
from pipeline.cli import main  # noqa: E402
from pipeline.model_check import licence_of, show  # noqa: E402
from pipeline.model_list import encoder_source, load_named_encoder, reranker_source  # noqa: E402
from pipeline.presets import PRESETS, Known, locate  # noqa: E402
from pipeline.scoring import CrossEncoderScorer, load_rescorer  # noqa: E402

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "affiliations.csv"
ENCODERS = [p.name for p in PRESETS.values() if p.kind == "encoder"]


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """A tiny checkpoint of every preset in its published layout."""
    root = tmp_path_factory.mktemp("published")
    return {
        "gte-affiliations": published.write_gte(root / "gte-affiliations"),
        "gte-base": published.write_gte(root / "gte-base", head=True),
        "jina-affiliations": published.write_jina(root / "jina-affiliations"),
        "jina-base": published.write_jina(root / "jina-base"),
        "mention-mask": published.write_mask(root / "mention-mask"),
        "embeddinggemma-academic": published.write_gemma(root / "gemma", with_dense=False),
        "aspire": published.write_aspire(root / "aspire"),
    }


def affil(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def refuses(done: Result, code: int, *parts: str) -> None:
    assert done.exit_code == code, done.output
    line = done.stderr.splitlines()[-1]
    assert all(part in line for part in parts), line
    assert "Traceback" not in done.stderr


# Names


def test_a_preset_is_found_by_its_name_its_hub_id_and_its_copy() -> None:
    gte = PRESETS["gte-affiliations"]
    assert locate("gte-affiliations") == (gte, gte.hub_id)
    assert locate("gte-affiliations@abc") == (gte, f"{gte.hub_id}@abc")
    assert locate(f"{gte.hub_id}@abc") == (gte, f"{gte.hub_id}@abc")
    assert locate("gte-affiliations=/models/a=b") == (gte, "/models/a=b")
    assert locate("owner/model@main") == (None, "owner/model@main")
    assert locate("/a/folder=x") == (None, "/a/folder=x")
    assert encoder_source("aspire") == "allenai/aspire-sentence-embedder"
    assert reranker_source("jina-base=x") == "x" and reranker_source("none") is None
    with pytest.raises(UsageError, match="names no folder"):
        locate("aspire=")


def test_the_seeds_are_there_with_their_licences() -> None:
    assert {p.hub_id for p in PRESETS.values()} >= {
        "cometadata/affiliation-clustering-0.3b",
        "Alibaba-NLP/gte-multilingual-base",
        "cometadata/jina-reranker-v2-multilingual-affiliations",
        "jinaai/jina-reranker-v2-base-multilingual",
        "maxwlnd/cl_mention_embedding",
        "LinerAI/embeddinggemma-300m-academic",
        "allenai/aspire-sentence-embedder",
    }
    warned = {p.name: p.licence for p in PRESETS.values() if p.warning}
    assert warned == {
        "gte-affiliations": "none stated",
        "jina-affiliations": "CC-BY-NC-4.0",
        "jina-base": "CC-BY-NC-4.0",
        "embeddinggemma-academic": "Gemma terms",
    }
    default = Settings()
    assert default.blocking.encoder not in PRESETS and default.scoring.reranker not in PRESETS


# Through a run


@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder_runs(folders, name: str, caplog) -> None:
    strings = pd.read_csv(EXAMPLE, keep_default_na=False)["affiliation"].tolist()[:60]
    # Both rerankers have a turn.
    reranker = "jina-base" if name == "gte-base" else "jina-affiliations"
    named = Settings().with_values(
        blocking={"encoder": f"{name}={folders[name]}", "device": "cpu"},
        scoring={"reranker": f"{reranker}={folders[reranker]}", "device": "cpu"},
    )
    with caplog.at_level(logging.WARNING):
        found = resolve(strings, named)
    pairs, context = found.matches.pairs, found.forms.context
    assert len(pairs) > 0 and found.counts["pairs_rescored"] > 0
    encoder = load_named_encoder(named.blocking)
    chosen = np.linspace(0, len(pairs) - 1, 20).astype(int)
    left, right = (
        encoder.encode([context[i] for i in side[chosen].tolist()]) for side in (pairs.left, pairs.right)
    )
    np.testing.assert_allclose(pairs.similarity[chosen], (left * right).sum(axis=1), atol=1e-5)
    said = [r.getMessage() for r in caplog.records if r.name == "pipeline.presets"]
    warned = [n for n in (reranker, name) if PRESETS[n].warning]
    assert {line.split(":")[0] for line in said} == set(warned)


def test_presets_read_as_their_cards_say(folders) -> None:
    """Pooling, prompt and length are the preset's: the folder alone does not say."""
    texts = ["university of oxford", "department of physics"]
    aspire = references.Published(folders["aspire"])
    gemma = references.Published(folders["embeddinggemma-academic"])
    passage = PRESETS["embeddinggemma-academic"].prompts["passage"]
    with torch.inference_mode():
        cls = [references.aspire(aspire, t).numpy() for t in texts]
        bare = [references.gemma(gemma, t, []).numpy() for t in texts]
        asked = [references.gemma(gemma, passage + t, []).numpy() for t in texts]

    def encoded(name: str, **more: object) -> np.ndarray:
        settings = BlockingSettings(encoder=f"{name}={folders[name]}", device="cpu", **more)
        return load_named_encoder(settings).encode(texts)

    np.testing.assert_allclose(encoded("aspire"), cls, atol=1e-5)
    np.testing.assert_allclose(encoded("embeddinggemma-academic"), bare, atol=1e-5)
    np.testing.assert_allclose(encoded("embeddinggemma-academic", prompt="passage"), asked, atol=1e-5)
    assert np.abs(np.array(bare) - asked).max() > 1e-3


def test_a_sentence_of_ones_own_is_a_setting(folders) -> None:
    text, model = "university of oxford", references.Published(folders["mention-mask"], "encoder.")
    with torch.inference_mode():
        expected = references.mask(model, "the institute university of oxford is [MASK]").numpy()
    settings = BlockingSettings(
        encoder=f"mention-mask={folders['mention-mask']}", prompt="the institute {} is [MASK]", device="cpu"
    )
    np.testing.assert_allclose(load_named_encoder(settings).encode([text])[0], expected, atol=1e-5)


def test_resolve_by_the_command_with_licences_said_once_a_line(folders, tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("".join(EXAMPLE.read_text(encoding="utf-8").splitlines(keepends=True)[:40]), "utf-8")
    options = (
        *("--encoder", f"gte-affiliations={folders['gte-affiliations']}", "--device", "cpu"),
        *("--reranker", f"jina-affiliations={folders['jina-affiliations']}", "--truncate-dim", 16, "--json"),
    )
    done = affil("resolve", path, "--output", tmp_path / "run", *options)
    assert done.exit_code == 0, done.output
    assert [line for line in done.stderr.splitlines() if line.startswith("affil: ")] == [
        "affil: gte-affiliations: its card states no licence (its base is Apache-2.0): ask its authors",
        "affil: jina-affiliations: CC-BY-NC-4.0: not for commercial use",
    ]
    first = json.loads(done.stdout)
    # The files of the copy count in the run's fingerprint.
    again = json.loads(affil("resolve", path, "--output", tmp_path / "run", *options).stdout)
    assert again["was_finished"] is True and again["fingerprint"] == first["fingerprint"]


# Bad input


def test_wrong_kinds_dimensions_and_folders_are_one_line(folders, tmp_path: Path) -> None:
    path = tmp_path / "in.txt"
    path.write_text("University of Oxford\n")

    def run(*options: object) -> Result:
        return affil("resolve", path, "--output", tmp_path / "run", "--device", "cpu", *options)

    gemma = f"embeddinggemma-academic={folders['embeddinggemma-academic']}"
    refuses(
        run("--encoder", gemma, "--truncate-dim", 300), 2, "trained to be cut to 768, 512, 256, 128", "300"
    )
    refuses(
        run("--encoder", gemma, "--truncate-dim", 128), 2, "truncate_dim is 128, but", "has 64 dimensions"
    )
    refuses(
        run("--encoder", "jina-base"), 2, "jina-base is a reranker, no encoder; give --reranker jina-base"
    )
    refuses(run("--reranker", "aspire"), 2, "aspire is an encoder, no reranker; give --encoder aspire")
    refuses(run("--encoder", folders["jina-base"]), 2, "is a cross-encoder (it rates pairs)")
    refuses(run("--encoder", f"aspire={tmp_path / 'none'}"), 2, "there is no such folder")
    refuses(run("--encoder", f"aspire={tmp_path}"), 2, "neither config.json nor modules.json")
    refuses(run("--reranker", f"jina-base={tmp_path / 'none'}"), 2, "no such reranker folder")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", list(PRESETS))
def test_without_a_network_it_is_said_how_to_bring_the_model(name: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    done = affil("models", "check", f"{name}@v1")
    line = f"run `hf download {PRESETS[name].hub_id} --local-dir FOLDER`, copy the folder here and name it"
    refuses(done, 1 if PRESETS[name].kind == "reranker" else 2, "nothing is cached", line)
    refuses(affil("models", "convert", name), 1, "nothing is cached", line)


def test_a_model_that_was_fetched_before_needs_no_network(folders, tmp_path: Path, monkeypatch) -> None:
    """A cache of the hub as its library lays it out, with a revision beside the newest one."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    commit = "0123456789abcdef0123456789abcdef01234567"
    for name in ("gte-affiliations", "mention-mask", "aspire"):
        home = tmp_path / f"models--{PRESETS[name].hub_id.replace('/', '--')}"
        shutil.copytree(folders[name], home / "snapshots" / commit)
        for ref in ("main", "v1"):
            (home / "refs").mkdir(exist_ok=True)
            (home / "refs" / ref).write_text(commit)
        local = BlockingSettings(encoder=f"{name}={folders[name]}", device="cpu")
        expected = load_named_encoder(local).encode(["university of oxford"])
        for named in (name, f"{name}@v1", f"{PRESETS[name].hub_id}@{commit}"):
            found = load_named_encoder(BlockingSettings(encoder=named, device="cpu"))
            np.testing.assert_array_equal(found.encode(["university of oxford"]), expected)
        named = BlockingSettings(encoder=name, revision="v1", device="cpu")
        np.testing.assert_array_equal(load_named_encoder(named).encode(["university of oxford"]), expected)
        with pytest.raises(BlockingError, match="hf download"):
            load_named_encoder(BlockingSettings(encoder=name, revision="v2", device="cpu"))
        with pytest.raises(BlockingError, match="hf download"):
            load_named_encoder(BlockingSettings(encoder=f"{name}@v2", device="cpu"))


def test_a_reranker_of_a_revision(folders, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    home = tmp_path / f"models--{PRESETS['jina-base'].hub_id.replace('/', '--')}"
    shutil.copytree(folders["jina-base"], home / "snapshots" / ("0" * 40))
    (home / "refs").mkdir()
    (home / "refs" / "v1").write_text("0" * 40)
    found = load_rescorer(ScoringSettings(reranker="jina-base", revision="v1", device="cpu"))
    assert isinstance(found, CrossEncoderScorer) and found.name == f"{PRESETS['jina-base'].hub_id}@v1"
    for revision in (None, "v2"):
        with pytest.raises(AffilError, match="hf download"):
            load_rescorer(ScoringSettings(reranker="jina-base", revision=revision, device="cpu"))


def test_revisions_that_cannot_be_are_one_line(folders, tmp_path: Path) -> None:
    path, settings = tmp_path / "in.txt", tmp_path / "affil.toml"
    path.write_text("University of Oxford\n")
    copy = f"gte-affiliations={folders['gte-affiliations']}"
    cases = [
        ("blocking", "encoder", copy, "is a folder; only models of a hub have revisions"),
        ("blocking", "encoder", str(folders["aspire"]), "is a folder"),
        ("blocking", "encoder", "aspire@v2", "name two revisions; give one"),
        ("blocking", "encoder", "hashing", "hashing is built in and has no revisions"),
        ("blocking", "encoder", "built-in", "is a folder"),
        ("scoring", "reranker", "jina-base@v2", "name two revisions; give one"),
        ("scoring", "reranker", "built-in", "reranker 'built-in' has no revisions"),
        ("scoring", "reranker", f"jina-base={folders['jina-base']}", "is a folder"),
    ]
    for stage, key, name, message in cases:
        settings.write_text(f'[{stage}]\n{key} = "{name}"\nrevision = "v1"\n')
        done = affil("resolve", path, "--output", tmp_path / "run", "--settings", settings)
        refuses(done, 2, message)
        assert not (tmp_path / "run").exists()


# The commands


@pytest.fixture
def stated(folders, monkeypatch) -> list[Known]:
    """The GTE preset with the similarities that the reference finds in the tiny checkpoint, as a card's."""
    model = references.Published(folders["gte-affiliations"], "new.")
    texts = [(k.left, k.right) for k in PRESETS["gte-affiliations"].known]
    with torch.inference_mode():
        found = [
            Known(a, b, round(float(references.gte(model, a) @ references.gte(model, b)), 4))
            for a, b in texts
        ]
    assert len(found) == 3
    changed = dataclasses.replace(PRESETS["gte-affiliations"], known=tuple(found))
    monkeypatch.setattr(presets, "PRESETS", dict(PRESETS) | {"gte-affiliations": changed})
    return found


def test_check_finds_what_the_card_states(folders, stated) -> None:
    name = f"gte-affiliations={folders['gte-affiliations']}"
    done = affil("models", "check", name, "--device", "cpu")
    assert done.exit_code == 0, done.output
    for part in ("GteModel", "8192 tokens", "none stated", "warning:", "cls", "ok"):
        assert part in done.stdout
    assert len(done.stdout.splitlines()) <= 40
    assert "no licence" in done.stdout and "no licence" not in done.stderr
    found = json.loads(affil("models", "check", name, "--device", "cpu", "--json").stdout)
    assert found["is_right"] is True
    assert [s["found"] for s in found["similarities"]] == pytest.approx(
        [k.similarity for k in stated], abs=1e-4
    )
    assert found["facts"]["dimensions"] == 32


def test_check_ends_with_1_where_rope_is_wrong(folders, stated, tmp_path: Path) -> None:
    """The same tensors, another base frequency: every shape and name is as it should be."""
    wrong = Path(shutil.copytree(folders["gte-affiliations"], tmp_path / "wrong"))
    config = json.loads((wrong / "config.json").read_text()) | {"rope_theta": 10.0, "rope_scaling": None}
    (wrong / "config.json").write_text(json.dumps(config))
    done = affil("models", "check", f"gte-affiliations={wrong}", "--device", "cpu")
    refuses(done, 1, "similarities differ from its card's by up to", "(at most 0.01)")
    assert "off" in done.stdout


@pytest.mark.parametrize("name", list(PRESETS))
def test_show_and_check_tell_what_a_model_is(folders, name: str) -> None:
    shown = affil("models", "show", name)
    assert shown.exit_code == 0, shown.output
    assert PRESETS[name].licence in shown.stdout
    assert ("warning:" in shown.stdout) == (PRESETS[name].warning is not None)
    if PRESETS[name].known:
        return
    checked = affil("models", "check", f"{name}={folders[name]}", "--device", "cpu", "--json")
    assert checked.exit_code == 0, checked.output
    facts = json.loads(checked.stdout)["facts"]
    assert facts["kind"] == PRESETS[name].kind and facts["n_layers"] == 2


def test_show_says_which_prompt_is_used() -> None:
    assert show("embeddinggemma-academic").facts["prompt"] == "none, as on its card; by name: query, passage"
    assert show("mention-mask").facts["prompt"] == "Social group of {} is: [MASK]."
    assert "prompt" not in show("aspire").facts
    assert show("hashing").facts["licence"] == "Apache-2.0"
    with pytest.raises(UsageError, match="no model 'aspir' "):
        show("aspir")


def test_any_model_can_be_checked_and_its_card_says_the_licence(encoder, reranker, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(encoder, tmp_path / "own"))
    (copy / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n# A model\n")
    found = json.loads(affil("models", "check", copy, "--json").stdout)
    assert found["warning"] == "cc-by-nc-4.0: not every use is allowed"
    (copy / "README.md").write_text("---\nlicense: mit\n---\n")
    assert licence_of(copy) == "mit"
    (copy / "README.md").unlink()
    assert licence_of(copy) == "not stated"
    found = json.loads(affil("models", "check", reranker, "--json").stdout)
    assert (found["facts"]["kind"], found["facts"]["architecture"]) == (
        "reranker",
        "BertForSequenceClassification",
    )
    assert json.loads(affil("models", "check", "built-in", "--json").stdout)["facts"]["dimensions"] == 256
    refuses(affil("models", "check", tmp_path / "none"), 2, "there is no such folder")


def test_convert_prints_a_folder_that_loads(folders, tmp_path: Path) -> None:
    named = f"gte-affiliations={folders['gte-affiliations']}"
    cached = affil("models", "convert", named)
    assert cached.exit_code == 0, cached.output
    assert cached.stdout.strip().startswith(os.environ["AFFIL_CACHE"])
    written = affil("models", "convert", named, "--output", tmp_path / "native")
    assert written.stdout.strip() == str(tmp_path / "native")
    both = (cached.stdout.strip(), str(tmp_path / "native"))
    a, b = (
        load_named_encoder(BlockingSettings(encoder=f, device="cpu")).encode(["university"]) for f in both
    )
    np.testing.assert_array_equal(a, b)
    refuses(affil("models", "convert", named, "--output", tmp_path / "native"), 2, "is there already")


def test_the_list_names_every_preset() -> None:
    for done in (
        affil("models"),
        affil("models", "list"),
        affil("models", "--json"),
        affil("models", "list", "--json"),
    ):
        assert done.exit_code == 0
        assert "gte-affiliations" in done.stdout
    entries = {e["name"]: e for e in json.loads(affil("models", "--json").stdout)}
    assert entries.keys() >= PRESETS.keys()
    assert entries["jina-affiliations"]["choose"] == "--reranker jina-affiliations"
