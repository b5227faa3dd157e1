"""Files that another program wrote, whole and sealed, but not as the schema says: the validator names what is wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from aadsl.core.errors import AadslError
from aadsl.trajectory import Recorder, open_trajectory
from tests.trajectory.forging import Change, edit
from tests.trajectory.loops import DATA, INPUTS, TARGETS, mean_loss, sgd, small_model

RUN, STEPS, BATCHES, STATE = "run.nc", "steps-0-6.nc", "batches-0-6.nc", "state-2.nc"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six steps of two micro-batches, told of everything that can be told, some batches stored."""
    folder = tmp_path_factory.mktemp("schema") / "run"
    torch.manual_seed(0)
    model = small_model(dropout=0.2)
    optimizer = torch.optim.SGD([{"params": model[0].parameters()}, {"params": model[1:].parameters(), "lr": 0.01}],
                                lr=0.1, momentum=0.9)  # fmt: skip
    with Recorder(folder, model, optimizer, DATA) as recorder:
        for step in range(6):
            optimizer.zero_grad()
            for part in range(2):
                rows = torch.arange(8) + 5 * step + part
                loss = mean_loss(model, (INPUTS[rows], TARGETS[rows]))
                (loss / 2).backward()
                whole = {"tensors": (INPUTS[rows], TARGETS[rows])} if step == 3 else {}
                told = {"noise": rows % 2 == 0, "kind": [f"k{row % 3}" for row in rows], "weight": rows / 7}
                recorder.batch(
                    indices=rows, tag="ab"[step % 2], loss=loss, late=step > 3, epoch=step // 3, **told, **whole
                )
            optimizer.step()
    return folder


def without(name: str) -> Change:
    return lambda dataset: dataset.renameVariable(name, f"old_{name}")


def no_attribute(variable: str, name: str) -> Change:
    return lambda dataset: dataset[variable].delncattr(name)


def attribute(name: str, value: Any) -> Change:
    return lambda dataset: dataset.setncattr(name, value)


def value(variable: str, place: Any, number: Any) -> Change:
    return lambda dataset: dataset[variable].__setitem__(place, number)


def as_dtype(name: str, dtype: Any) -> Change:
    """Give a variable another dtype, all else as it was."""

    def change(dataset: Any) -> None:
        dataset.renameVariable(name, f"old_{name}")
        old = dataset[f"old_{name}"]
        new = dataset.createVariable(name, dtype, old.dimensions)
        new.setncatts({key: old.getncattr(key) for key in old.ncattrs()})
        new[...] = old[...].astype(dtype)

    return change


def over(name: str, dimension: str, length: int) -> Change:
    """Let a variable lie over a dimension of its own."""

    def change(dataset: Any) -> None:
        dataset.renameVariable(name, f"old_{name}")
        dataset.createDimension(dimension, length)
        new = dataset.createVariable(name, "f8", (dimension,))
        new.setncatts({"long_name": name, "units": "1"})

    return change


def layout(change: Callable[[dict[str, Any]], Any]) -> Change:
    def changed(dataset: Any) -> None:
        parts = json.loads(dataset.layout)
        change(parts)
        dataset.layout = json.dumps(parts)

    return changed


def swap_shape(parts: dict[str, Any]) -> None:
    parts["parameters_float32"]["tensors"][0][1].reverse()


