"""The documents against the program: settings, commands, options and links, in both directions."""

from __future__ import annotations

import ast
import dataclasses
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
from typing import Any

import click
import pytest
from documents import BLOCKS, DOCUMENTS, ROOT, SETTINGS, Block, blocks, table

from pipeline.cli import main
from pipeline.settings import Settings

# The settings.


def setting_type(hint: Any) -> str:
    """A field's type in the words of the settings page."""
    options = [o for o in (typing.get_args(hint) or (hint,)) if o is not type(None)]
    of_items = hint if typing.get_origin(hint) is tuple else options[0]
    if typing.get_origin(of_items) is tuple:
        return {(float, float): "two numbers", (str, ...): "list of texts"}[typing.get_args(of_items)]
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
    """The `affil` lines of a Makefile target, as a shell takes them, but those that need labelled data."""
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
    folder = folders[block.document]
    # Targets must exist even where they are not run.
    lines = python_lines(block, folder) if block.language == "python" else affil_lines(block)
    if block.reason:
        pytest.skip(block.reason)
    for line in lines:
        run_shell(line, folder)


def affil_lines(block: Block) -> list[str]:
    """What a shell block runs of this program: lines with `affil`, and those of the targets that it makes."""
    found: list[str] = []
    for line in shell_lines(block):
        made = re.search(r"(?:^| )make +([a-z ]+)", line)
        if made:
            found += [command for target in made[1].split() for command in recipe(target)]
        elif re.search(r"(?:^|[|;&] *)affil ", line):
            found.append(line)
    return found


def python_lines(block: Block, folder: Path) -> list[str]:
    """One line that runs the block after the Python blocks before it, as a reader would."""
    read = [b for b in blocks(block.document) if b.language == "python" and b.line <= block.line]
    text = "\n".join(b.text for b in read if not b.reason)
    (folder / "block.py").write_text(text, encoding="utf-8")
    return ["python block.py"]


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


def test_the_table_of_recipe_options_is_that_of_the_recipe() -> None:
    from pipeline.training.recipe import RECIPES, Recipe

    page = ROOT / "docs" / "fine-tuning.md"
    documented = {
        name: tomllib.loads(f"value = {default.strip('`')}")["value"]
        for name, (default, _) in table(page, "Options of a recipe", "option").items()
    }
    plain = dataclasses.asdict(Recipe()).items()
    assert documented == {name: list(v) if isinstance(v, tuple) else v for name, v in plain}
    named = table(page, "The published recipes", "recipe")
    assert [re.findall(r"\w+-\w+", name)[0] for name in named] == list(RECIPES)


def test_the_figures_of_fine_tuning_are_those_of_the_saved_results() -> None:
    text = (ROOT / "docs" / "fine-tuning.md").read_text(encoding="utf-8")
    saved = json.loads((ROOT / "benchmarks" / "results" / "fine_tuning.json").read_text(encoding="utf-8"))
    for name, own in saved["figures"].items():
        assert f"{name:10} " + "  ".join(f"{value:9.4f}" for value in own.values()) in text
    assert f"{saved['n_learned']:,} strings to learn from, {saved['n_dev']:,} set aside" in text
    assert f"{saved['nearer_before']:.4f} before, {saved['nearer_after']:.4f} after" in text
    assert saved["figures"]["after"]["pair_completeness"] > saved["figures"]["before"]["pair_completeness"]


def test_the_table_of_built_in_models_is_that_of_the_saved_figures_and_of_the_files() -> None:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import built_in

    saved = json.loads(built_in.SAVED.read_text(encoding="utf-8"))
    page = built_in.PAGE.read_text(encoding="utf-8")
    assert page == built_in.with_table(page, saved)
    assert set(saved) == {
        folder.name for folder in (ROOT / "pipeline" / "models").iterdir() if folder.is_dir()
    }
    for name, own in saved.items():
        assert own["bytes"] == pytest.approx(built_in.size_of(name), rel=0.1), name


def test_the_table_of_published_models_is_that_of_the_presets() -> None:
    from pipeline.presets import PRESETS

    documented = table(ROOT / "docs" / "models.md", "Published models", "preset")
    actual = {
        p.name: [
            *(p.what, p.licence, f"{p.n_parameters} M", ", ".join(map(str, p.dimensions))),
            *(str(p.max_length), f"`{p.option}`"),
        ]
        for p in PRESETS.values()
    }
    assert documented == actual
