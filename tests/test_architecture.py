"""Who may import whom: blocking is the ground floor, nouns stand below verbs, verbs import no sibling."""

import ast
import subprocess
import sys
from pathlib import Path

import networkx as nx
import pytest

ROOT = Path(__file__).resolve().parent.parent
#: Floors of `pipeline`, lowest first; a module imports only from floors below its own (or, for floors marked
#: so in `LAYERED`, from its own floor too).
FLOORS = (
    ("errors",),
    ("records", "text", "place_names", "place_words", "postcodes", "places"),
    (
        "lexicon",
        "concepts",
        "known_names",
        "recognition",
        "presets",
        "writing",
        "databases",
        "postgres",
        "stores",
        "encodings",
        "inputs",
        "formats",
        "works",
        "rows",
        "stage_log",
        "processes",
        "checkpoints",
        "distributed",
        "engine_options",
        "ray_workers",
    ),
    (
        *(
            "reading",
            "folding",
            "cleaning",
            "parsing",
            "normalization",
            "scoring",
            "calibration",
            "clustering",
        ),
        *("consolidation", "evaluation", "report", "registry"),
    ),
    ("linking",),
    (
        "settings",
        "run_folder",
        "export",
        "tables",
        "linked_tables",
        "model_list",
        "judgements",
        "explanation",
        "review",
        "preparation",
        "similarity",
        "authorships",
        "row_tables",
        "ledger",
        "changes",
        "artefacts",
        "stages",
        "workspace",
    ),
    ("resolution", "index"),
    (
        "job",
        "link_job",
        "lookup_job",
        "growth",
        "grown_records",
        "add_job",
        "training",
        "console",
        "model_check",
    ),
    ("growth_commands", "model_commands", "registry_commands", "review_commands", "train_commands"),
    ("cli",),
)
#: Floors of helpers that build on each other; verbs do not.
LAYERED = {1, 2, 5, 7}
FLOOR_OF = {name: number for number, floor in enumerate(FLOORS) for name in floor}


def modules(package: str) -> dict[str, Path]:
    found = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path) -> set[str]:
    """Every module that a file imports, at the top, in functions, and for types only."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


PIPELINE, BLOCKING = modules("pipeline"), modules("blocking")


def test_blocking_never_imports_pipeline() -> None:
    for path in BLOCKING.values():
        assert not [i for i in imports(path) if i.split(".")[0] == "pipeline"], path


def test_there_are_two_import_packages() -> None:
    packages = {p.parent.name for p in ROOT.glob("*/__init__.py") if p.parent.name != "tests"}
    assert packages == {"blocking", "pipeline"}


def test_every_module_has_a_floor() -> None:
    assert {name.split(".")[1] for name in PIPELINE if "." in name} == set(FLOOR_OF)


@pytest.mark.parametrize("name", [n for n in PIPELINE if "." in n])
def test_a_module_imports_only_from_below(name: str) -> None:
    own = name.split(".")[1]
    for found in imports(PIPELINE[name]):
        parts = found.split(".")
        if parts[0] != "pipeline" or len(parts) < 2 or parts[1] not in FLOOR_OF or parts[1] == own:
            continue
        below, here = FLOOR_OF[parts[1]], FLOOR_OF[own]
        assert below < here or (below == here and here in LAYERED), f"{name} imports {found}"


@pytest.mark.parametrize("package", ["pipeline", "blocking"])
def test_no_import_cycles(package: str) -> None:
    known = modules(package)
    graph = nx.DiGraph()
    for name, path in known.items():
        if name == package:
            continue  # The package's own front names its modules on purpose, late.
        # A package's front stands for its modules: importing `a.b` from within `a` is no cycle.
        targets = {
            i
            for i in imports(path)
            if i in known and i not in (name, package) and not name.startswith(i + ".")
        }
        graph.add_edges_from((name, target) for target in targets)
    assert list(nx.simple_cycles(graph)) == []


def test_no_print_and_no_eval_in_the_library() -> None:
    for path in [*PIPELINE.values(), *BLOCKING.values()]:
        calls = {
            n.func.id
            for n in ast.walk(ast.parse(path.read_text()))
            if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
        }
        assert not calls & {"print", "eval", "exec"}, path
        text = path.read_text(encoding="utf-8")
        assert "trust_remote_code=True" not in text
        assert "import pickle" not in text


@pytest.mark.parametrize("package", ["pipeline", "blocking"])
def test_importing_a_package_loads_nothing_heavy(package: str) -> None:
    heavy = {
        "torch",
        "transformers",
        "sentence_transformers",
        "faiss",
        "hdbscan",
        "sklearn",
        "duckdb",
        "pandas",
        "ray",
    }
    code = f"import sys, {package}; found = {heavy} & set(sys.modules); sys.exit(str(found) if found else 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
