"""The notebooks run in a fresh kernel, and the outputs that they carry are those of a finished run.

To store new outputs: `jupyter execute --inplace --NotebookClient.record_timing=False notebooks/*.ipynb`.
"""

from __future__ import annotations

import re
import shutil
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


def test_it_runs_in_a_fresh_kernel(path: Path, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    (tmp_path / "notebooks").mkdir()
    stored = read(path)
    fresh = read(path)
    for cell in code_cells(fresh):
        cell.outputs = []
    NotebookClient(
        fresh,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path / "notebooks")}},
    ).execute()
    assert [shapes(cell) for cell in code_cells(fresh)] == [shapes(cell) for cell in code_cells(stored)]
    assert (tmp_path / "out/quickstart/report.html").stat().st_size > 10_000
