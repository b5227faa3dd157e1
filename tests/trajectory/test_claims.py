"""What a file claims is compared with its size, and with what it should be, before it is believed."""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from pathlib import Path

import netCDF4
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import aadsl
from aadsl.trajectory import Recorder, open_trajectory
from aadsl.trajectory.store.claims import require_room
from aadsl.trajectory.store.segments import segments_in, states_in
from aadsl.trajectory.store.tensors import from_array
from tests.trajectory import fuzz
from tests.trajectory.loops import DATA, sgd, small_model, train
from tests.trajectory.mutations import Group, rebuilt

FILES = ("run.nc", "steps-0-3.nc", "batches-0-3.nc", "state-0.nc")
MUCH = 10**9


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("claims") / "run"
    model = small_model(dropout=0.2)
    optimizer = sgd(model)
    with Recorder(folder, model, optimizer, DATA) as recorder:
        train(recorder, model, optimizer, 3)
    return folder


@pytest.fixture
def run(recorded: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(recorded, tmp_path / "run"))


def refusal(folder: Path) -> str:
    """Return what is said of a run as it is opened and read, or else of its files."""
    with pytest.raises(aadsl.AadslError) as caught:
        trajectory = open_trajectory(folder)
        trajectory.state(0), trajectory.batch_indices(0), trajectory.examples
        trajectory.steps.load()
        raise aadsl.AadslError(*trajectory.violations(), hint="restore the files")
    assert all(problem.hint for problem in caught.value.problems)
    return str(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes, and limits of a process")
@pytest.mark.parametrize("cases", [100, pytest.param(500, marks=pytest.mark.long)])
def test_files_that_claim_anything(cases: int) -> None:
    endings = list(fuzz.endings(cases, seed=0))
    assert [ending for ending in endings if ending.kind not in fuzz.ALLOWED] == []
    assert min(Counter(ending.kind for ending in endings)[kind] for kind in fuzz.ALLOWED) > cases / 5


def test_the_judge_sees_what_must_not_be(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A number that is off, an exception of Python, a problem without a way out, and one after all memory was taken."""
    shutil.copytree(recorded, tmp_path / "good" / "run")
    truth = dict.fromkeys((f"{place} {question}" for place, question in fuzz.asked(tmp_path / "good")), 1.0)

    def with_cause() -> None:
        try:
            raise MemoryError
        except MemoryError as error:
            raise aadsl.AadslError("too large", hint="restore it") from error

    def no_hint() -> None:
        raise aadsl.AadslError("wrong")

    def raw() -> None:
        raise ValueError

    for kind, planted in {"memory": with_cause, "without a way out": no_hint, "raw": raw, "wrong": lambda: 0.5}.items():
        monkeypatch.setattr(fuzz, "use", lambda *_, planted=planted, **__: planted())
        assert fuzz.one_case(tmp_path, truth, 1, seed=0).kind == kind


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "compressed"])
def test_variables_that_were_never_written(run: Path, name: str, compressed: bool) -> None:
    def change(root: Group) -> None:
        dimension = next(iter(root.dimensions))
        root.dimensions[dimension] = MUCH
        for variable in root.variables.values():
            if dimension in variable.dimensions:
                variable.values, variable.zlib = None, compressed

    rebuilt(run / name, change)
    assert "it is too small to hold" in refusal(run)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes")
def test_what_is_no_file_is_not_waited_for(run: Path, name: str) -> None:
    (run / name).unlink()
    os.mkfifo(run / name)
    assert f"{name} is no file, but a pipe" in refusal(run)


def test_numbers_in_names(run: Path) -> None:
    """A name claims as many steps as it likes; those that no recorder writes are no names of segments."""
    names = ["steps-0-3.nc", "steps-0-03.nc", f"steps-0-{10**30}.nc", "steps-0-٣.nc", "steps-3-4.nc.tmp"]
    assert [segment.stop for segment in segments_in(names, "steps")] == [3]
    assert states_in(["state-7.nc", "state-07.nc", f"state-{10**30}.nc"]) == [7]
    for kind, told in (("steps", "does not hold the steps 0 … 999999999"), ("batches", "does not hold batches")):
        folder = Path(shutil.copytree(run, run.with_name(kind)))
        (folder / f"{kind}-0-3.nc").rename(folder / f"{kind}-0-{MUCH}.nc")
        assert told in refusal(folder)


@pytest.mark.parametrize("value", [MUCH, 0, -1, 2**63 - 1])
def test_the_number_of_groups(run: Path, value: int) -> None:
    rebuilt(run / "run.nc", lambda root: root.attributes.update(group_count=value))
    assert f"{value:,} parameter groups" in refusal(run)


def test_a_state_that_is_not_finite(run: Path) -> None:
    def change(root: Group) -> None:
        root.variables["parameters_float32"].values[3] = np.nan

    rebuilt(run / "state-0.nc", change)
    assert "not finite" in refusal(run)


def test_scalars_that_an_optimizer_needs(run: Path) -> None:
    rebuilt(run / "steps-0-3.nc", lambda root: root.variables.pop("dampening"))
    with pytest.raises(aadsl.AadslError, match=r"steps of SGD cannot be repeated with the scalars.*dampening"):
        fuzz.study(open_trajectory(run))


@given(st.lists(st.integers(0, 60), max_size=3), st.booleans(), st.sampled_from(["i1", "i8", "f4", "f8"]))
def test_what_was_written_has_room(shape: list[int], compressed: bool, dtype: str) -> None:
    """Also constants, which deflate as far as anything does."""
    dataset = netCDF4.Dataset("memory.nc", "w", memory=1)
    for number, size in enumerate(shape):
        dataset.createDimension(f"d{number}", max(1, size))  # of size 0 a dimension is unlimited
    dimensions = [f"d{number}" for number in range(len(shape))]
    compression = {"compression": "zlib", "complevel": 9, "shuffle": True} if compressed and shape else {}
    variable = dataset.createVariable("x", dtype, dimensions, **compression)
    variable[...] = np.zeros(variable.shape, dtype)
    claimed = variable.size * variable.dtype.itemsize
    content = dataset.close()
    with netCDF4.Dataset("memory.nc", memory=content) as dataset:
        require_room(dataset, len(content))
        with pytest.raises(ValueError, match="too small to hold x"):
            require_room(dataset, (claimed - 1) // (1032 if compression else 1))


def test_mutations_are_drawn_from_a_seed(tmp_path: Path, recorded: Path) -> None:
    changes = []
    for number in range(2):
        path = Path(shutil.copy(recorded / "run.nc", tmp_path / f"{number}.nc"))
        changes.append(fuzz.Hand(random.Random(5), honest_numbers=False).inside(path))
    assert changes[0] == changes[1]


def test_bits_are_not_read_as_another_kind_of_numbers() -> None:
    with pytest.raises(ValueError, match="int32 does not hold float32"):
        from_array(np.ones(3, np.int32), "float32")
