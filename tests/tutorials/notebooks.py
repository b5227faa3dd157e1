"""A tutorial as its reader runs it: from start to end, and then the solutions that are folded into its exercises."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from tests.notebook.lab import LIMIT

TUTORIALS = Path(__file__).parents[2] / "tutorials"
FOLDED = re.compile(r"<details><summary>.*?</details>", re.DOTALL)
CODE = re.compile(r"^```(?:python|aascore)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def execute(notebook: nbformat.NotebookNode, folder: Path) -> None:
    """Execute every cell in place, in ``folder/tutorials``, so that runs lie beside it; a failing one raises."""
    where = folder / "tutorials"
    where.mkdir()
    limits = {"timeout": 600, "startup_timeout": LIMIT}
    NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": str(where)}}, **limits).execute()


def solutions(notebook: nbformat.NotebookNode) -> list[str]:
    """Return the code of the folded solutions, cell by cell, as a reader would copy it."""
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    return [code for text in texts for folded in FOLDED.findall(text) for code in CODE.findall(folded)]


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def charts(cell: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """Return the outputs of a cell that are charts which need neither a kernel nor the internet."""
    kinds = {"image/png", "application/vnd.vegalite.v5+json"}
    return [output for output in cell.get("outputs", ()) if kinds <= set(output.get("data", ()))]


def warned(notebook: nbformat.NotebookNode) -> list[str]:
    """Return what cells wrote where warnings go."""
    outputs = [output for cell in code_cells(notebook) for output in cell.get("outputs", ())]
    return [output.text for output in outputs if output.output_type == "stream" and output.name == "stderr"]
