import ast
import subprocess
import sys
from pathlib import Path

import pytest

import blocking
from blocking import BlockingError, BlockingSettings

HEAVY = ("faiss", "torch", "sklearn", "scipy", "transformers", "sentence_transformers", "pandas")


def loaded_after(code):
    code += f"; import sys; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_importing_blocking_is_light():
    assert loaded_after("import blocking, blocking.analysis, blocking.hashing, blocking.sentence") == set()


def test_default_blocking_never_loads_a_model_library():
    pytest.importorskip("faiss")
    loaded = loaded_after("import blocking; blocking.block(['Univ Oslo', 'University of Oslo'])")
    assert {"faiss", "scipy"} <= loaded
    assert not loaded & {"torch", "transformers", "sentence_transformers"}


def test_blocking_never_imports_the_pipeline():
    for path in Path(blocking.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.split(".")[0] == "pipeline"], path


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"index": "flat"}, "index must be one of auto, exact, quantised, hnsw, ivf, got 'flat'"),
        ({"backend": "annoy"}, "backend must be one of auto, faiss, torch, got 'annoy'"),
        ({"device": "gpu"}, "device must be one of auto, cpu, cuda, got 'gpu'"),
        ({"n_neighbours": 0}, "n_neighbours must be 1 or more, got 0"),
        ({"max_block": 1}, "max_block must be 2 or more, got 1"),
        ({"truncate_dim": 0}, "truncate_dim must be 1 or more, got 0"),
        ({"min_similarity": 1.5}, "min_similarity must lie in"),
        ({"encoder": ""}, "got an empty string"),
    ],
)
def test_settings_refuse_what_they_cannot_mean(wrong, message):
    with pytest.raises(BlockingError, match=message):
        BlockingSettings(**wrong)
