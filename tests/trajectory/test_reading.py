"""Folders, single files and URLs read alike; runs chain; many steps open at once."""

from __future__ import annotations

import gc
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from aadsl.core.errors import AadslError
from aadsl.trajectory import Recorder, Trajectory, open_trajectory
from aadsl.trajectory.read import lazy
from tests.trajectory.long import write_long_run
from tests.trajectory.loops import DATA, INPUTS, mean_loss, same, sgd, small_model, train


def record(folder: Path, steps: int = 9) -> None:
    model = small_model(dropout=0.2)
    optimizer = sgd(model)
    with Recorder(folder, model, optimizer, DATA) as recorder:
        train(recorder, model, optimizer, steps)
        recorder.phase("later")
        train(recorder, model, optimizer, 3, announce="tensors")


def assert_same(first: Trajectory, second: Trajectory) -> None:
    xr.testing.assert_identical(first.steps.drop_attrs(deep=False).load(), second.steps.drop_attrs(deep=False).load())
    assert (first.checkpoints, first.phases, first.parameters) == (
        second.checkpoints, second.phases, second.parameters,
    )  # fmt: skip
    for step in first.checkpoints:
        one, two = first.state(step), second.state(step)
        assert same(one.parameters, two.parameters) and same(one.buffers, two.buffers)
        assert one.optimizer.keys() == two.optimizer.keys()
        assert all(same(one.optimizer[slot], two.optimizer[slot]) for slot in one.optimizer)
    for step in range(first.length):
        assert first.hyperparameters(step) == second.hyperparameters(step)
        for read in (Trajectory.batch_indices, Trajectory.batch_tensors, Trajectory.rng_state):
            one, two = read(first, step), read(second, step)
            one, two = (part if isinstance(part, tuple) else (part,) for part in (one, two))
            assert all(np.array_equal(x, y) for x, y in zip(one, two, strict=True))


def test_a_single_file_holds_all_of_it(tmp_path: Path) -> None:
    record(tmp_path / "run")
    folder = open_trajectory(tmp_path / "run")
    folder.to_netcdf(tmp_path / "whole.nc")
    single = open_trajectory(tmp_path / "whole.nc")
    assert_same(folder, single)
    assert single.verify().ok
    with xr.open_dataset(tmp_path / "whole.nc", group="run-0/steps-0-12") as dataset:
        assert dataset.sizes["step"] == 12


def test_urls(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    record(tmp_path / "the run")
    folder = open_trajectory(tmp_path / "the run")
    assert_same(folder, open_trajectory((tmp_path / "the run").as_uri()))
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "the run"), "/store/run", recursive=True)
    assert_same(folder, open_trajectory("memory://store/run"))
    assert_same(folder, open_trajectory("simplecache::memory://store/run"))
    folder.to_netcdf(tmp_path / "whole.nc")
    memory.put(str(tmp_path / "whole.nc"), "/store/whole.nc")
    single = open_trajectory("memory://store/whole.nc")
    assert_same(folder, single)
    assert single.path == "memory://store/whole.nc"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("memory://store/none", "cannot be read"),
        ("memory://empty", "holds no trajectory"),
        ("zz://x", "cannot be read: ValueError: Protocol not known"),
        ("memory://other/whole.nc", "cut short"),
    ],
)
def test_urls_of_no_trajectory(url: str, said: str) -> None:
    memory = pytest.importorskip("fsspec").filesystem("memory")
    memory.pipe({"/empty/notes.txt": b"none", "/other/whole.nc": b"none"})
    with pytest.raises(AadslError, match=said):
        open_trajectory(url)


@pytest.mark.parametrize("given", [None, 5, b"runs/a", "", [[]], [], ["runs/a", None]])
def test_what_is_no_path(given: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(tmp_path / "runs" / "a", 3)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AadslError, match=r"is no trajectory|no path to a trajectory"):
        open_trajectory(given)