FAULTS: list[tuple[str, Change, str]] = [
    (RUN, attribute("aadsl_schema", 0), "no known schema version"),
    (RUN, attribute("aadsl_schema", 99), "written with schema 99, this aadsl reads up to 2"),
    (RUN, attribute("fingerprints", "[1]"), "fingerprints is no JSON object of objects"),
    (RUN, attribute("clip", "{"), "run.nc is whole, but not what the schema of trajectories says"),
    (RUN, attribute("length", 20), "closed after 20 steps, but only 6 are here"),
    (RUN, attribute("length", 5), "closed after 5 steps, but 6 are here"),
    (RUN, attribute("run", "another"), f"{STEPS} belongs to another run"),
    (RUN, value("parameter_group", 0, 7), '"0.weight" is in group 7, which the optimizer does not have'),
    (RUN, value("parameter_name", 0, "0.bias"), 'two parameters of the name "0.bias"'),
    (RUN, value("parameter_dtype", 0, "load"), '"0.weight" is of the dtype "load", which PyTorch does not know'),
    (RUN, value("parameter_shape", 0, "6x5"), f"{STATE}: does not hold the parameters that the run says it has"),
    (RUN, without("parameter_shape"), "parameter_shape"),
    (STEPS, attribute("aadsl_schema", 99), f"{STEPS} has no known schema version"),
    (STEPS, attribute("Conventions", "none"), f"{STEPS}: has no attribute Conventions = CF-…"),
    (STEPS, without("training"), "variable training is missing"),
    (STEPS, without("lr_1"), "the hyperparameter lr has the columns lr_0, old_lr_1, the run has 2 groups"),
    (STEPS, lambda d: [no_attribute(n, "hyperparameter")(d) for n in ("lr_0", "lr_1")], "the learning rate is missing"),
    (STEPS, as_dtype("momentum", "f4"), "the hyperparameter momentum is float32"),
    (STEPS, as_dtype("step", "f8"), "variable step holds number, not integer"),
    (STEPS, no_attribute("training", "dtype"), "variable training holds integer, not truth"),
    (STEPS, no_attribute("phase", "labels"), "variable phase holds integer, not text"),
    (STEPS, no_attribute("tag", "long_name"), "variable tag has no long_name"),
    (STEPS, no_attribute("loss", "units"), "variable loss has no units"),
    (STEPS, without("tag_labels"), "variable tag_labels, the labels of tag, is missing"),
    (STEPS, value("tag", 2, 9), "variable tag has numbers for which there are no labels"),
    (STEPS, value("phase_boundary", 2, 9), "phase_boundary has values that are no flags"),
    (STEPS, value("step", 2, 3), "does not hold the steps 0 … 5 that its name says"),
    (STEPS, over("loss", "other", 4), "variable loss lies over (other)"),
    (STEPS, value("batch_size", 4, 99), "batch_size of step 4 is 99, its batches say 16"),
    (STEPS, value("micro_batch_count", 4, 3), "micro_batch_count of step 4 is 3, its batches say 2"),
    (BATCHES, without("row_size"), "variable row_size is missing"),
    (BATCHES, no_attribute("row_size", "sample_dimension"), "row_size has not the attribute sample_dimension"),
    (BATCHES, value("row_size", 1, 9), "the sizes in row_size do not add up to the length of example"),
    (BATCHES, value("row_size", slice(0, 2), [20, -4]), "a size in row_size is negative"),
    (BATCHES, value("rng_cpu_size", 0, 3), "the sizes in rng_cpu_size do not add up"),
    (BATCHES, value("step", 11, 6), "does not hold batches of the steps 0 … 5"),
    (BATCHES, value("step", slice(0, 4), [1, 1, 0, 0]), "its steps are not in order"),
    (BATCHES, value("index", 3, -2), "index holds other numbers than positions in the data, or -1"),
    (BATCHES, as_dtype("index", "f8"), "index holds other numbers than positions in the data, or -1"),
    (BATCHES, no_attribute("noise", "units"), "variable noise has no units"),
    (STATE, value("step", ..., 1), "holds the state before step 1"),
    (STATE, without("step"), "variable step is missing"),
    (STATE, without("parameters_float32"), "variable parameters_float32 is missing"),
    (STATE, as_dtype("parameters_float32", "f8"), "parameters_float32 is float64, which does not hold float32"),
    (STATE, layout(swap_shape), "does not hold the parameters that the run says it has"),
    (STATE, layout(lambda parts: parts.pop("buffers_float32")), "does not hold the buffers that the run says it has"),
    (STATE, layout(lambda parts: parts["parameters_float32"]["tensors"].pop()), "does not match its length"),
    (STATE, attribute("layout", "[]"), f"{STATE} is whole, but not what the schema of trajectories says"),
    (STATE, attribute("layout", "{"), f"{STATE} is whole, but not what the schema of trajectories says"),
]  # fmt: skip


def told(folder: Path) -> list[str]:
    """Return what is said of a trajectory, by whoever meets it first."""
    try:
        trajectory = open_trajectory(folder)
        problems = trajectory.violations()
        report = trajectory.verify(model=small_model(dropout=0.2), loss=mean_loss, data=DATA, device="cpu")
    except AadslError as error:
        return [str(error)]
    assert report.ok is not bool(problems)
    return problems


@pytest.mark.parametrize(("name", "change", "said"), FAULTS, ids=[f"{name}: {said[:60]}" for name, _, said in FAULTS])
def test_what_is_wrong_is_named(recorded: Path, tmp_path: Path, name: str, change: Change, said: str) -> None:
    folder = tmp_path / "run"
    shutil.copytree(recorded, folder)
    edit(folder / name, change)
    problems = told(folder)
    assert any(said in problem for problem in problems), problems


def test_what_a_recorder_writes_is_as_the_schema_says(recorded: Path, tmp_path: Path) -> None:
    assert told(recorded) == []
    open_trajectory(recorded).to_netcdf(tmp_path / "one.nc")
    assert told(tmp_path / "one.nc") == []
    for path in sorted(recorded.glob("*.nc")):
        with xr.open_dataset(path) as dataset:
            assert dataset.attrs["Conventions"].startswith("CF-") and dataset.attrs["title"]
            for variable in dataset.load().variables.values():
                assert variable.attrs["long_name"]


def test_a_file_that_is_a_folder_is_told(recorded: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(recorded, folder)
    for name in (STATE, STEPS):
        (folder / name).unlink()
        (folder / name).mkdir()
        assert f"{name} cannot be read: Is a directory" in told(folder)[0]


def test_a_step_that_was_told_neither_data_nor_examples_fails_in_words(tmp_path: Path) -> None:
    model = small_model()
    optimizer = sgd(model)
    with Recorder(tmp_path / "run", model, optimizer) as recorder:
        for _ in range(3):
            optimizer.zero_grad()
            mean_loss(model, (INPUTS, TARGETS)).backward()
            recorder.batch(tag="untold")
            optimizer.step()
    report = open_trajectory(tmp_path / "run").verify(model=model, loss=mean_loss, data=DATA, device="cpu")
    assert not report.ok and "which examples step 0 used was not recorded" in str(report)
    assert np.isfinite(open_trajectory(tmp_path / "run").state(3).parameters["0.weight"].numpy()).all()
