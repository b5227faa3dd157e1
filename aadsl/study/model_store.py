"""Counterfactual models, kept beside the trajectory: any further behavior of one is then a forward pass.

What training without a stage yields, ζ_T, depends on the run, the stage and the intervention, and on no behavior. Each
is a sealed file of its own, under a digest of all that it depends on; where they take more room than they may, those
that were not used for longest go first.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from aadsl.core.errors import AadslError
from aadsl.propagation import FlatState
from aadsl.study.identity import Key
from aadsl.trajectory.store.files import commit, opened
from aadsl.trajectory.store.tensors import dtype_name, from_array, to_array

SHARE = 16  # other processes keep models, too: files are counted when this part of the limit was written, or before
TITLE = "a counterfactual model: the end of a run trained without a stage"


class KeptModel(NamedTuple):
    """ζ_T, and the ends of the control runs to which it is compared; none where that is ξ_T."""

    state: FlatState
    controls: tuple[FlatState, ...]


class ModelStore:
    """The counterfactual models of one run.

    Args:
        folder: where the files are.
        limit: how many bytes they may take together.
        like: gives a state of the run, whose form theirs is.
    """

    def __init__(self, folder: Path, limit: int, like: Callable[[], FlatState]) -> None:
        self.folder, self.limit, self._like = folder, limit, like
        self._room = 0  # bytes that may be written before the files are counted again

    @property
    def nbytes(self) -> int:
        """How many bytes they take."""
        return sum(size for _, size, _ in self._files())

    def holds(self, key: Key) -> bool:
        """Return whether the model is here; its file may turn out to be damaged."""
        return key.digest is not None and self._file(key.digest).is_file()

    def find(self, key: Key) -> KeptModel | None:
        """Return a model, None where it is not here. Its optimizer slots are zero: no behavior reads them."""
        found = None if key.digest is None else self._read(key.digest)
        if found is None:
            return None
        controls = [self._read(digest) for digest in found[1].split()]
        states = [control[0] for control in controls if control is not None]
        return KeptModel(found[0], tuple(states)) if len(states) == len(controls) else None

    def keep(self, key: Key, model: KeptModel, controls: Sequence[Key]) -> None:
        """Add a model; ``controls`` is where its control runs are kept. Without room or rights nothing is kept."""
        digests = [control.digest for control in controls if control.digest is not None]
        if key.digest is None or len(digests) < len(controls):
            return
        with suppress(OSError):
            self.folder.mkdir(exist_ok=True)
            for control, digest, state in zip(controls, digests, model.controls, strict=True):
                if not self.holds(control):
                    self._write(digest, state, "")
            self._write(key.digest, model.state, " ".join(digests))
            if self._room < 0:
                self._make_room()

    def _file(self, digest: str) -> Path:
        return self.folder / f"model-{digest[:32]}.nc"

    def _write(self, digest: str, state: FlatState, controls: str) -> None:
        tensors = {"parameters": state.parameters, "buffers": state.buffers}
        tensors |= {f"integers_{i}": t.reshape(-1) for i, t in enumerate(state.integers)}
        size = sum(t.nbytes for t in tensors.values())
        if size > self.limit:
            return

        def write(dataset: Any) -> None:
            for name, tensor in tensors.items():
                values = to_array(tensor.detach().cpu())
                dataset.createDimension(name, values.size)
                variable = dataset.createVariable(name, values.dtype, [name])
                variable.setncattr("torch_dtype", dtype_name(tensor.dtype))
                variable.set_auto_maskandscale(False)
                if values.size:
                    variable[...] = values

        commit(self._file(digest), {"title": TITLE, "control": controls}, write, size)
        self._room -= self._file(digest).stat().st_size

    def _read(self, digest: str) -> tuple[FlatState, str] | None:
        file = self._file(digest)
        if not file.is_file():
            return None
        try:
            with opened(file) as dataset:
                controls = str(dataset.getncattr("control"))
                found = {
                    name: from_array(np.asarray(variable[...]), variable.getncattr("torch_dtype"))
                    for name, variable in dataset.variables.items()
                }
                state = _formed(self._like(), found)
        except (AadslError, OSError):  # damaged, or gone since: it is trained again
            return None
        with suppress(OSError):
            os.utime(file)  # used now
        return state, controls

    def _files(self) -> list[tuple[float, int, Path]]:
        """Return when each file was used last, its size and its path."""
        found = []
        for path in self.folder.glob("model-*.nc") if self.folder.is_dir() else ():
            with suppress(OSError):
                status = path.stat()
                found.append((status.st_mtime, status.st_size, path))
        return sorted(found)

    def _make_room(self) -> None:
        files = self._files()
        taken = sum(size for _, size, _ in files)
        for _, size, path in files:
            if taken <= self.limit:
                break
            path.unlink(missing_ok=True)
            taken -= size
        self._room = min(self.limit - taken, self.limit // SHARE)


def _formed(like: FlatState, tensors: dict[str, Tensor]) -> FlatState:
    """Return tensors as a state of the form of ``like``.

    Raises:
        AadslError: they have another form.
    """
    wanted = {"parameters": like.parameters, "buffers": like.buffers}
    wanted |= {f"integers_{i}": t for i, t in enumerate(like.integers)}
    if any(name not in tensors or tensors[name].numel() != t.numel() for name, t in wanted.items()):
        raise AadslError("the kept model has another form than the run")
    if any(tensors[name].dtype != t.dtype or not bool(tensors[name].isfinite().all()) for name, t in wanted.items()):
        raise AadslError("the kept model has numbers of another kind than the run, or some that are not finite")
    own = {name: tensors[name].reshape(t.shape).to(t) for name, t in wanted.items()}
    integers = tuple(own[f"integers_{i}"] for i in range(len(like.integers)))
    slots = tuple({name: torch.zeros_like(t) for name, t in group.items()} for group in like.slots)
    return FlatState(own["parameters"], slots, own["buffers"], integers)
