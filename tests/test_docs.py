"""The documents against the program: columns, settings, commands, options and links, in both directions."""

from __future__ import annotations

import ast
import csv
import dataclasses
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tokenize
import tomllib
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from blocking.pairs import RULES
from pipeline.cli import main
from pipeline.job import run_job
from pipeline.reading import ReadingSettings
from pipeline.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "affiliations.csv"
CONTRACT, SETTINGS = ROOT / "docs" / "data-contract.md", ROOT / "docs" / "settings.md"
DOCUMENTS = [path for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))] if path.exists()]
TABLES = ("mentions", "institutions", "sources", "pairs", "set_aside")
#: One string or more for each reason for which something is set aside.
DEBRIS = [
    "",
    "12345",
    "Paris, France",
    "University of Bonn, Germany, jane@example.org",
    "University of Bonn, Tel. +49 228 730 0000",
    "University of Bonn, https://orcid.org/0000-0002-1825-0097",
    "University of Bonn, www.example.org",
    "Correspondence to: University of Bonn, Germany",
    "Present address: University of Bonn, Germany",
    "Prof. Hans Schmitz, Department of Physics, University of Bonn",
    "Prof. Dr., Department of Physics, University of Bonn",
]
#: What a document's block may need that a clone lacks.
NEEDS_DATA = re.compile(r"AFFIL_DATA|\.\./shared")


