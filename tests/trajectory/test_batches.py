"""Batches are read as the loop gave them, micro-batch by micro-batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from aadsl.core.errors import AadslError
from aadsl.trajectory import Recorder, Trajectory, open_trajectory
from aadsl.trajectory.store.structure import put_together, taken_apart
from tests.trajectory.forging import edit
from tests.trajectory.loops import sgd


class Pair(NamedTuple):
    image: Any
    label: Any


def leaves() -> st.SearchStrategy[Any]:
    shapes = st.lists(st.integers(0, 3), max_size=3)
    dtypes = st.sampled_from([torch.float32, torch.int64, torch.bool, torch.bfloat16, torch.complex128])
    tensors = st.builds(lambda shape, dtype: torch.randn(shape).to(dtype), shapes, dtypes)
    arrays = st.builds(
        lambda shape, kind: np.ones(shape).astype(kind), shapes, st.sampled_from(["f4", ">i4", "?", "U3"])
    )
    return st.one_of(tensors, arrays, st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text())


names = st.one_of(st.text(max_size=5), st.integers(0, 3))
structures = st.recursive(
    leaves(),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(names, inner, max_size=3),
        st.builds(Pair, inner, inner),
    ),
    max_leaves=8,
)


def same(one: Any, other: Any) -> bool:
    """Return whether two batches are the same: containers, dtypes, values."""
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return isinstance(other, np.ndarray) and np.array_equal(one, other) and one.dtype.kind == other.dtype.kind
    if isinstance(one, tuple) and hasattr(one, "_fields"):
        return same(one._asdict(), other._asdict())
    if isinstance(one, (tuple, list)):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    return type(one) is type(other) and one == other


@settings(max_examples=200, deadline=None)
@given(structures)
def test_whatever_is_taken_apart_is_put_together(batch: Any) -> None:
    taken = taken_apart(batch)
    assert same(batch, put_together(taken.structure, taken.tensors) if taken.structure or taken.tensors else batch)


@pytest.mark.parametrize("structure", ['{"tensor": "1"}', '{"dict": [1]}', "[", '{"tensor": "0", "shape": [9]}', "{}"])
def test_a_structure_that_does_not_fit_is_no_traceback(structure: str) -> None:
    with pytest.raises(ValueError):
        put_together(structure, {"0": torch.ones(2)})


def record(folder: Path, steps: list[list[dict[str, Any]]]) -> Trajectory:
    """Record steps of micro-batches; each is what the recorder is told."""
    model = nn.Linear(2, 1)
    optimizer = sgd(model)
    with Recorder(folder, model, optimizer) as recorder:
        for step in steps:
            optimizer.zero_grad()
            for told in step:
                model(torch.ones(3, 2)).sum().backward()
                recorder.batch(**told)
            optimizer.step()
            recorder.flush()
    trajectory = open_trajectory(folder)
    assert not trajectory.violations()
    return trajectory


BATCHES: dict[str, Any] = {
    "tuple": (torch.ones(4, 2), torch.zeros(4)),
    "list": [torch.ones(4, 2), torch.zeros(4)],
    "tensor": torch.ones(4, 2),
    "dict": {"x": torch.ones(4, 2), "y": torch.zeros(4)},
    "numbered": {0: torch.ones(4), "a/b": torch.zeros(4)},
    "nested": ((torch.ones(4, 2), [torch.ones(4, 3), torch.arange(4)]), torch.zeros(4)),
    "detection": (torch.ones(4, 2), [{"boxes": torch.ones(k, 4), "labels": torch.arange(k)} for k in range(4)]),
    "graph": {"x": torch.ones(4, 2), "edge_index": torch.ones(2, 9, dtype=torch.int64), "y": torch.zeros(1)},
    "text": {"x": torch.ones(4, 2), "id": ["a", "b", "ü\0", ""], "mask": None, "ratio": 0.5, "last": True},
    "arrays": (np.ones((4, 2), dtype=np.float32), np.array(["a", "bc"]), np.float64(2.0)),
    "named": Pair(torch.ones(4, 2), torch.tensor(3)),
    "text alone": ["a", "b"],
}


def test_batches_of_every_kind_in_one_run(tmp_path: Path) -> None:
    trajectory = record(tmp_path, [[{"tensors": batch}] for batch in BATCHES.values()])
    for step, batch in enumerate(BATCHES.values()):
        (found,) = trajectory.micro_batches(step) or ()
        assert same(batch, found) or isinstance(batch, tuple)
        assert same(batch, trajectory.batch_tensors(step)) or step == list(BATCHES).index("arrays")
    sizes = [trajectory.micro_batch_sizes(step)[0] for step in range(trajectory.length)]
    assert sizes == [0 if name == "text alone" else 4 for name in BATCHES]


def test_micro_batches_of_several_lengths(tmp_path: Path) -> None:
    parts = [(torch.ones(3, length), torch.zeros(3)) for length in (5, 9)]
    alike = [{"x": torch.full((n, 2), n), "n": torch.tensor(7)} for n in (1, 2)]
    trajectory = record(tmp_path, [[{"tensors": part} for part in parts], [{"tensors": part} for part in alike]])
    assert same(tuple(parts), trajectory.micro_batches(0)) and same(tuple(alike), trajectory.micro_batches(1))
    with pytest.raises(AadslError, match=r"cannot be joined: their tensors [\s\S]*micro_batches\(0\) returns each"):
        trajectory.batch_tensors(0)
    joined = trajectory.batch_tensors(1)
    assert joined["x"][:, 0].tolist() == [1, 2, 2] and joined["n"] == 7


def test_sizes_and_weights_that_are_told(tmp_path: Path) -> None:
    graph = {"x": torch.ones(6, 2), "y": torch.zeros(2)}
    weighted = [
        {"indices": [0], "weight": 0.75, "loss": 1.0},
        {"indices": [1], "weight": torch.tensor(0.5), "loss": 2.0},
    ]
    trajectory = record(
        tmp_path,
        [
            [{"tensors": graph, "size": 2, "site": ["a", "b"]}],
            weighted,
            [{"indices": [0, 1], "weight": [0.1, 0.2], "loss": 1.0}, {"indices": [2], "loss": 3.0}],
        ],
    )
    assert trajectory.micro_batch_sizes(0) == (2,) and trajectory.examples["site"].values[:2].tolist() == ["a", "b"]
    assert [trajectory.micro_batch_weights(step) for step in range(3)] == [(), (0.75, 0.5), ()]
    assert trajectory.steps["loss"].values[1:].tolist() == [1.75, 2.0]
    assert trajectory.examples["weight"].values[4:6].tolist() == [0.1, 0.2]  # of examples: metadata


def test_weights_of_some_micro_batches_only(tmp_path: Path) -> None:
    with pytest.raises(AadslError, match=r"of the 2 micro-batches of step 0 some were told their weight"):
        record(tmp_path, [[{"indices": [0], "weight": 0.5}, {"indices": [1]}]])


def test_a_damaged_structure_is_named(tmp_path: Path) -> None:
    record(tmp_path, [[{"tensors": ["a"]}]])
    edit(tmp_path / "batches-0-1.nc", lambda data: data["tensor_structure_labels"].__setitem__(0, "["))
    trajectory = open_trajectory(tmp_path)
    assert "which is no JSON" in str(trajectory.violations())
    with pytest.raises(AadslError, match="which is no JSON"):
        trajectory.batch_tensors(0)


def test_a_run_of_schema_1_is_read(tmp_path: Path) -> None:
    """As it was written: a tuple and a dict of tensors, whatever containers they were in."""
    trajectory = record(tmp_path, [[{"tensors": BATCHES["tuple"]}], [{"tensors": BATCHES["dict"]}]])
    for file in tmp_path.glob("*.nc"):
        edit(file, lambda data: data.setncattr("aadsl_schema", 1))
    trajectory = open_trajectory(tmp_path)
    assert not trajectory.violations()
    assert same(trajectory.batch_tensors(0), BATCHES["tuple"]) and same(trajectory.batch_tensors(1), BATCHES["dict"])
