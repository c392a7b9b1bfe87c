"""The benchmarks that make their own data: what they count, against independent counts."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import pipeline
from pipeline.evaluation import Gold
from pipeline.preparation import prepare
from pipeline.registry import import_registry
from pipeline.training.renderings import read_ids
from pipeline.training.spans import Example, Name

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))
import combination  # noqa: E402
import gpu  # noqa: E402
import groups  # noqa: E402
import linking  # noqa: E402
import parsing  # noqa: E402
import parsing_fifths  # noqa: E402
import quality  # noqa: E402
import scale  # noqa: E402
import sources  # noqa: E402
import synthetic  # noqa: E402

DATA = Path(os.environ.get("AFFIL_DATA", ROOT.parent / "shared" / "data"))
REGISTRY = DATA / "registry" / "ror_records_partial.jsonl.gz"
needs_registry = pytest.mark.skipif(not REGISTRY.is_file(), reason="no registry (AFFIL_DATA)")


def script(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / name), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


# ----------------------------------------------------------------------------------------- parsing


def test_wrong_numbers_of_organisations_are_told_by_kind() -> None:
    text = "Faculty of Law, CNRS, University of Porto, Portugal"
    cnrs, porto = ((((at := text.index(n)), at + len(n)),) for n in ("CNRS", "University of Porto"))
    both = Example(text, 2, (cnrs, porto))
    assert parsing.error_kind(both, ["University of Porto", "CNRS"]) is None
    assert (
        parsing.error_kind(both, ["The University of Porto"]) == "fewer: a labelled name not found, one word"
    )
    assert parsing.error_kind(both, ["CNRS"]) == "fewer: a labelled name not found, several words"
    joined = "fewer: a labelled name within what was found"
    assert parsing.error_kind(both, ["CNRS, University of Porto"]) == joined
    unnamed = Example(text, 2, (porto,), ((Name(("zarquon",), False),),))
    otherwise = "fewer: a label that the string calls otherwise or not"
    assert parsing.error_kind(unnamed, ["University of Porto"]) == otherwise
    lost = Example(text, 2, (porto,), ((),))
    assert parsing.error_kind(lost, ["University of Porto"]) == "fewer: a label of no record"
    one = Example(text, 1, (porto,))
    more = parsing.error_kind(one, ["University of Porto", "Zarquon Hospital"])
    assert more == "more: the class hospital, no known name"
    assert parsing.error_kind(one, ["University of Porto", "Faculty of Law"]) == "more: a unit, no known name"


def test_a_fifth_is_left_out_with_all_strings_that_name_it(tmp_path: Path) -> None:
    of_fifth = [f"o{n}" for n in range(99) if parsing_fifths.is_of(f"o{n}", 2)]
    held, tuned = of_fifth[:2]
    kept = next(f"o{n}" for n in range(99) if f"o{n}" not in of_fifth)
    rows = {
        "cordis": [("A", [held], "train"), ("B", [kept], "train"), ("C", [tuned], "tune"), ("D", [], "test")],
        # The same string with other labels, and one that names the organisation beside another.
        "s2aff_train": [("A", [kept], "train"), ("E", [kept, held], "train")],
    }
    data, folder = tmp_path / "data", tmp_path / "out"
    (data / "labelled").mkdir(parents=True)
    folder.mkdir()
    for name in (*parsing.SETS, *parsing_fifths.SINGLE):
        lines = [json.dumps({"string": s, "labels": own, "fold": f}) for s, own, f in rows.get(name, [])]
        (data / "labelled" / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    folds = {held: "train", kept: "train", tuned: "tune"}
    (data / "folds.tsv").write_text("ror_id\tfold\n" + "".join(f"{k}\t{v}\n" for k, v in folds.items()))
    parsing_fifths.leave_out(data, 2, folder)

    def written(name: str) -> dict[str, str]:
        lines = (folder / "labelled" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        return {row["string"]: row["fold"] for row in map(json.loads, lines)}

    assert written("cordis") == {"A": "test", "B": "train", "C": "tune"}
    assert written("s2aff_train") == {"A": "test", "E": "test"}
    assert read_ids(folder / "folds.tsv", "test") == {held}
    assert read_ids(folder / "folds.tsv", "tune") == {tuned}


# ----------------------------------------------------------------------------------------- linking


def test_the_linking_benchmark_counts_sets_and_prints_wrong_answers(tmp_path: Path) -> None:
    labelled = tmp_path / "labelled"
    labelled.mkdir()
    ox, ucl, kcl = "052gg0110", "02jx3x895", "0220mzb33"
    rows = {
        "springer_2023_rest": [("University of Oxford, Oxford, UK", [ox]), ("Kyoto University, Japan", [ox])],
        "openalex_gold_ror": [
            ("University College London and King's College London, London, UK", [ucl, kcl])
        ],
    }
    for name in {*linking.SETS, *linking.SEVERAL}:
        lines = [json.dumps({"string": s, "labels": own, "fold": "tune"}) for s, own in rows.get(name, [])]
        (labelled / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    import_registry(ROOT / "examples" / "registry.csv", tmp_path / "r.parquet")
    asked = ["--data", tmp_path, "--registry", tmp_path / "r.parquet"]
    plain = script("linking.py", *asked, "--fold", "tune", "--save", tmp_path / "saved.json")
    assert plain.returncode == 0, plain.stderr
    saved = json.loads((tmp_path / "saved.json").read_text(encoding="utf-8"))
    assert saved["links"]["tune"]["springer_2023_rest (all)"]["at"]["0.55"]["f1"] == 0.5
    part = saved["links"]["tune"]["country: JP (held)"]
    assert part["n_strings"] == 1 and part["at"]["0.55"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0}
    n_strings = [
        row["n_strings"] for name, row in saved["links"]["tune"].items() if name.startswith("country")
    ]
    assert sum(n_strings) == 2 * saved["links"]["tune"]["all (all)"]["n_strings"] == 6
    line = next(x for x in plain.stdout.splitlines() if x.startswith("springer_2023_rest"))
    assert line.split()[-3:] == ["0.500", "0.500", "0.500"]
    found = script("linking.py", *asked, "--fold", "tune", "--several")
    assert found.returncode == 0, found.stderr
    assert [x.split()[-3:] for x in found.stdout.splitlines() if x.startswith("all")] == [["1.000"] * 3] * 2
    wrong = script("linking.py", *asked, "--errors", "5").stdout.splitlines()
    assert wrong[0].startswith("# 1 of 3 strings") and len(wrong) == 2
    assert "missed: University of Oxford\textra: Kyoto University" in wrong[1]


def test_precision_is_told_where_recall_is_enough() -> None:
    some = [linking.Case(str(i), frozenset({i}), True) for i in range(5)]
    given = {"0": {0: 0.9}, "1": {1: 0.8}, "2": {7: 0.7}, "3": {3: 0.6, 8: 0.5}, "4": {4: 0.5}}
    # Four of five are found once both answers of .5 are taken, and four of six answers are right then.
    assert linking.at_recall(some, given) == (pytest.approx(4 / 6), 0.5)
    assert linking.at_recall(some[:3], given) is None and linking.at_recall(some, {}) is None


# -------------------------------------------------------------------------------------------------- groups

STRINGS = {
    "Department of Physics, Kyoto University, Kyoto, Japan": ("kyoto", "a"),
    "Kyoto University, Kyoto, Japan": ("kyoto", "b"),
    "Universität Leipzig, Leipzig, Germany": ("leipzig", "a"),
    "Universität Leipzig, Institut für Chemie, Leipzig, Germany": ("leipzig", "a"),
    "Московский государственный университет": ("msu", "a"),
}


@pytest.mark.parametrize(
    ("text", "name"),
    [("京都大学 Kyo", "Han"), ("МГУ им. Lo", "Cyrillic"), ("Universität", "Latin"), ("12 – 3", "")],
)
def test_the_script_is_that_of_most_letters(text: str, name: str) -> None:
    assert groups.script(text) == name


def test_every_string_is_in_one_group_of_each_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "LEAST", 2)
    monkeypatch.setattr(groups, "N_COUNTRIES", 2)
    mentions, forms = prepare(list(STRINGS))
    found = groups.grouped(mentions, forms, {string: own for string, (_, own) in STRINGS.items()})
    assert list(found) == [
        *("set: a", "set: smaller sets", "country: DE", "country: JP", "country: other countries"),
        *("script: Cyrillic", "script: Latin"),
    ]
    for kind in groups.KINDS[1:]:
        assert sorted(s for name, own in found.items() if name.startswith(kind) for s in own) == sorted(
            STRINGS
        )
    assert found["set: smaller sets"] == ["Kyoto University, Kyoto, Japan"]
    assert all("Japan" in string for string in found["country: JP"])
    assert not any(name.startswith("set") for name in groups.grouped(mentions, forms))


def test_the_b3_of_groups_is_that_of_their_strings_among_all() -> None:
    gold = Gold(list(STRINGS), [(label,) for label, _ in STRINGS.values()])
    result = pipeline.resolve(gold.affiliation)
    entity = {string: "e" if "Leipzig" in string or "Kyoto U" in string else string for string in STRINGS}
    frame = result.mentions.assign(entity_id=result.mentions["affiliation"].map(entity))
    lump = SimpleNamespace(mentions=frame)
    parts = {"all": list(STRINGS), "Latin": [s for s in STRINGS if s.isascii() or "ä" in s]}
    found = quality.by_group(lump, gold, parts)
    whole = pipeline.evaluate(frame, gold, n_bootstrap=0)
    for measure in "b3_precision", "b3_recall", "b3_f1":
        assert found["all"][measure] == pytest.approx(whole.value(measure), abs=1e-4)
    # Two of four to a label in one cluster: precision 1/2 of each; the fifth string is right.
    assert found["Latin"]["b3_precision"] == 0.5 and found["Latin"]["n"] == 4
    assert found["all"]["b3_precision"] == pytest.approx(0.6)


def test_encoders_are_told_by_group_and_saved_fold_by_fold(tmp_path: Path) -> None:
    (tmp_path / "labelled").mkdir()
    lines = ["affiliation\tcluster\tfold\tsource"]
    lines += [f"{string}\t{label}\ttest\t{own}" for string, (label, own) in STRINGS.items()]
    lines.append("University of Porto\tporto\ttune\ta")
    (tmp_path / "labelled" / "shared_clusters.tsv").write_text("\n".join(lines), encoding="utf-8")
    saved = tmp_path / "encoders.json"
    for fold in "test", "tune":
        given = ("--data", tmp_path, "--fold", fold, "--n-neighbours", 1, "--save", saved)
        done = script("encoders.py", *given)
        assert done.returncode == 0, done.stderr
    found = json.loads(saved.read_text(encoding="utf-8"))
    assert found["test"]["n_true_pairs"] == 2 and found["tune"]["n_true_pairs"] == 0
    parts = found["test"]["groups"]
    assert {name: row["n"] for name, row in parts.items()} == {
        "all": 5,
        "set: smaller sets": 5,
        "country: DE": 2,
        "country: JP": 2,
        "country: none found": 1,
        "script: Cyrillic": 1,
        "script: Latin": 4,
    }
    assert parts["country: JP"]["built-in"] == {"recall": 1.0, "completeness": 1.0}
    # One string of its label has nothing to be found.
    assert parts["script: Cyrillic"]["hashing"] == {"recall": None, "completeness": None}
    assert "script: Cyrillic" in done.stdout or "script: Latin" in done.stdout
    done = script("encoders.py", "--data", tmp_path, "--write-dev", tmp_path / "dev.tsv")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "dev.tsv").read_text(encoding="utf-8").split("\n")[1:] == [
        "University of Porto\tporto\ttune\ta",
        "",
    ]


def test_names_across_scripts_are_told_by_script(tmp_path: Path) -> None:
    (tmp_path / "registry").mkdir()
    rows = {"01": ["Kyoto University", "京都大学", "京大"], "02": ["Moscow State University", "МГУ"]}
    records = [
        {
            "id": f"https://ror.org/{ror}",
            "names": [{"value": name, "types": ["label"], "lang": None} for name in names],
            "locations": [],
        }
        for ror, names in rows.items()
    ]
    with gzip.open(tmp_path / "registry" / "ror_records_partial.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)
    (tmp_path / "folds.tsv").write_text("ror_id\tfold\n01\tnames-test\n02\ttrain\n", encoding="utf-8")
    done = script("cross_script.py", "--data", tmp_path, "--save", tmp_path / "saved.json")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "saved.json").read_text(encoding="utf-8"))
    assert found["n_sought"] == 2
    assert {name: row["n"] for name, row in found["scripts"].items()} == {"Han": 2, "all": 2}


# ----------------------------------------------------------------------------------------- synthetic strings


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """Five records, one of them closed."""
    path = tmp_path / "registry.jsonl"
    lines = []
    for number, name in enumerate(
        ["Alpha University", "Beta Hospital", "Gamma Institute", "Delta", "Closed"]
    ):
        record = {
            "id": f"https://ror.org/0{number}",
            "status": "inactive" if name == "Closed" else "active",
            "names": [
                {"value": name[:2].upper(), "types": ["acronym"], "lang": None},
                {"value": f"{name} auf Deutsch", "types": ["label"], "lang": "de"},
                {"value": name, "types": ["ror_display", "label"], "lang": "en"},
            ],
            "locations": [{"city": f"City{number}", "region": None, "country": "Germany"}],
            "relationships": [{"id": "https://ror.org/01", "label": "Beta Hospital", "type": "related"}],
        }
        lines.append(json.dumps(record))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_synthetic_strings_are_distinct_and_the_same_again(registry: Path) -> None:
    institutions = synthetic.read_institutions(registry)
    assert [one.id for one in institutions] == ["00", "01", "02", "03"]
    assert institutions[0].names == ("Alpha University", "Alpha University auf Deutsch")
    assert (institutions[0].acronyms, institutions[0].relatives) == (("AL",), ("01",))
    rows = list(synthetic.strings(institutions, 2_000))
    assert len(rows) == len({text for text, _ in rows}) == 2_000
    assert rows == list(synthetic.strings(institutions, 2_000))
    assert rows[:500] == list(synthetic.strings(institutions, 500))
    assert rows != list(synthetic.strings(institutions, 2_000, seed=1))
    assert {label for _, label in rows} == {"00", "01", "02", "03"}
    assert all(text == " ".join(text.split()) != "" for text, _ in rows)


def test_what_a_registry_cannot_give_is_refused(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "_string", lambda one, *_: one.names[0])
    with pytest.raises(ValueError, match="4 institutions give only 4 different strings, not 5"):
        list(synthetic.strings(synthetic.read_institutions(registry), 5))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--n", 0), "--n must be 1 or more, got 0"),
        (("--output", "strings.txt"), "must end in .csv or .parquet"),
        (("--registry", "none.jsonl"), "no such file: none.jsonl"),
    ],
)
def test_bad_requests_are_refused(arguments: tuple[object, ...], message: str, registry: Path) -> None:
    given = ("--registry", registry, "--output", registry.with_name("out.csv"), *arguments)
    done = script("synthetic.py", *given)
    assert done.returncode == 2
    assert message in done.stderr
    assert not registry.with_name("out.csv").exists()


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_the_file_is_gold_that_evaluates(ending: str, registry: Path) -> None:
    output = registry.with_name(f"strings.{ending}")
    done = script("synthetic.py", "--registry", registry, "--n", 300, "--output", output)
    assert done.returncode == 0, done.stderr
    frame = pd.read_csv(output, keep_default_na=False) if ending == "csv" else pd.read_parquet(output)
    assert list(frame.columns) == ["affiliation", "cluster"] and len(frame) == 300
    gold = pipeline.read_gold(output, "affiliation", "cluster")
    exact = pd.DataFrame(
        {"affiliation": frame["affiliation"], "entity_id": frame["cluster"].astype(str), "role": "main"}
    )
    assert pipeline.evaluate(exact, gold, n_bootstrap=0).value("b3_f1") == 1.0
    lump = pipeline.evaluate(exact.assign(entity_id="e"), gold, n_bootstrap=0)
    assert lump.value("b3_recall") == 1.0 > (lump.value("b3_precision") or 0)


@needs_registry
def test_the_largest_institution_has_the_share_of_its_weight() -> None:
    institutions, n = synthetic.read_institutions(REGISTRY), 20_000
    assert len(institutions) > 40_000
    sizes = Counter(label for _, label in synthetic.strings(institutions, n))
    weights = (np.arange(len(institutions)) + 10) ** -0.8
    expected = n * weights[0] / weights.sum()
    assert max(sizes.values()) == pytest.approx(expected, abs=4 * expected**0.5)
    assert len(sizes) > n / 3


# ---------------------------------------------------------------------------------------------------- growth


def test_the_exponent_is_that_of_the_growth() -> None:
    sizes = [1_000, 3_000, 10_000]
    for power in 0.5, 1.0, 2.0:
        assert scale.exponent(sizes, [2e-3 * n**power for n in sizes]) == pytest.approx(power)
    rng = np.random.default_rng(0)
    seconds = (np.array(sizes) / 500 * rng.uniform(0.8, 1.25, 3)).tolist()
    assert scale.exponent(sizes, seconds) == pytest.approx(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])
    assert scale.exponent([10], [1.0]) is None
    assert scale.exponent(sizes, [0.01, 0.02, 3.0]) is None


def test_large_institutions_are_as_whole_as_their_largest_cluster() -> None:
    strings = [(f"a{i}", "A") for i in range(400)] + [(f"b{i}", "B") for i in range(50)]
    entity = ["x"] * 300 + ["y"] * 100 + ["z"] * 50
    mentions = pd.DataFrame({"affiliation": [text for text, _ in strings], "entity_id": entity})
    assert scale.whole(strings, mentions) == 0.75
    # A string that the run set aside is a cluster of its own.
    assert scale.whole(strings, mentions.iloc[100:]) == 0.5
    assert scale.whole(strings[350:], mentions) is None


def test_growth_is_measured_in_processes_of_their_own(registry: Path) -> None:
    folder = registry.parent / "registry"
    folder.mkdir()
    registry.rename(folder / "ror_records_partial.jsonl.gz.txt")
    with gzip.open(folder / "ror_records_partial.jsonl.gz", "wb") as file:
        file.write((folder / "ror_records_partial.jsonl.gz.txt").read_bytes())
    saved = registry.parent / "scale.json"
    given = ("--data", registry.parent, "--size", 80, "--size", 40, "--save", saved)
    done = script("scale.py", *given, "--", "--clusterer", "components")
    assert done.returncode == 0, done.stderr
    found = json.loads(saved.read_text())
    assert [run["n_strings"] for run in found["runs"]] == [40, 80]
    for run in found["runs"]:
        stages = {stage["name"]: stage for stage in run["stages"]}
        assert (
            {"read", "parse", "block", "score", "cluster", "write"}
            <= set(stages)
            <= set(done.stdout.split()) | {name for name in stages if " " in name}
        )
        assert sum(stage["seconds"] for stage in run["stages"]) < run["seconds"]
        assert run["cpu_seconds"] > 0.1
        assert run["peak_resident_mb"] >= run["peak_memory_mb"] > 50
        assert run["peak_memory_mb"] >= max(stage["held_memory_mb"] for stage in run["stages"][:5])
        assert run["whole"] is None  # No institution of 80 strings has more than 300.
        assert 0 < run["b3_f1"] <= 1
    done = script("scale.py", *given, "--", "--clusterer", "ward")
    assert done.returncode == 1
    assert "affil resolve failed on 40 strings" in done.stderr and "ward" in done.stderr


def test_batches_are_held_against_one_run_on_the_whole(registry: Path) -> None:
    folder = registry.parent / "registry"
    folder.mkdir()
    with gzip.open(folder / "ror_records_partial.jsonl.gz", "wb") as file:
        file.write(registry.read_bytes())
    saved = registry.parent / "growth.json"
    given = ("--data", registry.parent, "--size", 40, "--batches", 2, "--lookups", 30, "--save", saved)
    done = script("growth.py", *given)
    assert done.returncode == 0, done.stderr
    found = json.loads(saved.read_text())
    assert len(found["seconds_batches"]) == 2
    assert found["ratio"] == pytest.approx(sum(found["seconds_batches"]) / found["seconds_whole"])
    assert len(found["seconds_additions"]) == len(found["cpu_seconds_additions"]) == 1
    assert 0 < found["seconds_additions"][0] < found["seconds_one_process"]
    both = found["seconds_batches"][0] + found["seconds_one_process"]
    assert found["ratio_one_process"] == pytest.approx(both / found["seconds_whole"])
    assert 0.5 < found["b3_f1"] <= 1 and 0 < found["share_found"] <= 1
    assert 0 < found["seconds_to_open"] < found["seconds_to_make"]
    assert f"{found['b3_f1']:.4f}" in done.stdout


# --------------------------------------------------------------------------------------------------- the GPU


@pytest.mark.parametrize("shape", [gpu.ENCODER, gpu.RERANKER], ids=lambda shape: shape.kind)
@pytest.mark.parametrize("length", [7, 64])
def test_flops_are_those_that_pytorch_counts(shape: gpu.Shape, length: int) -> None:
    """Two layers of the full width; the other ten cost the same."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from torch.utils.flop_counter import FlopCounterMode

    shape = replace(shape, n_layers=2, n_tokens=50)
    common = {"vocab_size": 50, "num_hidden_layers": 2, "attn_implementation": "eager", "pad_token_id": 1}
    if shape.kind == "encoder":
        model = transformers.GteModel(transformers.GteConfig(**common)).eval()
    else:
        config = transformers.XLMRobertaConfig(**common, num_labels=1)
        model = transformers.XLMRobertaForSequenceClassification(config).eval()
    ids = torch.full((3, length), 7)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(input_ids=ids, attention_mask=torch.ones_like(ids))
    assert shape.flops(np.full(3, length)) == pytest.approx(counter.get_total_flops(), rel=2e-3)