def test_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME" if os.name == "posix" else "USERPROFILE", str(tmp_path))
    record(Path("~/run"), 3)
    assert (tmp_path / "run" / "run.nc").exists()
    open_trajectory("~/run").to_netcdf("~/whole.nc")
    assert open_trajectory("~/whole.nc").length == 6


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("run/whole.nc", "belongs to a recording"),
        ("run/run.nc", "belongs to a recording"),
        ("whole", r"does not end in \.nc"),
        ("none/whole.nc", "there is no folder .*none"),
    ],
)
def test_places_for_no_single_file(place: str, said: str, tmp_path: Path) -> None:
    record(tmp_path / "run", 3)
    trajectory = open_trajectory(tmp_path / "run")
    (tmp_path / "folder.nc").mkdir()
    with pytest.raises(AadslError, match=said):
        trajectory.to_netcdf(tmp_path / place)
    with pytest.raises(AadslError, match="is a folder"):
        trajectory.to_netcdf(tmp_path / "folder.nc")
    assert trajectory.verify().ok and sorted(path.name for path in tmp_path.iterdir()) == ["folder.nc", "run"]


def test_one_file_of_a_folder_is_not_a_trajectory(tmp_path: Path) -> None:
    record(tmp_path)
    with pytest.raises(AadslError, match="is one file of a trajectory, not a whole one"):
        open_trajectory(tmp_path / "state-0.nc")


def test_every_file_is_plain_netcdf(tmp_path: Path) -> None:
    """CF: conventions, a title, and long_name and units (numbers only) for every variable."""
    record(tmp_path)
    files = sorted(tmp_path.glob("*.nc"))
    assert len(files) >= 8
    for file in files:
        with xr.open_dataset(file) as dataset:
            dataset.load()
            assert dataset.attrs["Conventions"] == "CF-1.11" and dataset.attrs["title"]
            assert dataset.attrs["aadsl_schema"] == 2
            for name, variable in dataset.variables.items():
                assert "/" not in str(name)
                assert variable.attrs["long_name"], (file, name)
                if variable.dtype.kind in "fiu" and "labels" not in variable.attrs:
                    assert "units" in variable.attrs, (file, name)


def test_the_reader_is_lazy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(tmp_path)
    read: list[str] = []
    original = lazy.read_column
    monkeypatch.setattr(lazy, "read_column", lambda dataset, name: (read.append(name), original(dataset, name))[1])
    trajectory = open_trajectory(tmp_path)
    assert repr(trajectory.steps)
    steps = trajectory.steps
    assert read == []
    assert int((steps["tag"] == "bad").sum()) == 4
    assert (steps["tag"][2] == "good").item()
    assert read == ["tag"]


def test_the_text_of_a_trajectory(tmp_path: Path) -> None:
    record(tmp_path)
    text = repr(open_trajectory(tmp_path))
    assert "12 steps of SGD" in text and "later [9:12]" in text and "tag" in text
    assert "phase_boundary" not in text and text.startswith("<aadsl.Trajectory ")
    columns = {re.match(r"  \w+( \w+)? {2,}", line).end() for line in text.splitlines()[1:]}
    assert len(columns) == 1, "names and values are aligned"


@contextmanager
def counted() -> Iterator[list[int]]:
    """Count the lines of Python that are executed inside, but for those that end what nobody needs any more."""
    lines, before = [0], sys.gettrace()

    def trace(frame: Any, event: str, arg: Any) -> Any:
        lines[0] += event == "line"
        return trace

    gc.collect()
    gc.disable()
    sys.settrace(trace)
    try:
        yield lines
    finally:
        sys.settrace(before)
        gc.enable()


