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

from aadsl.trajectory import Recorder, open_trajectory
from aadsl.trajectory.store import images, states
from aadsl.trajectory.store.files import commit_parts, require_seal
from aadsl.trajectory.store.images import Image, Values
from tests.trajectory.loops import INPUTS, same, sgd, small_model, train


def image_of(folder: Path, like: Values, **options: Any) -> Image:
    """Return the image of a file with a variable for each value, contiguous unless told otherwise."""

    def create(dataset: Any) -> None:
        for name, array in like.items():
            dimensions = (f"{name}_element",) if array.ndim else ()
            if dimensions:
                dataset.createDimension(*dimensions, len(array))
            variable = dataset.createVariable(name, array.dtype, dimensions, **(options or {"contiguous": True}))
            variable.set_auto_maskandscale(False)

    return Image(folder / "scratch", {"title": "of a test"}, create, like)


def pair_of(dtype: Any, length: int) -> st.SearchStrategy[tuple[Any, Any]]:
    return st.tuples(arrays(dtype, length or ()), arrays(dtype, length or ()))


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from([np.float32, np.float64, np.int64, np.uint32]), st.integers(0, 80)).flatmap(
            lambda kind: pair_of(*kind)
        ),
        min_size=1,
        max_size=5,
    )
)
def test_an_image_takes_any_numbers(pairs: list[tuple[Any, Any]]) -> None:
    first, second = ({f"v{number}": pair[k] for number, pair in enumerate(pairs)} for k in (0, 1))
    with tempfile.TemporaryDirectory() as folder:
        image = image_of(Path(folder), first)
        path = Path(folder, "x.nc")
        for values in (second, first):
            commit_parts(path, image.parts(values))
            require_seal(path)
            with xr.open_dataset(path, mask_and_scale=False) as dataset:
                assert dataset.attrs["title"] == "of a test"
                assert all(dataset[name].values.tobytes() == values[name].tobytes() for name in values)
        assert [file.name for file in Path(folder).iterdir()] == ["x.nc"]


@pytest.mark.parametrize("options", [{"compression": "zlib"}, {"fletcher32": True}, {"chunksizes": (99,)}])
def test_a_file_that_keeps_its_numbers_otherwise_has_no_image(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(LookupError):
        image_of(tmp_path, {"v": np.arange(200.0), "w": np.arange(300.0)}, **options)
    assert not any(tmp_path.iterdir())


def test_a_library_that_reads_other_numbers_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut = images._cut

    def shifted(*arguments: Any) -> Any:
        before, rest = cut(*arguments)
        return {name: content + b"x" for name, content in before.items()}, rest

    monkeypatch.setattr(images, "_cut", shifted)
    with pytest.raises(LookupError, match="read"):
        image_of(tmp_path, {"v": np.arange(200.0)})


@pytest.mark.parametrize("mask", [[True], [True, False] * 20])
def test_states_are_the_same_with_and_without_an_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mask: list[bool]
) -> None:
    """A buffer of one byte is found anywhere: there the library writes the states."""
    imaged: list[str] = []

    def noted(path: Path, *arguments: Any, **options: Any) -> str:
        imaged.append(path.name)
        return commit_parts(path, *arguments, **options)

    monkeypatch.setattr(states, "commit_parts", noted)
    for name in ("with", "without"):
        if name == "without":
            monkeypatch.setattr(states.StateWriter, "_image", lambda *arguments: None)
        model = small_model()
        model.register_buffer("mask", torch.tensor(mask))
        optimizer = sgd(model)
        with Recorder(tmp_path / name, model, optimizer, states="all") as recorder:
            train(recorder, model, optimizer, 6)
    assert imaged == ([f"state-{step}.nc" for step in range(7)] if len(mask) > 1 else [])
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
            optimizer.zero_grad()
            model[: 2 if step >= 4 else 1](INPUTS).square().mean().backward()
            recorder.batch(indices=[0])
            optimizer.step()
            kept.append({name: value.clone() for name, value in model.state_dict().items()})
    trajectory = open_trajectory(tmp_path)
    assert all(same(trajectory.state(step + 1).parameters, kept[step]) for step in range(9))