class Block(NamedTuple):
    """A fenced block of a document: its language, its text, the line it begins in, and why it is not run."""

    document: Path
    language: str
    text: str
    line: int
    reason: str | None

    @property
    def name(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"


def blocks(document: Path) -> list[Block]:
    """Fenced blocks in order; `<!-- not run: why -->` in the line above keeps one from being run."""
    text = document.read_text(encoding="utf-8")
    fence = re.compile(
        r"(?:^<!-- not run: ([^\n]+?) -->\n+)?^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL
    )
    return [
        Block(document, m[2], m[3], text[: m.start(3)].count("\n") + 1, m[1] or _lacks(m[3]))
        for m in fence.finditer(text)
    ]


def _lacks(text: str) -> str | None:
    return "needs the labelled data (AFFIL_DATA), which a clone lacks" if NEEDS_DATA.search(text) else None


BLOCKS = [block for document in DOCUMENTS for block in blocks(document)]


def table(document: Path, section: str, first: str) -> dict[str, list[str]]:
    """The table of a section whose first column is called `first`: its name → the other cells."""
    parts = re.split(r"^## +(.+)$", document.read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = dict(zip(parts[1::2], parts[2::2], strict=True))[section].splitlines()
    begin = next(n for n, line in enumerate(lines) if line.startswith(f"| {first} |"))
    found: dict[str, list[str]] = {}
    for line in lines[begin + 2 :]:
        if not line.startswith("|"):
            break
        name, *cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        found[name.strip("`")] = cells
    return found


def type_name(kind: pa.DataType) -> str:
    """An Arrow type in the words of the contract."""
    if pa.types.is_dictionary(kind):
        return f"{type_name(kind.value_type)} (dictionary)"
    if pa.types.is_list(kind):
        return f"list of {type_name(kind.value_type)}"
    return {"double": "float64", "float": "float32"}.get(str(kind), str(kind))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the example and on one string for each thing that can be set aside."""
    folder = tmp_path_factory.mktemp("contract")
    with (folder / "more.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "affiliation", "year", "n_papers", "institution"])
        writer.writerows([f"d{n}", text, 2020, 1, ""] for n, text in enumerate(DEBRIS))
    reading = ReadingSettings(id_column="id", count_column="n_papers")
    return run_job([str(EXAMPLE), str(folder / "more.csv")], folder / "run", reading=reading).folder


# The data contract.


@pytest.mark.parametrize("name", TABLES)
def test_columns_and_types_are_the_documented_ones(run: Path, name: str) -> None:
    schema = pq.read_schema(run / f"{name}.parquet")
    documented = [(column, cells[0]) for column, cells in table(CONTRACT, name, "column").items()]
    assert [(field.name, type_name(field.type)) for field in schema] == documented


@pytest.mark.parametrize("name", TABLES)
def test_a_column_that_is_never_null_has_no_null_and_the_others_have(run: Path, name: str) -> None:
    found = pq.read_table(run / f"{name}.parquet")
    assert found.num_rows
    for column, (_, null, _) in table(CONTRACT, name, "column").items():
        n_null = found.column(column).null_count
        # Every row of this run lacks a reranker's logit; every other column has both.
        assert (n_null == 0) == null.startswith("never"), (
            f"{name}.{column}: {n_null} nulls, documented: {null}"
        )


@pytest.mark.parametrize("name", ["mentions", "institutions"])
def test_csv_files_have_the_columns_of_the_parquet_files(run: Path, name: str) -> None:
    with (run / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = list(csv.reader(file))
    assert header == list(table(CONTRACT, name, "column"))
    assert len(rows) == pq.read_metadata(run / f"{name}.parquet").num_rows


def test_resolved_adds_the_documented_columns_to_the_users_own(run: Path, tmp_path: Path) -> None:
    mine = pyarrow.csv.read_csv(EXAMPLE, parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True))
    documented = [(column, cells[0]) for column, cells in table(CONTRACT, "resolved", "column").items()]
    with (run / "resolved.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == [*mine.column_names, *(column for column, _ in documented)]
    assert len(rows) - 1 == len(mine) + len(DEBRIS)
    pq.write_table(mine.slice(0, 5), tmp_path / "mine.parquet")
    folder = run_job([str(tmp_path / "mine.parquet")], tmp_path / "run").folder
    added = list(pq.read_schema(folder / "resolved.parquet"))[len(mine.column_names) :]
    assert [(field.name, type_name(field.type)) for field in added] == documented


def test_the_folder_holds_the_documented_files(run: Path) -> None:
    text = CONTRACT.read_text(encoding="utf-8")
    files = re.findall(r"^\| (`.+?) \|", text[: text.index("## Ids")], flags=re.MULTILINE)
    documented = {name for cell in files for name in re.findall(r"`(\w+\.\w+)`", cell)}
    assert {path.name for path in run.iterdir()} == documented


def test_ids_derive_as_documented(run: Path) -> None:
    mentions = pq.read_table(run / "mentions.parquet").to_pylist()
    members: dict[str, list[str]] = {}
    for row in mentions:
        assert row["affiliation_id"] == "a" + hashlib.md5(row["affiliation"].encode()).hexdigest()[:16]
        assert re.fullmatch(re.escape(row["affiliation_id"]) + r"-\d+", row["mention_id"])
        assert (row["role"] == "main") == row["mention_id"].endswith("-0")
        members.setdefault(row["entity_id"], []).append(row["mention_id"])
    assert {row["role"] for row in mentions} == {"main", "parent", "partner"}
    assert [
        e for e, ids in members.items() if e != "e" + hashlib.md5(min(ids).encode()).hexdigest()[:16]
    ] == []


@pytest.mark.parametrize("name", [*TABLES, "resolved"])
def test_example_rows_are_rows_of_the_run(run: Path, name: str) -> None:
    text = CONTRACT.read_text(encoding="utf-8")
    found = re.search(rf"<!-- example: {name} -->\nExample:\n\n```json\n(.*?)```", text, flags=re.DOTALL)
    assert found, f"no example row of {name}"
    row = json.loads(found[1])
    if name == "resolved":
        with (run / "resolved.csv").open(encoding="utf-8", newline="") as file:
            rows: list[dict[str, Any]] = list(csv.DictReader(file))
    else:
        rows = pq.read_table(run / f"{name}.parquet").to_pylist()
    assert list(row) == list(rows[0])
    # Figures move when a model is fitted again; what a string says of itself does not.
    fixed = (
        "affiliation",
        "affiliation_id",
        "mention_id",
        "source_id",
        "string",
        "reason",
        "preferred_name",
        "role",
    )
    fixed += ("left_mention_id", "right_mention_id")
    wanted = {column: row[column] for column in fixed if column in row}
    assert [r for r in rows if all(r[column] == value for column, value in wanted.items())]


def test_reasons_and_rules_are_the_documented_ones(run: Path) -> None:
    reasons = pq.read_table(run / "set_aside.parquet").column("reason").to_pylist()
    assert set(reasons) == set(table(CONTRACT, "set_aside", "reason"))
    assert list(table(CONTRACT, "pairs", "rule")) == list(RULES)
    proposed = pq.read_table(run / "pairs.parquet").column("rule").unique().to_pylist()
    assert {rule for names in proposed for rule in names.split("+")} <= set(RULES)


def test_csv_text_never_starts_a_formula(run: Path) -> None:
    with (run / "mentions.csv").open(encoding="utf-8", newline="") as file:
        strings = [row["affiliation"] for row in csv.DictReader(file)]
    raw = pq.read_table(run / "mentions.parquet").column("affiliation").to_pylist()
    assert [s for s in raw if s.startswith("=")], "the example has a row that begins with ="
    assert strings == [f"'{s}" if s.startswith(("=", "+", "-", "@", "\t", "\r")) else s for s in raw]
    with (run / "resolved.csv").open(encoding="utf-8", newline="") as file:
        assert any(row["affiliation"].startswith("=") for row in csv.DictReader(file))


def test_the_manifest_has_the_documented_keys(run: Path) -> None:
    done = CliRunner().invoke(
        main,
        [
            "evaluate",
            str(run),
            "--gold",
            str(EXAMPLE),
            "--cluster-column",
            "institution",
            "--separator",
            "|",
            "--save",
        ],
    )
    assert done.exit_code == 0, done.output
    assert set(json.loads((run / "manifest.json").read_text())) == set(
        table(CONTRACT, "manifest.json", "key")
    )


# The settings.


def setting_type(hint: Any) -> str:
    """A field's type in the words of the settings page."""
    options = [o for o in (typing.get_args(hint) or (hint,)) if o is not type(None)]
    if typing.get_origin(hint) is tuple:
        return {(float, float): "two numbers", (str, ...): "list of texts"}[typing.get_args(hint)]
    return {str: "text", int: "integer", float: "number", bool: "boolean"}[options[0]]


@pytest.mark.parametrize("section", [field.name for field in dataclasses.fields(Settings)])
def test_settings_types_and_defaults_are_documented(section: str) -> None:
    stage = getattr(Settings(), section)
    hints = typing.get_type_hints(type(stage))
    actual = {name: (setting_type(hints[name]), value) for name, value in vars(stage).items()}
    documented = {}
    for name, (kind, default, meaning) in table(SETTINGS, f"[{section}]", "setting").items():
        value = None if default == "unset" else tomllib.loads(f"value = {default.strip('`')}")["value"]
        documented[name] = (kind, tuple(value) if isinstance(value, list) else value)
        assert meaning
    assert documented == actual


def test_the_page_has_no_section_of_its_own() -> None:
    documented = re.findall(r"^## \[(\w+)\]$", SETTINGS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert documented == [field.name for field in dataclasses.fields(Settings)]


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "toml"], ids=lambda b: b.name)
def test_toml_blocks_are_settings(block: Block) -> None:
    assert Settings.from_dict(tomllib.loads(block.text)) != Settings()


# The command line.


def commands(group: click.Command = main, path: str = "affil") -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, by its full name."""
    if isinstance(group, click.Group):
        for name, command in group.commands.items():
            yield from commands(command, f"{path} {name}")
    else:
        yield path, group


def test_every_command_and_option_is_documented() -> None:
    found = table(SETTINGS, "Commands and options", "command")
    documented = {" ".join(w for w in name.split() if w.islower()): cells[0] for name, cells in found.items()}
    actual = {name: options_of(command) for name, command in commands()} | {"affil": {"--version", "--help"}}
    assert {name: set(re.findall(r"--[a-z-]+", options)) for name, options in documented.items()} == actual


def options_of(command: click.Command) -> set[str]:
    return {
        option
        for p in command.params
        if isinstance(p, click.Option)
        for option in p.opts
        if option[:2] == "--"
    }


def test_every_command_of_the_help_stands_in_the_documents() -> None:
    text = "\n".join(document.read_text(encoding="utf-8") for document in DOCUMENTS)
    assert [name for name, _ in commands() if name not in text] == []


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Path]:
    """For each document a folder with the example, in which its blocks run one after the other."""
    found = {document: tmp_path_factory.mktemp(document.stem) for document in DOCUMENTS}
    for document, folder in found.items():
        shutil.copytree(ROOT / "examples", folder / "examples")
        for block in blocks(document):
            named = re.match(r"# (\w+\.toml)\n", block.text)
            if block.language == "toml" and named:
                (folder / named[1]).write_text(block.text, encoding="utf-8")
    return found


def shell_lines(block: Block) -> list[str]:
    """The commands of a block: every line of `sh`, those after a prompt of `console`; backslashes joined."""
    lines = block.text.replace("\\\n", " ").splitlines()
    if block.language == "console":
        lines = [line[2:] for line in lines if line.startswith("$ ")]
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def recipe(target: str) -> list[str]:
    """The `affil` lines of a Makefile target, as a shell takes them, but those that need the labelled data."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    found = re.search(rf"^{re.escape(target)}:[^\n]*\n((?:\t[^\n]*\n)*)", text, flags=re.MULTILINE)
    assert found, f"no target {target!r} in the Makefile"
    lines = [line.strip().replace("$(BIN)/", "") for line in found[1].splitlines()]
    return [line for line in lines if line.startswith("affil ") and "$(" not in line]


def run_shell(command: str, folder: Path) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=folder,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"


@pytest.mark.parametrize(
    "block", [b for b in BLOCKS if b.language in ("sh", "console", "bash", "python")], ids=lambda b: b.name
)
def test_blocks_run(block: Block, folders: dict[Path, Path]) -> None:
    if block.reason:
        pytest.skip(block.reason)
    folder = folders[block.document]
    if block.language == "python":
        before = [
            b
            for b in blocks(block.document)
            if b.language == "python" and b.line < block.line and not b.reason
        ]
        (folder / "block.py").write_text("\n".join([*(b.text for b in before), block.text]), encoding="utf-8")
        run_shell("python block.py", folder)
        return
    for line in shell_lines(block):
        words = line.split()
        if words[0] == "make":
            for target in words[1:]:
                for command in recipe(target):
                    run_shell(command, folder)
        elif re.search(r"(?:^|[|;&] *)affil ", line):
            run_shell(line, folder)


# Everything that is written for people.


@pytest.mark.parametrize(
    "document", [*DOCUMENTS, ROOT / "CHANGELOG.md", ROOT / "examples/README.md"], ids=lambda p: p.name
)
def test_relative_links_point_to_files_and_headings(document: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(<?([^)\s>]+)", text) + re.findall(
        r"<(?:img|a)[^>]*\b(?:src|href)=\"([^\"]+)\"", text
    )
    for target in targets:
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        assert file.exists(), f"{document.name}: {target}"
        assert not anchor or anchor in anchors(file), f"{document.name}: no heading for {target}"


def anchors(document: Path) -> set[str]:
    """What headings are called in links, as GitHub makes it."""
    headings = re.findall(r"^#+ +(.+)$", document.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_is_short() -> None:
    readme = ROOT / "README.md"
    if not readme.exists():
        pytest.skip("no README.md")
    assert len(readme.read_text(encoding="utf-8").splitlines()) <= 150


def test_nothing_speaks_of_the_place_where_it_was_written() -> None:
    # In two pieces, so that this file does not speak of it either.
    forbidden = re.compile(r"(?<![\w.])/" + r"work\b(?!flow)|\bshared" + r"/")
    default = "../shared" + "/data"
    for path in [*DOCUMENTS, ROOT / "CHANGELOG.md", ROOT / "Makefile", *code_files()]:
        text = "\n".join(comments(path)) if path.suffix == ".py" else path.read_text(encoding="utf-8")
        if path.parts[len(ROOT.parts)] in ("tests", "benchmarks", "Makefile"):
            text = text.replace(default, "")
        assert not forbidden.search(text), f"{path.relative_to(ROOT)}: {forbidden.search(text)}"


def code_files() -> list[Path]:
    return [
        path
        for name in ("pipeline", "blocking", "tests", "benchmarks")
        for path in (ROOT / name).rglob("*.py")
    ]


def comments(path: Path) -> list[str]:
    """The comments and docstrings of a module, and its other strings: none may name a place."""
    source = path.read_text(encoding="utf-8")
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    strings = [
        n.value
        for n in ast.walk(ast.parse(source))
        if isinstance(n, ast.Constant) and isinstance(n.value, str)
    ]
    return strings + [token.string for token in tokens if token.type == tokenize.COMMENT]