@pytest.mark.parametrize("many", [20_000, pytest.param(100_000, marks=pytest.mark.long)])
def test_many_steps_open_as_a_thousand_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, many: int) -> None:
    """As much is done, whatever their number: names are read, and of columns those that a condition asks for."""
    read: list[str] = []
    original = lazy.read_column
    monkeypatch.setattr(lazy, "read_column", lambda dataset, name: (read.append(name), original(dataset, name))[1])
    done = []
    for number, count in enumerate((1000, 1000, many)):  # the first time more is done: things are imported
        folder = tmp_path / str(number)
        folder.mkdir()
        write_long_run(folder, count)
        files = len(list(folder.glob("steps-*.nc")))
        assert files <= 6
        read.clear()
        with counted() as opening:
            trajectory = open_trajectory(folder)
            steps = trajectory.steps
        assert trajectory.length == count and read == []
        with counted() as asking:
            selected = steps["tag"] == "bad"  # the first use reads the column
            assert int(selected.sum()) == count // 50
            selected = (steps["tag"] == "bad") & (steps["epoch"] >= 5) & (steps["lr"] > 0.05)
            assert int(selected.sum()) == count // 50 - 10
        assert sorted(read) == ["epoch"] * files + ["lr"] * files + ["tag"] * files
        done.append((opening, asking))
    assert done[2] == done[1]


def chained(tmp_path: Path) -> tuple[nn.Module, list[dict[str, torch.Tensor]]]:
    """Pretraining of everything; then adapters and a new head only; returns the model and its states."""
    torch.manual_seed(0)
    model = nn.ModuleDict({"body": nn.Linear(6, 5), "first": nn.Linear(5, 3)})
    optimizer = sgd(model)
    states = []

    def step(recorder: Recorder, head: str) -> None:
        states.append({name: value.clone() for name, value in model.state_dict().items()})
        optimizer.zero_grad()
        loss = model[head](model["body"](INPUTS)).square().mean()
        if "adapter" in model:
            loss = model[head](model["body"](INPUTS) + model["adapter"](INPUTS)).square().mean()
        loss.backward()
        recorder.batch(indices=range(60), loss=loss)
        optimizer.step()

    with Recorder(tmp_path / "pretrain", model, optimizer) as recorder:
        for _ in range(4):
            step(recorder, "first")
    model["second"] = nn.Linear(5, 2)
    model["adapter"] = nn.Linear(6, 5)
    optimizer = torch.optim.SGD(
        [{"params": model["second"].parameters()}, {"params": model["adapter"].parameters(), "lr": 0.01}], lr=0.2
    )
    with Recorder(tmp_path / "finetune", model, optimizer) as recorder:
        for _ in range(3):
            step(recorder, "second")
    states.append({name: value.clone() for name, value in model.state_dict().items()})
    return model, states


def test_chained_runs(tmp_path: Path) -> None:
    _, states = chained(tmp_path)
    trajectory = open_trajectory([tmp_path / "pretrain", tmp_path / "finetune"])
    assert trajectory.length == 7 and trajectory.checkpoints == (0, 1, 2, 4, 5, 6, 7)
    found = [(p.name, p.start, p.stop, p.resets_optimizer) for p in trajectory.phases]
    assert found == [("pretrain", 0, 4, True), ("finetune", 4, 7, True)]
    everything = {f"{part}.{kind}" for part in ("body", "first", "second", "adapter") for kind in ("weight", "bias")}
    assert set(trajectory.parameters) == everything
    rates = {
        name: [trajectory.hyperparameters(t)[spec.group]["lr"] for t in (0, 6)]
        for name, spec in trajectory.parameters.items()
    }
    assert rates["body.weight"] == rates["first.bias"] == [0.1, 0.0]
    assert rates["second.weight"] == [0.0, 0.2] and rates["adapter.bias"] == [0.0, 0.01]
    for step in trajectory.checkpoints:
        state = trajectory.state(step).parameters
        assert set(state) == everything
        for name, value in states[step].items():
            assert torch.equal(state[name], value), (step, name)
    assert torch.equal(trajectory.state(0).parameters["second.weight"], states[4]["second.weight"])
    assert trajectory.batch_indices(5).tolist() == list(range(60))
    assert trajectory.verify().ok
    trajectory.to_netcdf(tmp_path / "both.nc")
    assert open_trajectory(tmp_path / "both.nc").phases == trajectory.phases
    assert open_trajectory([open_trajectory(tmp_path / "pretrain"), tmp_path / "finetune"]).phases == trajectory.phases


