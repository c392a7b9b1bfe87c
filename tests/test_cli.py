"""The command as a person or a script meets it: what it prints, what it leaves behind, how it refuses."""

from __future__ import annotations

import csv
import gzip
import json
import logging
import os
import pty
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from blocking import block_in_detail
from pipeline.checkpoints import finished_stages
from pipeline.cli import main

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "affiliations.csv"
TABLES = {"mentions.parquet", "mentions.csv", "institutions.parquet", "institutions.csv", "pairs.parquet"}
FILES = TABLES | {
    "set_aside.parquet",
    "sources.parquet",
    "resolved.csv",
    "report.html",
    "manifest.json",
    "stages",
}
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}
HEAVY = {"torch", "transformers", "sentence_transformers", "pandas", "pyarrow", "faiss", "duckdb", "sklearn"}


def affil(*arguments: object, stdin: bytes | None = None) -> Result:
    """The command in this process."""
    return CliRunner().invoke(main, [str(a) for a in arguments], input=stdin)


def spawn(*arguments: object, **more: object) -> subprocess.CompletedProcess[str]:
    """The command as a process of its own."""
    command = [sys.executable, "-m", "pipeline.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=ENVIRONMENT, **more)  # type: ignore[call-overload,no-any-return]


def refuses(result: Result, code: int, *parts: str) -> None:
    """One clear line on standard error, and nothing else."""
    assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
    assert result.stdout == ""
    assert_one_line(result.stderr, *parts)


def assert_one_line(stderr: str, *parts: str) -> None:
    lines = stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("affil: "), stderr
    assert "Traceback" not in stderr
    for part in parts:
        assert part in lines[0]


def tree(folder: Path) -> set[str]:
    """All that is in a folder, but for what is in finished stages."""
    found = {str(p.relative_to(folder)) for p in folder.rglob("*")}
    return {name for name in found if "stages/" not in name}


def files(run: Path) -> dict[str, bytes]:
    """Content of the files of a run folder, stages left out."""
    return {p.name: p.read_bytes() for p in run.iterdir() if p.is_file()}


def tables(run: Path) -> dict[str, bytes]:
    """Content of the tables, which are the same whenever the run was made."""
    return {
        name: content for name, content in files(run).items() if name not in ("manifest.json", "report.html")
    }


#: What a run leaves that was stopped: its finished stages, where there are any.
HALVES: tuple[set[str], ...] = (
    set(),
    {"deep", "deep/.run.partial", "deep/.run.partial/stages"},
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the example file; no test alters it."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    done = affil("resolve", EXAMPLE, "--output", folder, "--id-column", "id", "--quiet")
    assert done.exit_code == 0, done.stderr
    assert done.stdout == "" and done.stderr == ""
    return folder


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Three rows."""
    path = tmp_path / "small.csv"
    path.write_text(
        'affiliation\n"University of Oxford, UK"\n"Univ Oxford, Oxford, UK"\n"ETH Zurich, Switzerland"\n'
    )
    return path


# --- help


@pytest.mark.parametrize("arguments", [[], ["resolve"], ["evaluate"], ["explain"]])
def test_help_comes_at_once(arguments: list[str]) -> None:
    seconds = []
    for _ in range(2):  # The better of two: other processes may keep the machine busy.
        begin = time.perf_counter()
        done = spawn(*arguments, "--help")
        seconds.append(time.perf_counter() - begin)
    assert done.returncode == 0 and "Usage: " in done.stdout and done.stderr == ""
    assert min(seconds) < 1.5


@pytest.mark.parametrize("arguments", [["--help"], ["resolve", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = (
        f"import sys\nfrom pipeline.cli import main\ntry:\n    main({arguments})\n"
        f"except SystemExit:\n    pass\nsys.exit(str({HEAVY} & set(sys.modules) or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stderr.strip() == ""


def test_help_names_every_option() -> None:
    shown = affil("resolve", "--help").stdout
    for option in (
        *("--output", "--column", "--id-column", "--count-column", "--settings", "--encoder", "--reranker"),
        *("--clusterer", "--n-clusters", "--device", "--overwrite", "--quiet", "--json"),
    ):
        assert option in shown


# --- what a run leaves and prints


def test_a_run_leaves_every_file_and_no_other(run: Path) -> None:
    assert {p.name for p in run.iterdir()} == FILES
    assert {p.name for p in run.parent.iterdir()} == {"run"}
    assert all(p.stat().st_size for p in run.rglob("*"))


def test_the_summary_has_all_figures(small: Path, tmp_path: Path) -> None:
    done = affil("resolve", small, "--output", tmp_path / "run")
    assert done.exit_code == 0 and done.stderr == ""
    for label in (
        *("rows read", "distinct strings", "mentions", "pairs proposed", "pairs rescored", "institutions"),
        *("largest cluster", "seconds", "report.html"),
    ):
        assert label in done.stdout


def test_json_is_one_document_and_nothing_else(small: Path, tmp_path: Path) -> None:
    done = affil("resolve", small, "--output", tmp_path / "run", "--json")
    found = json.loads(done.stdout)
    assert done.stderr == ""
    assert found["folder"] == str(tmp_path / "run") and found["was_finished"] is False
    assert found["counts"]["rows"] == 3
    kept = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert {k: v for k, v in found.items() if k not in ("folder", "was_finished")} == kept


def test_judgements_are_obeyed_and_make_another_run(small: Path, tmp_path: Path) -> None:
    said = tmp_path / "said.csv"
    said.write_text('left,right,verdict\n"University of Oxford, UK","ETH Zurich, Switzerland",same\nA,B,no\n')
    options = ("--output", tmp_path / "run", "--judgements", said)
    done = affil("resolve", small, *options, "--json")
    found = json.loads(done.stdout)
    assert found["judgements"] == str(said) and found["counts"]["institutions"] == 1
    assert "1 of 2 judgements name a string" in found["warnings"][0]
    assert {p.name for p in (tmp_path / "run").iterdir()} == FILES | {"judgements.parquet"}
    assert json.loads(affil("resolve", small, *options, "--json").stdout)["was_finished"] is True
    said.write_text("left,right,verdict\nA,B,no\n")
    refuses(affil("resolve", small, *options), 2, "other input or settings", "--overwrite")
    said.write_text("left,right,verdict\nA,B,no\nB,A,same\n")
    refuses(affil("resolve", small, *options), 2, "row 1 keeps them apart", "row 2")
    said.write_text("left,right\nA,B\n")
    refuses(affil("resolve", small, *options), 2, "no column 'verdict'")


def test_quiet_prints_nothing(small: Path, tmp_path: Path) -> None:
    done = affil("resolve", small, "--output", tmp_path / "run", "--quiet")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "")


def test_standard_input_gives_what_the_file_gives(small: Path, tmp_path: Path) -> None:
    assert affil("resolve", small, "--output", tmp_path / "a", "--quiet").exit_code == 0
    done = affil("resolve", "-", "--output", tmp_path / "b", "--quiet", stdin=small.read_bytes())
    assert done.exit_code == 0, done.stderr
    for name in ("mentions.csv", "institutions.csv", "resolved.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    again = affil("resolve", "-", "--output", tmp_path / "b", "--json", stdin=small.read_bytes())
    assert json.loads(again.stdout)["was_finished"] is True
    other = affil("resolve", "-", "--output", tmp_path / "b", stdin=b"affiliation\nETH\n")
    refuses(other, 2, "other input or settings", "--overwrite")


def test_several_files_are_one_corpus(small: Path, tmp_path: Path) -> None:
    packed = tmp_path / "more.csv.gz"
    packed.write_bytes(gzip.compress(b'affiliation\n"Univ Oxford, Oxford, UK"\n'))
    done = affil("resolve", small, packed, "--output", tmp_path / "run", "--json")
    assert json.loads(done.stdout)["counts"] | {"rows": 4, "distinct": 3} == json.loads(done.stdout)["counts"]
    assert len(pd.read_csv(tmp_path / "run" / "resolved.csv")) == 4


def test_columns_are_taken_as_named(tmp_path: Path) -> None:
    path = tmp_path / "in.tsv"
    path.write_text("key\twhere\ttimes\tinstitution\nk1\tUniv Oxford, UK\t5\tx\nk2\tETH Zurich\t2\ty\n")
    options = ("--column", "where", "--id-column", "key", "--count-column", "times")
    done = affil("resolve", path, "--output", tmp_path / "run", *options, "--json")
    assert json.loads(done.stdout)["reading"]["column"] == "where"
    assert pd.read_parquet(tmp_path / "run" / "sources.parquet")["source_id"].tolist() == ["k1", "k2"]
    mentions = pd.read_parquet(tmp_path / "run" / "mentions.parquet").set_index("affiliation")
    assert mentions["n_occurrences"].to_dict() == {"Univ Oxford, UK": 5, "ETH Zurich": 2}
    assert (
        (tmp_path / "run" / "resolved.tsv")
        .read_text()
        .startswith("key\twhere\ttimes\tinstitution\tentity_id\t")
    )


@pytest.mark.parametrize("clusterer", ["average", "hdbscan", "components"])
def test_every_clusterer_runs(clusterer: str, small: Path, tmp_path: Path) -> None:
    done = affil(
        "resolve", small, "--output", tmp_path / "run", "--clusterer", clusterer, "--device", "cpu", "--json"
    )
    found = json.loads(done.stdout)
    assert found["settings"]["clustering"]["clusterer"] == clusterer
    assert found["counts"]["institutions"] == 2


def test_kmeans_makes_as_many_clusters_as_the_command_says(small: Path, tmp_path: Path) -> None:
    options = ("--clusterer", "kmeans", "--n-clusters", "3", "--json")
    found = json.loads(affil("resolve", small, "--output", tmp_path / "run", *options).stdout)
    assert found["counts"]["institutions"] == 3
    assert [point["n_clusters"] for point in found["silhouette"]] == [3]


def test_options_outrank_the_settings_file(small: Path, tmp_path: Path) -> None:
    settings = tmp_path / "affil.toml"
    settings.write_text('[clustering]\nclusterer = "hdbscan"\nmin_match_probability = 0.75\n')
    options = ("--settings", settings, "--clusterer", "components", "--json")
    found = json.loads(affil("resolve", small, "--output", tmp_path / "run", *options).stdout)
    assert found["settings"]["clustering"]["clusterer"] == "components"
    assert found["settings"]["clustering"]["min_match_probability"] == 0.75


def test_bars_are_drawn_on_a_terminal_only(small: Path, tmp_path: Path) -> None:
    assert spawn("resolve", small, "--output", tmp_path / "a").stderr == ""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "pipeline.cli", "resolve", str(small), "--output", str(tmp_path / "b")]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=theirs,
        cwd=ROOT,
        env=ENVIRONMENT | {"TERM": "xterm", "COLUMNS": "120"},
    ) as process:
        os.close(theirs)
        drawn = b""
        # Linux says EIO once the other end of a terminal is closed.
        with suppress(OSError):
            while part := os.read(ours, 4096):
                drawn += part
        printed = process.communicate()[0]
    os.close(ours)
    assert process.returncode == 0
    for stage in (b"read", b"clean", b"parse", b"block", b"cluster", b"write"):
        assert stage in drawn
    assert b"institutions" in printed and b"\x1b" not in printed


def test_warnings_of_the_library_are_lines_unless_only_errors_are_wanted(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def warn(*arguments: Any, **more: Any) -> Any:
        logging.getLogger("blocking.blocks").warning("a block is\n%s", "large")
        logging.getLogger("blocking.blocks").info("unasked")
        return block_in_detail(*arguments, **more)

    monkeypatch.setattr("pipeline.resolution.block_in_detail", warn)
    assert affil("resolve", small, "--output", tmp_path / "a").stderr == "affil: a block is large\n"
    assert affil("resolve", small, "--output", tmp_path / "b", "--json").stderr == "affil: a block is large\n"
    assert affil("resolve", small, "--output", tmp_path / "c", "--quiet").stderr == ""


def test_a_terminal_without_unicode_gets_escapes(run: Path) -> None:
    name = next(s for s in pd.read_parquet(run / "mentions.parquet")["affiliation"] if "ü" in s)
    done = CliRunner(charset="ascii").invoke(main, ["explain", str(run), name, name])
    assert done.exit_code == 0, done.exception
    assert "\\xfc" in done.stdout and "ü" not in done.stdout


def test_rescoring_and_an_encoder_from_folders(reranker: Path, encoder: Path, tmp_path: Path) -> None:
    """Through the command: models print nothing on standard output, whatever their libraries do."""
    rows = EXAMPLE.read_text(encoding="utf-8").splitlines(keepends=True)[:80]
    path = tmp_path / "in.csv"
    path.write_text("".join(rows), encoding="utf-8")
    options = ("--reranker", reranker, "--encoder", encoder, "--json")
    done = spawn("resolve", path, "--output", tmp_path / "run", *options)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert found["counts"]["pairs_rescored"] > 0
    assert found["settings"]["blocking"]["encoder"] == str(encoder)
    rescored = pd.read_parquet(tmp_path / "run" / "pairs.parquet")["rescored_logit"]
    assert rescored.notna().sum() == found["counts"]["pairs_rescored"]


# --- the same again


def test_the_same_again_is_not_run_again(small: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    affil("resolve", small, "--output", folder)
    before = {p.name: p.stat().st_mtime_ns for p in [folder, *folder.iterdir()]}
    done = affil("resolve", small, "--output", folder)
    assert done.exit_code == 0
    assert "already holds this run" in done.stdout and "institutions" in done.stdout
    assert {p.name: p.stat().st_mtime_ns for p in [folder, *folder.iterdir()]} == before
    assert json.loads(affil("resolve", small, "--output", folder, "--json").stdout)["was_finished"] is True


def test_overwrite_replaces_the_folder_as_a_whole(small: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    affil("resolve", small, "--output", folder)
    other = tmp_path / "other.tsv"
    other.write_text("affiliation\tyear\nUniversity of Vienna, Austria\t2001\n")
    refuses(affil("resolve", other, "--output", folder), 2, "other input or settings", "--overwrite")
    assert (folder / "resolved.csv").exists()
    done = affil("resolve", other, "--output", folder, "--overwrite", "--quiet")
    assert done.exit_code == 0, done.stderr
    assert {p.name for p in folder.iterdir()} == FILES - {"resolved.csv"} | {"resolved.tsv"}
    assert pd.read_parquet(folder / "mentions.parquet")["affiliation"].tolist() == [
        "University of Vienna, Austria"
    ]
    assert tree(tmp_path) == {"small.csv", "other.tsv", "run", *(f"run/{p.name}" for p in folder.iterdir())}


# --- refusals: (files to make → arguments), exit code, what the line says

Make = Callable[[Path], list[object]]


def _file(name: str, content: bytes, *more: object) -> Make:
    def make(folder: Path) -> list[object]:
        (folder / name).write_bytes(content)
        return [folder / name, *more]

    return make


def _settings(text: str) -> Make:
    def make(folder: Path) -> list[object]:
        (folder / "affil.toml").write_text(text)
        return [*_good(folder), "--settings", folder / "affil.toml"]

    return make


def _good(folder: Path, *more: object) -> list[object]:
    (folder / "good.csv").write_text("affiliation\nUniv Oxford\nETH Zurich\n")
    return [folder / "good.csv", *more]


def _broken_parquet(folder: Path) -> list[object]:
    pq.write_table(pa.table({"affiliation": [f"Univ {i}" for i in range(5000)]}), folder / "x.parquet")
    whole = (folder / "x.parquet").read_bytes()
    (folder / "x.parquet").write_bytes(whole[: len(whole) // 2])
    return [folder / "x.parquet"]


def _model_file_given_as_folder(folder: Path) -> list[object]:
    (folder / "model.bin").write_bytes(b"weights")
    return _good(folder, "--reranker", folder / "model.bin")


_LONG = b"affiliation\n" + b"".join(b"Universit\xc3\xa4t %d\n" % n for n in range(2000))
_PACKED = gzip.compress(b"affiliation\n" + os.urandom(3000).hex().encode())
REFUSALS: dict[str, tuple[Make, int, tuple[str, ...]]] = {
    "no such file": (lambda d: [d / "none.csv"], 2, ("no such file", "none.csv")),
    "empty file": (_file("x.csv", b""), 1, ("x.csv", "empty")),
    "header only": (_file("x.csv", b"affiliation\n"), 1, ("x.csv", "no rows")),
    "missing column": (_file("x.csv", b"a,b\n1,2\n", "--column", "affil"), 2, ("'affil'", "'a', 'b'")),
    "no obvious column": (_file("x.csv", b"a,b\n1,2\n"), 2, ("--column", "'a', 'b'")),
    "missing id column": (
        _file("x.csv", b"affiliation\nA\n", "--id-column", "key"),
        2,
        ("'key'", "'affiliation'"),
    ),
    "a folder": (lambda d: [d], 2, ("is a folder",)),
    "unknown extension": (_file("x.docx", b"abc"), 2, (".docx", ".parquet")),
    "truncated gzip": (_file("x.csv.gz", _PACKED[: len(_PACKED) // 2]), 1, ("x.csv.gz",)),
    "truncated Parquet": (_broken_parquet, 1, ("x.parquet",)),
    "stray quote": (_file("x.csv", b'affiliation\nA\n"B" C\nD\n'), 1, ("x.csv", "row 2")),
    "mixed encodings": (_file("x.csv", _LONG + b"Universit\xe4t\n" + _LONG), 1, ("x.csv", "byte")),
    "bad count": (_file("x.csv", b"affiliation,n\nA,0\n", "--count-column", "n"), 1, ("'0'", "row 1")),
    "unknown section": (_settings("[bloking]\n"), 2, ("bloking", "did you mean 'blocking'")),
    "unknown setting": (
        _settings("[blocking]\nneighbors = 3\n"),
        2,
        ("neighbors", "did you mean 'n_neighbours'"),
    ),
    "wrong type": (_settings("[blocking]\nn_neighbours = 'x'\n"), 2, ("n_neighbours", "int", "'x'")),
    "wrong value": (
        _settings("[clustering]\nmin_match_probability = 2.0\n"),
        2,
        ("min_match_probability", "2.0"),
    ),
    "wrong items": (_settings("[scoring]\nrescoring_band = ['a', 'b']\n"), 2, ("rescoring_band", "'a'")),
    "too few items": (_settings("[scoring]\nrescoring_band = [0.5]\n"), 2, ("rescoring_band", "0.5")),
    "bad TOML": (_settings("[blocking\n"), 2, ("affil.toml", "not valid TOML")),
    "no settings file": (lambda d: _good(d, "--settings", d / "none.toml"), 2, ("none.toml",)),
    "no encoder folder": (lambda d: _good(d, "--encoder", d / "none"), 2, ("no encoder", "none")),
    "unknown encoder": (lambda d: _good(d, "--encoder", "hashin"), 2, ("'hashin'", "built-in", "hashing")),
    "no reranker folder": (lambda d: _good(d, "--reranker", d / "none"), 2, ("no such reranker", "none")),
    "reranker is a plain folder": (
        lambda d: _good(d, "--reranker", d),
        2,
        ("cannot load reranker", "neither config.json"),
    ),
    "reranker is a file": (_model_file_given_as_folder, 2, ("model.bin",)),
    "no pair model": (_settings("[scoring]\nmodel = 'none.json'\n"), 2, ("no such pair model", "none.json")),
    "no calibration": (
        _settings("[calibration]\nfile = 'none.json'\n"),
        2,
        ("no such calibration", "none.json"),
    ),
    "bad choice": (lambda d: _good(d, "--clusterer", "ward"), 2, ("ward", "hdbscan", "--help")),
    "kmeans without a number": (
        lambda d: _good(d, "--clusterer", "kmeans"),
        2,
        ("n_clusters", "max_clusters"),
    ),
    "too many clusters": (
        lambda d: _good(d, "--clusterer", "kmeans", "--n-clusters", "99"),
        2,
        ("n_clusters is 99", "different vectors"),
    ),
    "number of clusters for average": (
        lambda d: _good(d, "--n-clusters", "3"),
        2,
        ("n_clusters", "kmeans", "average"),
    ),
    "bad option": (lambda d: _good(d, "--overwite"), 2, ("--overwite", "--help")),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_is_wrong_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    make, code, parts = REFUSALS[name]
    arguments = make(tmp_path)
    before = tree(tmp_path)
    result = affil("resolve", *arguments, "--output", tmp_path / "deep" / "run")
    refuses(result, code, *parts)
    assert tree(tmp_path) == before


def test_no_argument_and_no_output_are_refused_in_one_line(small: Path) -> None:
    refuses(affil("resolve", "--output", "x"), 2, "INPUT", "resolve --help")
    refuses(affil("resolve", small), 2, "--output")
    refuses(affil("resove"), 2, "resove")


def test_an_encoder_is_no_reranker_nor_the_reverse(
    small: Path, tmp_path: Path, reranker: Path, encoder: Path
) -> None:
    before = tree(tmp_path)
    output = tmp_path / "run"
    refuses(affil("resolve", small, "--output", output, "--encoder", reranker), 2, "is a cross-encoder")
    refuses(affil("resolve", small, "--output", output, "--reranker", encoder), 2, "is no reranker")
    assert tree(tmp_path) == before


def test_a_gpu_that_is_not_there_is_refused(small: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    before = tree(tmp_path)
    refuses(affil("resolve", small, "--output", tmp_path / "run", "--device", "cuda"), 2, "cuda", "no GPU")
    assert tree(tmp_path) == before


def test_a_folder_of_other_things_is_left_alone(small: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    before = tree(tmp_path)
    for more in ([], ["--overwrite"]):
        refuses(affil("resolve", small, "--output", folder, *more), 2, "no run", "another --output")
        refuses(affil("resolve", "-", "--output", folder, *more, stdin=small.read_bytes()), 2, "no run")
    assert tree(tmp_path) == before


def test_a_run_with_other_things_in_it_is_not_overwritten(small: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    affil("resolve", small, "--output", folder)
    (folder / "notes.txt").write_text("mine")
    done = affil("resolve", small, "--output", folder, "--clusterer", "components", "--overwrite")
    refuses(done, 2, "notes.txt", "move them")
    assert (folder / "notes.txt").read_text() == "mine"


def test_an_output_that_is_a_file_or_under_one(small: Path, tmp_path: Path) -> None:
    before = tree(tmp_path)
    refuses(affil("resolve", small, "--output", small), 2, "is a file", "another --output")
    refuses(affil("resolve", small, "--output", small / "run"), 1, "a file, not a folder", "another --output")
    assert tree(tmp_path) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_closed_parent_is_refused(small: Path, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    refuses(
        affil("resolve", small, "--output", closed / "run"), 1, "not allowed to write", "another --output"
    )


# --- the disk is full, the run is stopped


@pytest.mark.parametrize("n_bytes", [2_000, 300_000])
def test_a_full_disk_leaves_finished_stages_or_nothing(n_bytes: int, tmp_path: Path) -> None:
    """A file size limit stops the run where the first file outgrows it: rows, vectors."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))

    done = spawn("resolve", EXAMPLE, "--output", tmp_path / "deep" / "run", preexec_fn=limit)
    assert done.returncode == 1 and done.stdout == ""
    assert_one_line(done.stderr, "--output")
    assert tree(tmp_path) == HALVES[n_bytes > 2_000]
    assert ("finished stages are kept" in done.stderr) is (n_bytes > 2_000)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Makes a file system of so many kB; skips where this user may not."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def make(n_kilobytes: int) -> Path:
        if shutil.which("mount") is None:
            pytest.skip("no mount command")
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={n_kilobytes}k", "tmpfs", disk], capture_output=True
        )
        if done.returncode:
            pytest.skip("this user may not mount a file system")
        return disk

    yield make
    # Lazily: a library may hold a file open until it is collected.
    subprocess.run(["umount", "--lazy", disk], capture_output=True)


def test_a_run_goes_on_each_time_there_is_more_space(run: Path, small_disk: Callable[[int], Path]) -> None:
    """From a disk that does not hold the rows to one that holds everything, a bit more each time."""
    disk = small_disk(8)
    n_finished = [0]
    for n_kilobytes in [60, 120, 250, 1000, 3000, 3700, 4200, 5000, 16_000]:
        done = affil("resolve", EXAMPLE, "--output", disk / "deep" / "run", "--id-column", "id", "--quiet")
        refuses(done, 1, "--output")
        assert "space" in done.stderr.lower()
        n_finished.append(len(finished_stages(disk / "deep" / ".run.partial" / "stages")))
        assert tree(disk) == HALVES[n_finished[-1] > 0]
        subprocess.run(["mount", "-o", f"remount,size={n_kilobytes}k", disk], check=True)
    done = affil("resolve", EXAMPLE, "--output", disk / "deep" / "run", "--id-column", "id", "--quiet")
    assert done.exit_code == 0, done.stderr
    assert n_finished == sorted(n_finished) and len(set(n_finished)) >= 5
    assert tables(disk / "deep" / "run") == tables(run)
    assert {p.name for p in (disk / "deep").iterdir()} == {"run"}


def test_a_read_only_disk(small: Path, small_disk: Callable[[int], Path]) -> None:
    disk = small_disk(4000)
    assert affil("resolve", small, "--output", disk / "run", "--quiet").exit_code == 0
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    refuses(affil("resolve", small, "--output", disk / "new"), 1, "read-only file system", "another --output")
    more = ("--clusterer", "components", "--overwrite")
    refuses(affil("resolve", small, "--output", disk / "run", *more), 1, "read-only", "another --output")
    assert "already holds this run" in affil("resolve", small, "--output", disk / "run").stdout


def test_a_mount_point_can_be_filled_and_replaced(small: Path, small_disk: Callable[[int], Path]) -> None:
    """As a container has it: the folder cannot be renamed, only filled."""
    disk = small_disk(4000)
    (disk / "lost+found").mkdir()
    assert affil("resolve", small, "--output", disk, "--quiet").exit_code == 0
    assert tree(disk) == FILES | {"lost+found"}
    assert "already holds" in affil("resolve", small, "--output", disk).stdout
    done = affil("resolve", small, "--output", disk, "--clusterer", "components", "--overwrite", "--json")
    assert json.loads(done.stdout)["settings"]["clustering"]["clusterer"] == "components"
    assert tree(disk) == FILES | {"lost+found"}


@pytest.mark.parametrize(
    "place",
    [
        *("pipeline.job.stage_rows", "pipeline.resolution.parse", "pipeline.resolution.block_in_detail"),
        *(
            "pipeline.row_tables.write_resolved",
            "pipeline.run_folder.write_csv",
            "pipeline.run_folder.write_json",
        ),
    ],
)
def test_ctrl_c_leaves_finished_stages_or_nothing(
    place: str, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(place, stop)
    before = tree(tmp_path)
    is_first = place == "pipeline.job.stage_rows"
    message = "no result was written" if is_first else "the same command goes on from there"
    refuses(affil("resolve", small, "--output", tmp_path / "deep" / "run"), 130, "interrupted", message)
    assert tree(tmp_path) == before | HALVES[not is_first]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_real_signal_leaves_finished_stages_or_nothing(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    parent = tmp_path / "deep"
    command = [sys.executable, "-m", "pipeline.cli", "resolve", str(EXAMPLE), "--output", str(parent / "run")]
    with subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=ENVIRONMENT,
        # Where the tests run in the background of a shell, they ignore Ctrl-C, and hand that on.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    ) as process:
        deadline = time.monotonic() + 30
        while not (parent / ".run.partial" / "result").is_dir() and time.monotonic() < deadline:
            time.sleep(0.002)
        process.send_signal(number)
        stderr = process.communicate(timeout=30)[1]
    assert process.returncode == code, stderr
    assert_one_line(stderr, "no result was written")
    assert tree(tmp_path) in HALVES


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
@pytest.mark.parametrize(
    ("number", "code", "said"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_a_signal_during_a_query_is_one_line(
    small: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    code: int,
    said: str,
) -> None:
    def query(*_: object, **__: object) -> None:
        """As DuckDB, which tells of a signal by an error of its own."""
        with suppress(BaseException):
            os.kill(os.getpid(), number)
            time.sleep(1)
        error = RuntimeError("Query interrupted")
        error.add_note("what is kept")
        raise error

    monkeypatch.setattr(signal, "getsignal", lambda _: signal.SIG_DFL)
    monkeypatch.setattr("pipeline.resolution.block_in_detail", query)
    done = affil("resolve", small, "--output", tmp_path / "run")
    assert done.exit_code == code
    assert_one_line(done.stderr, f"{said}; no result was written; what is kept")


def test_out_of_memory_is_one_line(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("pipeline.resolution.block_in_detail", stop)
    refuses(affil("resolve", small, "--output", tmp_path / "run"), 1, "out of memory")


# --- evaluate, explain, report, models


@pytest.fixture
def own_run(run: Path, tmp_path: Path) -> Path:
    """A copy of the run that a test may alter."""
    return Path(shutil.copytree(run, tmp_path / "copy"))


GOLD = ("--gold", EXAMPLE, "--cluster-column", "institution", "--separator", "|")


def test_evaluate_prints_a_table_or_json(run: Path) -> None:
    shown = affil("evaluate", run, *GOLD)
    assert shown.exit_code == 0, shown.stderr
    for label in ("B³ F1", "pairwise recall", "95 % interval", "Reliability"):
        assert label in shown.stdout
    found = json.loads(affil("evaluate", run, *GOLD, "--json").stdout)
    assert found["n_strings"] > 500
    for name in ("b3_precision", "b3_recall", "pair_f1"):
        measure = found["measures"][name]
        assert 0 < measure["low"] <= measure["value"] <= measure["high"] <= 1
    assert found["measures"]["b3_f1"]["value"] > 0.6
    assert affil("evaluate", run, *GOLD, "--quiet").stdout == ""


def test_evaluate_leaves_the_run_alone_unless_told_to_save(own_run: Path) -> None:
    before = files(own_run)
    affil("evaluate", own_run, *GOLD)
    assert files(own_run) == before
    done = affil("evaluate", own_run, *GOLD, "--save", "--json")
    value = json.loads(done.stdout)["measures"]["b3_f1"]["value"]
    after = files(own_run)
    assert {name for name in after if after[name] != before[name]} == {"manifest.json", "report.html"}
    manifest = json.loads(after["manifest.json"])
    assert manifest["evaluation"]["b3_f1"] == value
    assert {k: v for k, v in manifest.items() if k != "evaluation"} == json.loads(before["manifest.json"])
    assert f"{value:.3f}".encode() in after["report.html"]
    assert f"{value:.3f}".encode() not in before["report.html"]
    affil("report", own_run)
    assert f"{value:.3f}" in (own_run / "report.html").read_text(encoding="utf-8")
    done = affil("resolve", EXAMPLE, "--output", own_run, "--id-column", "id", "--json")
    assert json.loads(done.stdout)["was_finished"] is True


def test_evaluate_refuses_what_is_no_gold(run: Path, tmp_path: Path) -> None:
    refuses(affil("evaluate", run, "--gold", tmp_path / "none.csv"), 2, "none.csv")
    refuses(affil("evaluate", run, "--gold", EXAMPLE, "--cluster-column", "org"), 2, "org")
    refuses(affil("evaluate", tmp_path, "--gold", EXAMPLE), 2, "no finished run")


def _two_of_one_institution(run: Path) -> pd.DataFrame:
    mentions = pd.read_parquet(run / "mentions.parquet").query("role == 'main'")
    largest = mentions["entity_id"].value_counts().index[0]
    return mentions[mentions["entity_id"] == largest]


def test_explain_says_why_two_are_one(run: Path) -> None:
    members = _two_of_one_institution(run)
    left, right = members["affiliation"].iloc[[0, -1]]
    shown = affil("explain", run, left, right)
    assert shown.exit_code == 0, shown.stderr
    assert "one institution" in shown.stdout and "p = " in shown.stdout
    found = json.loads(affil("explain", run, left, right, "--json").stdout)
    assert found["is_same"] is True and found["chain"]
    assert {found["chain"][0]["left"], found["chain"][0]["right"]} & {left}
    assert found["weakest"]["probability"] == min(link["probability"] for link in found["chain"])
    by_id = json.loads(affil("explain", run, *members["mention_id"].iloc[[0, -1]], "--json").stdout)
    assert by_id == found


def test_explain_says_why_two_are_not_one(run: Path) -> None:
    one = _two_of_one_institution(run).iloc[0]
    mentions = pd.read_parquet(run / "mentions.parquet")
    other = mentions[(mentions["country_code"] == "JP") & (mentions["entity_id"] != one["entity_id"])].iloc[0]
    found = json.loads(affil("explain", run, one["affiliation"], other["affiliation"], "--json").stdout)
    assert found["is_same"] is False and found["chain"] == []
    shown = affil("explain", run, one["affiliation"], other["affiliation"])
    assert "two institutions" in shown.stdout


def test_explain_names_the_nearest_string(run: Path) -> None:
    known = _two_of_one_institution(run)["affiliation"].iloc[0]
    refuses(affil("explain", run, known, known[:-2] + "#"), 2, "no such string", known[:20])


def test_report_is_written_again(own_run: Path) -> None:
    (own_run / "report.html").unlink()
    done = affil("report", own_run)
    assert done.stdout.strip() == f"report: {own_run / 'report.html'}"
    assert (own_run / "report.html").read_text(encoding="utf-8").lstrip().startswith("<!")


@pytest.mark.parametrize("command", [["report"], ["explain", "a", "b"]])
def test_a_folder_that_is_no_run_is_refused(command: list[str], tmp_path: Path) -> None:
    refuses(affil(command[0], tmp_path, *command[1:]), 2, str(tmp_path)[:20], "no finished run")
    refuses(affil(command[0], tmp_path / "none", *command[1:]), 2, "none")


def test_models_lists_what_can_be_named() -> None:
    found = json.loads(affil("models", "--json").stdout)
    by_name = {e["name"]: e for e in found}
    assert by_name["hashing"]["kind"] == by_name["built-in"]["kind"] == "encoder"
    assert by_name["built-in"]["bytes"] < 9_000_000
    assert by_name["pair_scorer"]["bytes"] > 1000
    assert by_name["parser"]["bytes"] < 1_000_000
    # With the table of word vectors in its folder.
    assert 4_000_000 < by_name["reranker"]["bytes"] < 8_000_000
    assert {"encoder", "reranker", "pair scorer", "parser", "known names", "linker"} == {
        e["kind"] for e in found
    }
    assert all(e["licence"] and e["choose"] for e in found)
    assert "hashing" in affil("models").stdout


def test_the_version_is_that_of_the_package() -> None:
    from importlib.metadata import version

    assert affil("--version").stdout.strip() == f"affil, version {version('affiliation-resolver')}"


def test_a_formula_in_the_input_does_not_run_in_a_spreadsheet(run: Path) -> None:
    with (run / "mentions.csv").open(encoding="utf-8", newline="") as lines:
        cells = [cell for row in csv.reader(lines) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "@"))]


def test_the_choices_of_the_command_are_those_of_the_library() -> None:
    """Written twice, so that --help need not import the library."""
    from blocking.settings import DEVICES
    from pipeline import cli
    from pipeline.clustering import CLUSTERERS
    from pipeline.works import FORMATS

    assert sorted(cli.CLUSTERERS) == sorted(CLUSTERERS)
    assert tuple(FORMATS) == cli.PUBLISHERS
    assert cli.DEVICES == DEVICES
