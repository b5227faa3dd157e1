"""Where a sweep stands, kept on disk now and then: it goes on after it was interrupted, or its process died."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from aadsl.errors import AadslError
from aadsl.propagation import FlatState, Sweep, Tangents
from aadsl.trajectory.files import commit, opened
from aadsl.trajectory.tensors import dtype_name, from_array, to_array

# What a killed process loses; keeping takes a twentieth of the time at most.
SECONDS = 30.0
SHARE = 0.05

Stand = TypeVar("Stand", Sweep, Tangents)


class Standing:
    """Keeps the stands of the sweeps that one answer takes. Nothing is kept outside of :meth:`kept_as`."""

    def __init__(self) -> None:
        self._stem: Path | None = None
        self._latest: Sweep | Tangents | None = None
        self._due = 0.0

    @contextmanager
    def kept_as(self, stem: Path | None) -> Iterator[None]:
        """Keep the stands of what is computed inside in files beginning with ``stem``, until it comes to its end."""
        self._stem, self._latest, self._due = stem, None, time.monotonic() + SECONDS
        try:
            yield
        except BaseException:
            self._save()
            raise
        else:
            for kind in (Sweep, Tangents):
                file = self._file(kind)
                if file is not None:
                    with suppress(OSError):  # a folder that cannot be written is no reason to lose the answer
                        file.unlink(missing_ok=True)
        finally:
            self._stem = self._latest = None

    def found(self, kind: type[Stand], like: FlatState) -> Stand | None:
        """Return where such a sweep stood, None where there is nothing; its states have the form of ``like``."""
        file = self._file(kind)
        if file is None or not file.exists():
            return None
        try:
            with opened(file) as dataset:
                arrays = {
                    name: from_array(np.asarray(variable[...]), variable.getncattr("torch_dtype"))
                    for name, variable in dataset.variables.items()
                }
        except (AadslError, OSError):  # damaged: the sweep begins afresh
            return None
        return kind(**{name: _restored(name, arrays, like) for name in kind._fields})

    def keep(self, stand: Sweep | Tangents) -> None:
        """Say where the sweep stands now."""
        self._latest = stand
        begun = time.monotonic()
        if begun > self._due:
            self._save()
            ended = time.monotonic()
            self._due = ended + max(SECONDS, (ended - begun) / SHARE)

    def _file(self, kind: type[Any]) -> Path | None:
        return self._stem and self._stem.with_name(f"{self._stem.name}-{kind.__name__.lower()}.nc")

    def _save(self) -> None:
        stand = self._latest
        file = self._file(type(stand))
        if stand is None or file is None:
            return
        tensors = _flattened(stand)

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
            commit(file, {"title": "where an interrupted sweep stands"}, write, size)


def _flattened(stand: Sweep | Tangents) -> dict[str, Tensor]:
    """Return everything of a stand by name; its states are numbered: ``cotangents.<state>.<tensor>``."""
    found: dict[str, Tensor] = {}
    for name, value in stand._asdict().items():
        if isinstance(value, tuple):
            found[f"{name}.count"] = torch.tensor(len(value))
            present = [(i, state) for i, state in enumerate(value) if state is not None]
            found |= {
                f"{name}.{i}.{j}": t.detach().cpu() for i, state in present for j, t in enumerate(state.tensors())
            }
        else:
            found[name] = torch.as_tensor(value)
    return found


def _restored(name: str, tensors: dict[str, Tensor], like: FlatState) -> Any:
    """Undo :func:`_flattened` for one field."""
    if name in tensors:
        return tensors[name] if tensors[name].ndim else int(tensors[name])

    def state(i: int) -> FlatState | None:
        if f"{name}.{i}.0" not in tensors:
            return None
        shaped = (tensors[f"{name}.{i}.{j}"].reshape(t.shape).to(t.device) for j, t in enumerate(like.tensors()))
        return like.with_tensors(shaped)._replace(integers=())

    return tuple(map(state, range(int(tensors[f"{name}.count"]))))