def test_runs_in_folders_of_one_name_stay_apart(tmp_path: Path) -> None:
    model = small_model()
    for name in ("a/run", "b/run", "b/tail"):
        optimizer = sgd(model)
        with Recorder(tmp_path / name, model, optimizer, DATA) as recorder:
            train(recorder, model, optimizer, 2)
            recorder.phase("end")
            train(recorder, model, optimizer, 1)
    chain = open_trajectory([tmp_path / name for name in ("a/run", "b/run", "b/tail")])
    names = ["a/run", "a/run", "end", "b/run", "b/run", "end", "tail", "tail", "end"]
    assert chain.steps["phase"].values.tolist() == names
    assert [phase.name for phase in chain.phases] == ["a/run", "end", "b/run", "end", "tail", "end"]
    assert [job.name for job in chain.jobs] == ["a/run", "b/run", "tail"]
    chain.to_netcdf(tmp_path / "all.nc")
    whole = open_trajectory(tmp_path / "all.nc")
    assert whole.steps["phase"].values.tolist() == names and whole.phases == chain.phases
    assert open_trajectory(tmp_path / "b/run").steps["phase"].values.tolist() == ["run", "run", "end"]
    for name in ("a", "b"):
        open_trajectory(tmp_path / name / "run").to_netcdf(tmp_path / f"{name}.nc")
    files = open_trajectory([tmp_path / "a.nc", tmp_path / "b.nc"])
    assert files.steps["phase"].values.tolist() == names[:6]


def test_a_chain_is_replayed_across_its_boundary(tmp_path: Path) -> None:
    model = small_model()
    for name in ("a", "b"):
        optimizer = sgd(model)
        with Recorder(tmp_path / name, model, optimizer, DATA) as recorder:
            train(recorder, model, optimizer, 6)
    chain = open_trajectory([tmp_path / "a", tmp_path / "b"])
    report = chain.verify(model=model, loss=mean_loss, data=DATA, samples=20, device="cpu")
    assert report.ok and "12 steps" in str(report), report


def test_runs_that_do_not_follow_on_each_other(tmp_path: Path) -> None:
    for name, outputs in (("a", 3), ("b", 2), ("c", 3)):
        torch.manual_seed(len(name) + outputs + ord(name))
        model = nn.Linear(6, outputs)
        optimizer = sgd(model)
        with Recorder(tmp_path / name, model, optimizer) as recorder:
            model(INPUTS).sum().backward()
            recorder.batch(indices=[0])
            optimizer.step()
    with pytest.raises(AadslError, match=r'"weight" is \(3, 6\) float32 in .*a, and \(2, 6\) float32 in .*b'):
        open_trajectory([tmp_path / "a", tmp_path / "b"])
    report = open_trajectory([tmp_path / "a", tmp_path / "c"]).verify()
    assert not report.ok and "did not begin where" in str(report)


def test_a_frozen_part_that_is_not_where_the_run_before_left_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 3))
    for name, trained, start in (("a", model, 0.0), ("b", model[1], 0.0), ("c", model[1], 1.0)):
        with torch.no_grad():
            model[0].weight[0, 0] += start
        optimizer = sgd(trained)
        with Recorder(tmp_path / name, model, optimizer, DATA) as recorder:
            train(recorder, model, optimizer, 2)
    assert open_trajectory([tmp_path / "a", tmp_path / "b"]).verify().ok
    report = open_trajectory([tmp_path / "a", tmp_path / "b", tmp_path / "c"]).verify()
    assert not report.ok and f"{tmp_path / 'c'} did not begin where" in str(report) and "0.weight" in str(report)
