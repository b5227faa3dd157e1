"""Sweep checkpoints: how far a sweep is, kept on disk now and then, so that it goes on after its process died."""

from __future__ import annotations

import copy
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from aadsl.core.errors import AadslError
from aadsl.propagation import BlockSweep, FlatState, Sweep, Tangents, alike
from aadsl.trajectory.store.files import commit, opened
from aadsl.trajectory.store.tensors import dtype_name, from_array, to_array

# What a killed process loses; keeping takes a twentieth of the time at most.
SECONDS = 30.0
SHARE = 0.05

Stand = Sweep | Tangents | BlockSweep
AnySweep = TypeVar("AnySweep", Sweep, Tangents, BlockSweep)


class SweepCheckpoints:
    """The checkpoints of the sweeps that one answer takes, in files that begin with ``stem``; kept nowhere where None.

    Inside ``with`` they outlive an interruption; at the end they are deleted.
    """

    def __init__(self, stem: Path | None = None) -> None:
        self._stem = stem
        self._latest: dict[Path, Stand] = {}
        self._due = time.monotonic() + SECONDS

    def within(self, name: str) -> SweepCheckpoints:
        """Return where one of several sweeps of a kind is kept, told from the others by its name."""
        inner = copy.copy(self)  # what was kept last is known to both
        inner._stem = self._stem and self._stem.with_name(f"{self._stem.name}-{name}")
        return inner

    def __enter__(self) -> SweepCheckpoints:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            for file, sweep in self._latest.items():
                _write(file, sweep)
            return
        if self._stem is not None:
            with suppress(OSError):  # a folder that cannot be written is no reason to lose the answer
                for file in list(self._stem.parent.glob(f"{self._stem.name}-*")):
                    file.unlink(missing_ok=True)

    def found(self, start: AnySweep, like: FlatState, length: int) -> AnySweep | None:
        """Return how far a sweep over ``length`` steps was that began at ``start``, None where there is nothing.

        Its states have the form of ``like``. What no sweep can have left is passed over.
        """
        file = self._file(type(start))
        if file is None or not file.exists():
            return None
        try:
            with opened(file) as dataset:
                arrays = {name: _read(variable) for name, variable in dataset.variables.items()}
                sweep = type(start)(**{name: _restored(name, arrays, like, start) for name in start._fields})
        except (AadslError, OSError):  # damaged: the sweep begins afresh
            return None
        whole = arrays.keys() == _flattened(sweep).keys() and all(bool(a.isfinite().all()) for a in arrays.values())
        return sweep if whole and sweep.follows(start, length) else None

    def keep(self, sweep: Stand) -> None:
        """Say how far the sweep is now; it is written when it is time."""
        file = self._file(type(sweep))
        if file is None:
            return
        self._latest[file] = sweep
        begun = time.monotonic()
        if begun > self._due:
            _write(file, sweep)
            ended = time.monotonic()
            self._due = ended + max(SECONDS, (ended - begun) / SHARE)

    def _file(self, kind: type[Any]) -> Path | None:
        return self._stem and self._stem.with_name(f"{self._stem.name}-{kind.__name__.lower()}.nc")


def _write(file: Path, sweep: Stand) -> None:
    tensors = _flattened(sweep)

    def write(dataset: Any) -> None:
        for name, tensor in tensors.items():
            values = to_array(tensor)
            dimensions = [f"{name}_{axis}" for axis in range(values.ndim)]
            for dimension, size in zip(dimensions, values.shape, strict=True):
                dataset.createDimension(dimension, size)
            variable = dataset.createVariable(name, values.dtype, dimensions)
            variable.setncattr("torch_dtype", dtype_name(tensor.dtype))
            variable.set_auto_maskandscale(False)
            if values.size:
                variable[...] = values

    with suppress(OSError):  # nor to end the sweep
        file.parent.mkdir(exist_ok=True)
        size = sum(tensor.nbytes for tensor in tensors.values())
        commit(file, {"title": "how far an interrupted sweep is"}, write, size)


def _read(variable: Any) -> Tensor:
    found = from_array(np.asarray(variable[...]), variable.getncattr("torch_dtype"))
    return found.reshape(variable.shape)  # on the way a scalar became a vector


def _flattened(sweep: Stand) -> dict[str, Tensor]:
    """Return everything of a sweep by name; its states are numbered: ``cotangents.<state>.<tensor>``."""
    found: dict[str, Tensor] = {}
    for name, value in sweep._asdict().items():
        if isinstance(value, tuple):
            found[f"{name}.present"] = torch.tensor([state is not None for state in value], dtype=torch.uint8)
            present = [(i, state) for i, state in enumerate(value) if state is not None]
            found |= {
                f"{name}.{i}.{j}": t.detach().cpu() for i, state in present for j, t in enumerate(state.tensors())
            }
        else:
            found[name] = torch.as_tensor(value)
    return found


def _restored(name: str, tensors: dict[str, Tensor], like: FlatState, start: Stand) -> Any:
    """Undo :func:`_flattened` for one field. Raises ValueError or KeyError where it has another form."""
    if name in tensors:
        return int(tensors[name]) if isinstance(getattr(start, name), int) else tensors[name]

    def state(i: int) -> FlatState:
        own = [tensors[f"{name}.{i}.{j}"] for j in range(len(like.tensors()))]
        if not all(alike(one, other) for one, other in zip(own, like.tensors(), strict=True)):
            raise ValueError(f"{name} has another form than the run")
        moved = (one.to(other.device) for one, other in zip(own, like.tensors(), strict=True))
        return like.with_tensors(moved)._replace(integers=())

    return tuple(state(i) if there else None for i, there in enumerate(tensors[f"{name}.present"].tolist()))