def test_texts_are_as_long_as_affiliations() -> None:
    texts = gpu.texts(5_000)
    n_tokens = np.array([len(text.split()) + 2 for text in texts])
    for share, tokens in zip(gpu.SHARES[1:-1], gpu.TOKENS[1:-1], strict=True):
        assert np.quantile(n_tokens, share) == pytest.approx(tokens, abs=1.5 if share < 0.95 else 12)
    assert gpu.texts(5_000) == texts != gpu.texts(5_000, seed=1)
    assert {word for text in texts for word in text.split()} <= set(gpu.words())
    assert len(set(gpu.words())) == len(gpu.words())


def test_recall_is_that_of_brute_force() -> None:
    rows = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    true = np.argsort(-(rows @ rows.T), axis=1)[:, :10]
    assert gpu.knn_recall(rows, true) == 1.0
    worse = true.copy()
    worse[:, -1] = -1
    assert gpu.knn_recall(rows, worse) == pytest.approx(0.9)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    pytest.importorskip("sentence_transformers")
    saved = tmp_path_factory.mktemp("gpu") / "small.json"
    done = script(
        "gpu.py", "--small", "--save", saved, "--only", "encoder", "--only", "reranker", "--only", "knn"
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(saved.read_text())
    assert all(row["what"] in done.stdout for row in found["rows"])
    return found


def test_the_small_run_measures_every_part(small: dict) -> None:
    assert small["is_small"] and small["goals"] is None
    rows = {(row["what"], row.get("batch_size")): row for row in small["rows"]}
    assert not [row for row in small["rows"] if "skipped" in row]
    for kind in "encoder", "reranker":
        for path in "forward passes alone", "the project's path":
            assert {batch for what, batch in rows if what == f"{kind}, {path}"} == {8, 32}
    knn = next(row for row in small["rows"] if row["what"].startswith("kNN"))
    assert knn["recall"] == 1.0
    for row in small["rows"]:
        assert 0 < row["share_of_ceiling"] == pytest.approx(row["tflops"] / small["ceiling_tflops"])


def test_the_padding_is_that_of_batches_by_length(small: dict) -> None:
    """Lengths are known here (a token a word), so every batch's longest text is."""
    texts = gpu.texts(gpu.SMALL.n_texts)
    n_tokens = np.array([len(text.split()) + 2 for text in texts])
    by_tokens = np.sort(n_tokens)[::-1]
    for batch_size in gpu.SMALL.batch_sizes:
        batches = [by_tokens[i : i + batch_size] for i in range(0, len(texts), batch_size)]
        assert padding(small, "forward passes alone", batch_size) == pytest.approx(share(batches), abs=0.02)
        own = share(own_batches(texts, n_tokens, batch_size))
        assert padding(small, "the project's path", batch_size) == pytest.approx(own, abs=0.02)


def own_batches(texts: list[str], n_tokens: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Sixteen batches are tokenised at once, by characters; a batch holds 24 tokens for each of its texts."""
    by_characters = n_tokens[sorted(range(len(texts)), key=lambda i: (-len(texts[i]), texts[i]))]
    batches = []
    for start in range(0, len(texts), 16 * batch_size):
        rest = np.sort(by_characters[start : start + 16 * batch_size])[::-1]
        while len(rest):
            n = max(1, 24 * batch_size // rest[0])
            batches.append(rest[:n])
            rest = rest[n:]
    return batches


def share(batches: list[np.ndarray]) -> float:
    """The share of padding in batches of such lengths."""
    return 1 - sum(batch.sum() for batch in batches) / sum(len(batch) * batch.max() for batch in batches)


def padding(small: dict, path: str, batch_size: int) -> float:
    rows = [r for r in small["rows"] if r["what"] == f"encoder, {path}" and r["batch_size"] == batch_size]
    (row,) = rows
    return row["padding_share"]


def test_what_a_machine_lacks_is_skipped_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    size = gpu.Size(20, 20, (8,), 100, 8, 64, 10)
    rows = list(gpu.measure_model(gpu.ENCODER.tiny(), size, "cpu", 1e12))
    assert [row.get("skipped") for row in rows] == [None, "this machine has no sentence_transformers"]
    monkeypatch.setitem(sys.modules, "transformers", SimpleNamespace(__version__="5.17.0"))
    with pytest.raises(gpu.SkipError, match=r"transformers 5\.17\.0 has no GteModel; 5\.18 and later have"):
        list(gpu.measure_model(gpu.ENCODER.tiny(), size, "cpu", 1e12))
    with pytest.raises(gpu.SkipError, match="--data"):
        list(gpu.measure_path(size, None))


def test_goals_look_at_the_project_s_own_path() -> None:
    rows = [
        {"what": "encoder, forward passes alone", "share_of_ceiling": 0.9},
        {"what": "encoder, the project's path", "share_of_ceiling": 0.3},
        {"what": "encoder, the project's path", "share_of_ceiling": 0.41},
        {"what": "reranker, the project's path", "skipped": "this machine has no rapidfuzz"},
        {"what": "kNN 10 x 2, k = 20", "share_of_ceiling": 0.5},
    ]
    found = gpu.goals(rows)
    assert found["encoder"] == {"goal": 0.4, "best": 0.41, "is_met": True}
    assert found["reranker"] == {"goal": 0.4, "best": None, "is_met": False}
    assert not found["knn"]["is_met"]


def test_without_a_gpu_there_are_no_gpu_figures() -> None:
    if pytest.importorskip("torch").cuda.is_available():
        pytest.skip("this machine has a GPU")
    done = script("gpu.py")
    assert done.returncode == 1
    assert done.stderr.strip().splitlines() == [
        "gpu.py: PyTorch sees no GPU, so there are no GPU figures; --small runs the checks on a CPU"
    ]


@needs_registry
def test_the_whole_path_runs_on_synthetic_strings() -> None:
    size = gpu.Size(20, 20, (8,), 100, 8, 64, 200)
    (row,) = gpu.measure_path(size, DATA)
    assert row["what"] == "whole path, 200 synthetic strings"
    assert 0 < row["b3_f1"] <= 1 and {"parse", "block", "cluster"} <= set(row["stages"])
    assert sum(row["stages"].values()) <= row["seconds"]
    assert "whole path" in gpu.line(row)


# ----------------------------------------------------------------------------------------- sources


def test_sources_reads_train_and_tune_alone_and_each_string_once(tmp_path: Path) -> None:
    (tmp_path / "labelled").mkdir()
    rows = [
        "affiliation\tcluster\tfold\tsource",
        *("Kyoto University\tk\ttrain\tcordis", "Kyoto University\tx\ttrain\thfe_french"),
        *("University of Oxford\to\ttune\ts2aff_val", "Aarhus University\ta\ttest\tcordis"),
    ]
    (tmp_path / "labelled" / "shared_clusters.tsv").write_text("\n".join(rows), encoding="utf-8")
    found = sources.read(tmp_path)
    assert [(r.affiliation, r.cluster) for r in found] == [
        ("Kyoto University", "k"),
        ("University of Oxford", "o"),
    ]
    assert found[1].is_new


def test_sources_tables_count_what_a_run_of_the_strings_gives() -> None:
    names = {"k": "Kyoto University, Kyoto, Japan", "o": "University of Oxford, Oxford, UK"}
    texts = [
        (f"Department of {s}, {n}", c) for c, n in names.items() for s in ("Physics", "Law", "Botany", "Art")
    ]
    rows = [sources.Row(text, cluster, "tune", "cordis") for text, cluster in texts]
    alone = sources.Row("Aarhus University, Aarhus, Denmark", "a", "tune", "cordis")
    assert sources.large([*rows, alone]) == rows
    found = sources.line("one", [*rows, alone], pipeline.Settings())
    assert (found.n_strings, found.n_institutions) == (9, 3)
    assert found.measure == dict.fromkeys(sources.MEASURES, 1.0)
    worse = found._replace(measure=dict.fromkeys(sources.MEASURES, 0.5))
    assert "| mean | 18 | 6 | 0.750 |" in sources.table("both", [found, worse])


# ----------------------------------------------------------------------------------- reranker


OXFORD = [
    ("University of Oxford, Oxford, UK", "oxford"),
    ("Dept. of Physics, Univ Oxford, Oxford OX1 3PU, England", "oxford"),
    ("Oxford Univ, UK", "oxford"),
    ("Oxford Brookes University, Oxford, UK", "brookes"),
    ("Brookes Univ., Oxford", "brookes"),
    ("Technische Universität München, Germany", "tum"),
    ("Technical University of Munich, Munich", "tum"),
    ("TU München, Garching", "tum"),
    ("Ludwig-Maximilians-Universität München, Germany", "lmu"),
    ("LMU Munich, Department of Physics", "lmu"),
    ("University of Munich, Munich, Germany", "lmu"),
]


@pytest.fixture(scope="module")
def part() -> combination.Part:
    return combination.Part.of("tune", OXFORD, pipeline.Settings(), is_terse=False)


def test_the_shipped_combination_is_that_of_a_run_with_the_reranker(part: combination.Part) -> None:
    logit = part.combined(combination.WAYS["shipped combination"], [])
    settings = pipeline.Settings().with_values(scoring={"reranker": "built-in"})
    run = pipeline.resolve(part.gold.affiliation, settings)
    assert run.counts["pairs_rescored"] > 10
    found = pipeline.calibration.sigmoid(logit + run.matches.shift)
    assert found == pytest.approx(run.matches.probability)
    b3_f1 = pipeline.evaluate(run.mentions, part.gold, n_bootstrap=0).value("b3_f1")
    assert combination.b3_f1(part.clustered(logit)) == pytest.approx(b3_f1)


def test_a_way_changes_the_pairs_that_it_is_for_as_it_says(part: combination.Part) -> None:
    # So few pairs are all of two institutions in the narrow bands: nothing to fit there.
    ways = {t: way for t, way in combination.WAYS.items() if way.fitted_on in (None, combination.ASKED)}
    changed = {title: part.combined(way, [part]) - part.plain for title, way in ways.items()}
    for title, way in ways.items():
        assert not changed[title][~part.is_for(way)].any()
        assert np.isfinite(changed[title]).all()
    again, lower, higher, half = (
        changed[title] for title in ("fitted again", "only to lower", "only to raise", "half way")
    )
    assert np.allclose(lower + higher, again) and np.allclose(2 * half, again)
    assert lower.max() <= 0 <= higher.min() and again.any()


def test_gains_are_over_the_run_without_and_add_up(part: combination.Part) -> None:
    other = replace(part, fold="held out")
    parts = {"tune": part, "held out": other}
    without = {name: own.clustered(own.plain) for name, own in parts.items()}
    none = combination.Way(mixed=lambda plain, found: plain)
    found = combination.measured(none, parts, without)
    assert all(cell["gain"] == 0 and cell["interval"] == [0, 0] for cell in found.values())
    apart = combination.Way(mixed=lambda plain, found: np.full(len(plain), -20.0))
    found = combination.measured(apart, parts, without)
    assert found["tune"]["gain"] < 0 and found["tune"]["n_worse"] > 0 == found["tune"]["n_better"]
    assert found["sum"]["gain"] == pytest.approx(2 * found["tune"]["gain"], abs=1e-4)


def test_rescoring_is_told_by_band_and_by_group(tmp_path: Path) -> None:
    (tmp_path / "labelled").mkdir()
    lines = ["affiliation\tcluster\tfold\tsource", *(f"{s}\t{label}\ttune\tcordis" for s, label in OXFORD)]
    (tmp_path / "labelled" / "shared_clusters.tsv").write_text("\n".join(lines), encoding="utf-8")
    done = script("rescoring.py", "--data", tmp_path, "--save", tmp_path / "saved.json")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "saved.json").read_text(encoding="utf-8"))
    without, having = (found["groups"][run] for run in ("without", "with"))
    assert without.keys() == having.keys() and without["script: Latin"]["n"] == len(OXFORD)
    default = next(row for row in found["bands"] if row["band"] == [0.01, 0.99])
    assert having["script: Latin"]["b3_f1"] == round(default["b3_f1"], 4)
    assert without["script: Latin"]["b3_f1"] == round(found["without"]["b3_f1"], 4)
    assert "script: Latin" in done.stdout
