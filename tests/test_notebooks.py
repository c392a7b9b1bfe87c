"""The notebooks run in a fresh kernel, and the outputs that they carry are those of a finished run.

To store new outputs: `python tests/test_notebooks.py`.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MAX_BYTES = 100_000


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.name)
def path(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


def read(path: Path) -> Any:
    """A notebook file as a notebook."""
    return nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shapes(cell: Any) -> list[tuple[str, ...]]:
    """What kinds of output a cell has."""
    return [(output.output_type, *sorted(output.get("data", {}))) for output in cell.outputs]


def test_there_is_a_quickstart() -> None:
    assert "01_quickstart.ipynb" in [path.name for path in NOTEBOOKS]


def test_outputs_are_stored_small_and_of_no_place(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    # The imports show nothing; every other cell is there to show something.
    assert [cell.source for cell in cells[1:] if not cell.outputs] == []
    outputs = [output for cell in cells for output in cell.outputs]
    assert {output.output_type for output in outputs} <= {"execute_result", "stream", "display_data"}
    assert not [output for output in outputs if output.get("name") == "stderr"]
    text = path.read_text(encoding="utf-8")
    assert len(text.encode("utf-8")) < MAX_BYTES
    assert not re.search(r"(?<![\w.<])/(?:home|root|tmp|Users|work|mnt|usr)/", text)
    assert "iopub" not in text


def executed(path: Path, root: Path) -> Any:
    """A notebook with new outputs; it ran beside a copy of the example, and left its files there."""
    shutil.copytree(ROOT / "examples", root / "examples")
    folder = root / "notebooks"
    folder.mkdir()
    notebook = read(path)
    for cell in code_cells(notebook):
        cell.outputs = []
    where = {"metadata": {"path": str(folder)}}
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", record_timing=False, resources=where
    ).execute()
    # Versions and places of the machine that ran it are no part of the document.
    notebook.metadata.language_info = {"name": "python"}
    return notebook


def test_it_runs_in_a_fresh_kernel(path: Path, tmp_path: Path) -> None:
    fresh = executed(path, tmp_path)
    assert [shapes(cell) for cell in code_cells(fresh)] == [shapes(cell) for cell in code_cells(read(path))]
    assert (tmp_path / "out/quickstart/report.html").stat().st_size > 10_000


def store() -> None:
    """Every notebook of the repository with the outputs of this version."""
    for notebook in NOTEBOOKS:
        with tempfile.TemporaryDirectory() as root:
            nbformat.write(executed(notebook, Path(root)), notebook)  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    store()
