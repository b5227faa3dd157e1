"""A file made from the image of another is, to every reader, the one that the netCDF library would have written."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn

from aadsl.trajectory import Recorder, open_trajectory, states
from aadsl.trajectory.files import built, check_seal, commit_content
from aadsl.trajectory.images import Image, Values
from tests.trajectory.loops import INPUTS, same, sgd, small_model, train


def build(values: Values, **options: Any) -> memoryview:
    """Return a file with a variable for each value, contiguous unless told otherwise."""

    def write(dataset: Any) -> None:
        for name, array in values.items():
            dimensions = (f"{name}_element",) if array.ndim else ()
            if dimensions:
                dataset.createDimension(*dimensions, len(array))
            variable = dataset.createVariable(name, array.dtype, dimensions, **(options or {"contiguous": True}))
            variable.set_auto_maskandscale(False)
            variable[...] = array

    return built({"title": "of a test"}, write, 1 << 16)


two_of_a_kind = st.tuples(st.sampled_from([np.float32, np.float64, np.int64, np.uint32]), st.integers(0, 40)).flatmap(
    lambda kind: st.tuples(arrays(*kind), arrays(*kind)) if kind[1] else st.just((np.array(1), np.array(2)))
)


@settings(deadline=None, max_examples=60)
@given(st.lists(two_of_a_kind, min_size=1, max_size=5))
def test_an_image_takes_any_numbers(pairs: list[tuple[Any, Any]]) -> None:
    first, second = ({f"v{number}": pair[k] for number, pair in enumerate(pairs)} for k in (0, 1))
    image = Image(build, first)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.nc")
        for values in (second, first):
            commit_content(path, image.filled(values))
            check_seal(path)
            with xr.open_dataset(path, mask_and_scale=False) as dataset:
                assert dataset.attrs["title"] == "of a test"
                assert all(dataset[name].values.tobytes() == values[name].tobytes() for name in values)


@pytest.mark.parametrize("options", [{"compression": "zlib"}, {"fletcher32": True}])
def test_a_file_that_keeps_its_numbers_otherwise_has_no_image(options: dict[str, Any]) -> None:
    with pytest.raises(LookupError):
        Image(lambda values: build(values, **options), {"v": np.arange(200.0)})


def test_numbers_too_few_to_be_found_have_no_image() -> None:
    with pytest.raises(LookupError, match="in one place"):
        Image(build, {"v": np.zeros(1, np.uint8)})


@pytest.mark.parametrize("mask", [[True], [True, False] * 20])
def test_states_are_the_same_with_and_without_an_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mask: list[bool]
) -> None:
    """A buffer of one byte is found at several places: those states have none."""
    filled: list[Path] = []
    commit = commit_content

    def counted(path: Path, content: Any, synced: bool) -> str:
        filled.append(path)
        return commit(path, content, synced)

    monkeypatch.setattr(states, "commit_content", counted)
    for name, limit in (("with", 1 << 20), ("without", -1)):
        monkeypatch.setattr(states, "_IMAGE_BYTES", limit)
        model = small_model()
        model.register_buffer("mask", torch.tensor(mask))
        optimizer = sgd(model)
        with Recorder(tmp_path / name, model, optimizer, states="all") as recorder:
            train(recorder, model, optimizer, 6)
    # The first state has no momentum, and of the layout of the others the first is made by the library.
    expected = [f"state-{step}.nc" for step in range(2, 7)] if len(mask) > 1 else []
    assert [path.name for path in filled] == expected
    for step in range(7):
        one, other = (xr.load_dataset(tmp_path / name / f"state-{step}.nc") for name in ("with", "without"))
        assert int(one["step"]) == step
        xr.testing.assert_identical(one.drop_attrs(deep=False), other.drop_attrs(deep=False))
        assert one.attrs | {"run": ""} == other.attrs | {"run": ""}
    assert not open_trajectory(tmp_path / "with").violations()


def test_a_new_layout_has_an_image_of_its_own(tmp_path: Path) -> None:
    """An optimizer that grows its buffers one after the other changes the layout of the states."""
    model = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 3))
    optimizer = sgd(model)
    kept = []
    with Recorder(tmp_path, model, optimizer, states="all") as recorder:
        for step in range(9):
            model[1].requires_grad_(step >= 4)
            optimizer.zero_grad()
            model(INPUTS).square().mean().backward()
            recorder.batch(indices=[0])
            optimizer.step()
            kept.append({name: value.clone() for name, value in model.state_dict().items()})
    trajectory = open_trajectory(tmp_path)
    assert all(same(trajectory.state(step + 1).parameters, kept[step]) for step in range(9))
