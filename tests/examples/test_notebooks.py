"""The notebooks of examples/ run from top to bottom; each checks its own result at the end."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parents[2] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))


def read(path: Path) -> nbformat.NotebookNode:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def code(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_these_are_the_examples() -> None:
    assert [path.name for path in NOTEBOOKS] == ["monai_workflow.ipynb", "plain_pytorch.ipynb"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_outputs_are_committed(path: Path) -> None:
    for cell in code(read(path)):
        assert cell.outputs == [], f"clear the outputs of {path.name} before you commit it"
        assert cell.execution_count is None
        assert cell.metadata == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.stem, marks=[pytest.mark.long] * ("monai" in path.stem)) for path in NOTEBOOKS],
)
def test_it_runs_and_holds_what_it_says(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MPLBACKEND", raising=False)  # a notebook has its own, which shows the figures in it
    notebook = read(path)
    checks = [line for cell in code(notebook) for line in cell.source.splitlines() if line.startswith("assert ")]
    assert any(re.search(r"\b(after|before)\b", check) for check in checks)
    client = NotebookClient(notebook, timeout=900, resources={"metadata": {"path": tmp_path}})
    client.execute()  # raises where a cell does
    outputs = [output for cell in code(notebook) for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 1
    assert list(tmp_path.iterdir()) == []
