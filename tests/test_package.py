"""The wheel: everything that a run needs is in it, weights too, and it runs where the repository is not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
#: Weights that ship, in bytes.
MOST = 30_000_000


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing is left in the repository."""
    folder = tmp_path_factory.mktemp("package")
    source = folder / "source"
    for name in ("pipeline", "blocking"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(folder),
        str(source),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-1000:]
    return next(folder.glob("*.whl"))


def test_every_file_of_the_packages_is_in_the_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {info.filename: info.file_size for info in archive.infolist()}
    for name in ("pipeline", "blocking"):
        for path in (ROOT / name).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert packed.get(path.relative_to(ROOT).as_posix()) == path.stat().st_size, path
    weights = sum(size for name, size in packed.items() if name.startswith("pipeline/models/"))
    assert 0 < weights < MOST
    assert any(name.endswith("licenses/LICENSE") for name in packed)


CODE = """
import sys
from pathlib import Path
import blocking, pipeline
from blocking import BlockingSettings
from pipeline.linking import LinkModel
from pipeline.model_list import load_named_encoder
from pipeline.scoring import ScoringSettings, load_rescorer

assert Path(pipeline.__file__).is_relative_to(sys.argv[1]), pipeline.__file__
assert load_named_encoder(BlockingSettings(encoder="built-in")).encode(["Univ Oxford"]).shape == (1, 256)
LinkModel.load(None)
settings = pipeline.Settings().with_values(scoring={"reranker": "built-in", "rescoring": "all"})
strings = ["University of Oxford, Oxford, UK", "Univ Oxford, Dept Phys, Oxford, England", "ETH Zurich"]
result = pipeline.resolve(strings, settings)
assert sorted(result.institutions["n_mentions"]) == [1, 2], result.institutions
assert "torch" not in sys.modules and "transformers" not in sys.modules
"""


def test_the_wheel_runs_alone(wheel: Path, tmp_path: Path) -> None:
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    environment = os.environ | {"PYTHONPATH": str(installed), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", CODE, str(installed)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
