"""The walk-through: every output that it shows is what its commands print, figures aside."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from documents import ROOT, Block, blocks

PAGE = ROOT / "docs" / "walkthrough.md"
BLOCKS = blocks(PAGE)
#: Probabilities and seconds move when a model is fitted again.
FIGURE = re.compile(r"\d+\.\d+(?!\d*/)")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the examples, and the run that the page makes in it."""
    found = tmp_path_factory.mktemp("walkthrough")
    shutil.copytree(ROOT / "examples", found / "examples")
    return found


def printed(block: Block, before: str, folder: Path) -> str:
    """What a block prints; Python after the Python blocks before it, of which nothing is printed again."""
    if block.language == "python":
        text = before + "\nprint('\\f')\n" + block.text
        command = [sys.executable, "-X", "utf8", "-c", text]
    else:
        lines = [line[2:] for line in block.text.splitlines() if line.startswith("$ ")]
        command = ["bash", "-c", "\n".join(lines)]
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    done = subprocess.run(
        command, cwd=folder, env={"PATH": path, "PYTHONPATH": str(ROOT)}, capture_output=True, timeout=300
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().rpartition("\f\n")[2]


def shown(text: str) -> list[str]:
    return [" ".join(FIGURE.sub("#", line).split()) for line in text.strip().splitlines()]


def test_every_output_on_the_page_is_the_real_one(folder: Path) -> None:
    before, n_compared = "", 0
    for block, after in zip(BLOCKS, [*BLOCKS[1:], None], strict=True):
        if block.language not in ("python", "console"):
            continue
        found = printed(block, before, folder)
        if block.language == "python":
            before += block.text
            assert after is not None and after.language == "text", f"{block.name}: no output"
            wanted = after.text
        else:
            wanted = "\n".join(line for line in block.text.splitlines() if not line.startswith("$ "))
        assert shown(found) == shown(wanted), block.name
        n_compared += 1
    assert n_compared >= 6
