"""Tutorial 01, executed from start to end, and what it claims."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import nbformat
import numpy as np
import pytest
import xarray as xr
from nbclient import NotebookClient

from tests.notebook.lab import LIMIT

NOTEBOOK = Path(__file__).parents[2] / "tutorials" / "01-which-step-did-it.ipynb"
ANSWERS = ("four", "checked", "shifted", "windows")
KEEP = "\n".join(f"{name}.dataset.to_netcdf('{name}.nc')" for name in ANSWERS)


class Executed(NamedTuple):
    """The notebook as it was executed just now, and the answers that it named."""

    notebook: nbformat.NotebookNode
    answers: dict[str, xr.Dataset]


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Executed:
    folder = tmp_path_factory.mktemp("copy") / "tutorials"
    folder.mkdir()
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(KEEP))
    where = {"metadata": {"path": str(folder)}}
    limits = {"timeout": 600, "startup_timeout": LIMIT}
    NotebookClient(notebook, kernel_name="python3", resources=where, **limits).execute()
    answers = {}
    for name in ANSWERS:
        with xr.open_dataset(folder / f"{name}.nc") as stored:
            answers[name] = stored.load()
    return Executed(notebook, answers)


def test_the_inserted_step_is_what_taught_the_four(executed: Executed) -> None:
    answer = executed.answers["four"]
    effect = answer.step_effect
    for behavior in ("same_four", "another_four"):
        own = effect.sel(behavior=behavior)
        assert int(own.argmax("step")) == 30
        assert float(own[30]) > 2 * float(np.delete(own.values, 30).max())
        others = np.delete(own.values, 30)
        assert (others < 0).mean() > 0.5
    assert answer.tag.values[30] == "inserted"
    assert (answer.digit.values == 4).sum() == 1


def test_on_the_nine_and_the_two_it_is_one_step_among_many(executed: Executed) -> None:
    answer = executed.answers["four"]
    for behavior, digit in (("nine", 9), ("two", 2)):
        own = answer.step_effect.sel(behavior=behavior)
        assert abs(float(own[30])) < abs(float(answer.step_effect.sel(behavior="same_four")[30])) / 5
        strongest = np.argsort(-own.values)[:5]
        assert (answer.digit.values[strongest] == digit).all()


def test_retraining_agrees_about_the_four(executed: Executed) -> None:
    answer = executed.answers["checked"].sel(stage="inserted")
    for behavior in ("same_four", "another_four"):
        row = answer.sel(behavior=behavior)
        assert float(row.effect) == pytest.approx(float(row.retrained_effect), rel=0.15)


def test_the_mislabeled_steps_are_the_five_most_harmful(executed: Executed) -> None:
    answer = executed.answers["shifted"]
    effect = answer.step_effect.sel(behavior="reading").values
    assert sorted(np.argsort(effect)[:5]) == [30, 31, 32, 33, 34]
    assert (effect < 0).sum() == 5
    assert set(answer.tag.values[30:35]) == {"shifted"}


def test_retraining_agrees_about_the_windows(executed: Executed) -> None:
    answer = executed.answers["windows"].sel(behavior="reading")
    assert answer.sizes["stage"] == 18
    assert np.corrcoef(answer.effect, answer.retrained_effect)[0, 1] > 0.99
    harmful = answer.stage.values[answer.retrained_effect.values < 0]
    assert harmful.tolist() == ["window[30:35]"]
    np.testing.assert_allclose(answer.effect, answer.retrained_effect, rtol=0.1)


def test_no_cell_warns(executed: Executed) -> None:
    streams = [o.text for c in executed.notebook.cells for o in c.get("outputs", ()) if o.output_type == "stream"]
    assert streams == []


def test_the_saved_notebook_reads_well_unexecuted(executed: Executed) -> None:
    """Its outputs are saved, current, small, and show every chart without a kernel."""
    saved = nbformat.read(NOTEBOOK, as_version=4)
    assert NOTEBOOK.stat().st_size < 1_500_000
    assert [cell.execution_count for cell in saved.cells if cell.cell_type == "code"] == [*range(1, count(saved) + 1)]
    for old, new in zip(saved.cells, executed.notebook.cells, strict=False):
        assert charts(old) == charts(new) == sum(line.startswith("plot ") for line in old.source.splitlines())


def count(notebook: nbformat.NotebookNode) -> int:
    return sum(cell.cell_type == "code" for cell in notebook.cells)


def charts(cell: nbformat.NotebookNode) -> int:
    """Return how many outputs of a cell are charts that need neither a kernel nor the internet."""
    kinds = [set(output.data) for output in cell.get("outputs", ()) if "data" in output]
    return sum({"image/png", "application/vnd.vegalite.v5+json"} <= kind for kind in kinds)
