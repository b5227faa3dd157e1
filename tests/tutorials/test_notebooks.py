"""Each tutorial runs from start to end, what it claims holds, and so do the solutions of its exercises.

A tutorial states its claims in cells that begin with ``# Check``; one that fails ends the execution.
"""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest

from tests.tutorials.notebooks import TUTORIALS, charts, code_cells, execute, solutions, warned

NOTEBOOKS = sorted(TUTORIALS.glob("[0-9][0-9]-*.ipynb"))
LONG = ("03", "04", "06", "08")
"""Those that take longer: `make solutions` runs them, and the solutions of all."""
named = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
each = [pytest.param(path, id=path.stem, marks=[pytest.mark.long] * path.stem.startswith(LONG)) for path in NOTEBOOKS]


@pytest.mark.parametrize("path", each)
def test_it_runs_and_its_claims_hold(path: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    saved = [len(charts(cell)) for cell in code_cells(notebook)]
    execute(notebook, tmp_path)
    assert warned(notebook) == []
    assert [len(charts(cell)) for cell in code_cells(notebook)] == saved, "the saved outputs are not those of the cells"


@pytest.mark.long
@named
def test_its_solutions_hold(path: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    notebook.cells += [nbformat.v4.new_code_cell(code) for code in solutions(notebook)]
    execute(notebook, tmp_path)
    assert warned(notebook) == []


@named
def test_it_teaches(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert text.startswith(f"# {path.stem[:2]} · ")
    assert "## What can go wrong" in text and "## Exercises" in text and "mathematics" in text.lower()
    assert solutions(notebook), "an exercise has its solution folded in"
    assert any(cell.source.startswith("# Check") for cell in code_cells(notebook))


@named
def test_it_reads_well_unexecuted(path: Path) -> None:
    """Its outputs are saved, in order, and small."""
    notebook = nbformat.read(path, as_version=4)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == [*range(1, len(cells) + 1)]
    assert path.stat().st_size < 900_000
    assert all(len(json.dumps(chart)) < 300_000 for cell in cells for chart in charts(cell))
    assert any(charts(cell) for cell in cells)
