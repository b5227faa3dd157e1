"""Opens what was recorded."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor, nn

from aadsl.errors import AadslError
from aadsl.state import State
from aadsl.trajectory import header
from aadsl.trajectory.batches import BatchReader
from aadsl.trajectory.lazy import part_of, steps_dataset
from aadsl.trajectory.rows import BOUNDARY
from aadsl.trajectory.schema import violations
from aadsl.trajectory.segments import cover, segments_in, state_name, states_in
from aadsl.trajectory.source import Source, source_of
from aadsl.trajectory.specs import Clip, ParameterSpec, Phase
from aadsl.trajectory.states import read_state

PathLike = str | os.PathLike[str]


def open_trajectory(path: PathLike | Sequence[PathLike]) -> Trajectory:
    """Open a recorded run, or several that followed on each other: ``open_trajectory(["runs/a", "runs/b"])``.

    Raises AadslError where there is none, or where it is damaged.
    """
    paths = [path] if isinstance(path, (str, os.PathLike)) else list(path)
    if not paths:
        raise AadslError("no path to a trajectory was given")
    return Trajectory([Run(source_of(Path(one))) for one in paths])


class Run:
    """One recorded run: its header, its segments, its states; steps count from its own start."""

    def __init__(self, source: Source) -> None:
        self.source = source
        with source.open(header.NAME) as dataset:
            self.header = header.read_header(dataset)
        names = source.names()
        steps = cover(segments_in(names, "steps"))
        self.length = steps[-1].stop if steps else 0
        self.parts = [part_of(source, segment) for segment in steps]
        self.states = tuple(step for step in states_in(names) if step <= self.length)
        self.batches = BatchReader(source, cover(segments_in(names, "batches")))


class Place(NamedTuple):
    """A step of a chain: the run it belongs to and its number there."""

    run: Run
    step: int


class Trajectory:
    """The recorded sequence of steps of one run, or of several chained one after the other.

    Attributes:
        path: where it is (of the first run, when chained).
        length: T, the number of committed steps.
        optimizer: class name, ``"SGD"``; group_count: number of parameter groups.
        parameters, buffers: descriptions by name.
        clip: declared gradient clipping; accumulation: declared number of micro-batches a step; None if undeclared.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self._runs = list(runs)
        self._starts = [0, *np.cumsum([run.length for run in runs]).tolist()]
        last = self._runs[-1].header
        self.path = self._runs[0].source.path
        self.length: int = self._starts[-1]
        self.optimizer: str = last.optimizer
        self.group_count: int = last.group_count
        self.parameters: dict[str, ParameterSpec] = last.parameters
        self.buffers: dict[str, ParameterSpec] = last.buffers
        self.clip: Clip | None = last.clip
        self.accumulation: int | None = last.accumulation
        self.provenance: dict[str, str] = last.provenance

    def __len__(self) -> int:
        return self.length

    @cached_property
    def steps(self) -> xr.Dataset:
        """Everything known of each step, over dimension ``step``; a variable is read when first used."""
        dataset = steps_dataset([part for run in self._runs for part in run.parts])
        return dataset.assign_attrs(trajectory=str(self.path), Conventions="CF-1.11")

    @property
    def checkpoints(self) -> tuple[int, ...]:
        """The steps t whose state ξ_t (before step t) is stored; T is among them when the run was closed properly."""
        found = {start + step for run, start in zip(self._runs, self._starts, strict=False) for step in run.states}
        return tuple(sorted(found))

    @cached_property
    def phases(self) -> tuple[Phase, ...]:
        """The phases in order; together they cover all steps."""
        if not self.length:
            return ()
        boundary = self.steps["phase_boundary"].values
        starts = sorted({0, *np.flatnonzero(boundary).tolist(), *self._starts[:-1]})
        starts = [start for start in starts if start < self.length]
        names = self.steps["phase"].values
        return tuple(
            Phase(str(names[start]), start, stop, bool(boundary[start] == BOUNDARY["optimizer_reset"]))
            for start, stop in zip(starts, [*starts[1:], self.length], strict=True)
        )

    def _place(self, step: int) -> Place:
        if not 0 <= step < self.length:
            raise AadslError(f"no step {step}: the trajectory has steps 0 … {self.length - 1}")
        number = int(np.searchsorted(self._starts, step, side="right")) - 1
        return Place(self._runs[number], step - self._starts[number])

    def state(self, step: int, device: str | torch.device = "cpu") -> State:
        """Return the stored ξ_step, as torch had it. Raises AadslError where it is not among ``checkpoints``."""
        for run, start in reversed(list(zip(self._runs, self._starts, strict=False))):
            if step - start in run.states:
                with run.source.open(state_name(step - start)) as dataset:
                    return read_state(dataset, device)
        before = max((checkpoint for checkpoint in self.checkpoints if checkpoint <= step), default=None)
        nearest = "" if before is None else f"the one before it is {before}; "
        raise AadslError(f"the state before step {step} is not stored", hint=f"{nearest}replay from there")

    @cached_property
    def _hyperparameters(self) -> dict[str, list[NDArray[Any]]]:
        """Values over steps by torch's name, one array for each group."""
        found: dict[str, list[NDArray[Any]]] = {}
        keys = {
            attributes["hyperparameter"]: None
            for run in self._runs
            for part in run.parts
            for attributes in part.attributes.values()
            if "hyperparameter" in attributes
        }
        for key in keys:
            names = [key if key in self.steps else f"{key}_{group}" for group in range(self.group_count)]
            found[key] = [self.steps[name].values for name in names]
        return found

    def hyperparameters(self, step: int) -> tuple[dict[str, float | int | bool], ...]:
        """Return the scalars that step used, a dict for each group, by torch's names (betas: beta1, beta2)."""
        self._place(step)
        return tuple(
            {key: values[group][step].item() for key, values in self._hyperparameters.items()}
            for group in range(self.group_count)
        )

    def batch_indices(self, step: int) -> NDArray[np.int64] | None:
        """Return the positions in the data set that step consumed, micro-batches joined; None where unknown."""
        run, local = self._place(step)
        loaded, first, last = run.batches.at(local)
        found = [loaded.indices(row) for row in range(first, last)]
        known = [indices for indices in found if indices is not None]
        return np.concatenate(known) if known and len(known) == len(found) else None

    def batch_tensors(self, step: int) -> tuple[Tensor, ...] | dict[str, Tensor] | None:
        """Return the stored tensors that step consumed, as the tuple or dict that was announced.

        Micro-batches are joined along the first dimension. None where the tensors were not stored.
        """
        run, local = self._place(step)
        loaded, first, last = run.batches.at(local)
        found = [loaded.tensors(row) for row in range(first, last)]
        if not all(found):
            return None
        joined = {name: torch.cat([part[name] for part in found]) if len(found) > 1 else found[0][name]
                  for name in found[0]}  # fmt: skip
        return tuple(joined.values()) if all(name.isdigit() for name in joined) else joined

    def micro_batch_sizes(self, step: int) -> tuple[int, ...]:
        """Return the number of examples of each micro-batch of a step."""
        run, local = self._place(step)
        loaded, first, last = run.batches.at(local)
        return tuple(int(size) for size in loaded.columns["row_size"].values[first:last])

    def rng_state(self, step: int, micro_batch: int = 0, device: str = "cpu") -> Tensor | None:
        """Return torch's generator state where a forward of the step began; None where the step drew no numbers.

        ``device``: of the generator, ``"cpu"`` or ``"cuda:0"``.
        """
        run, local = self._place(step)
        loaded, first, last = run.batches.at(local)
        if first + micro_batch >= last:
            return None
        return loaded.generators(first + micro_batch).get("cuda0" if device == "cuda" else device.replace(":", ""))

    def training(self, step: int) -> bool:
        """Return whether the model was in train mode in a step."""
        self._place(step)
        return bool(self.steps["training"].values[step])

    def modules_off_mode(self, step: int) -> tuple[str, ...]:
        """Return the modules whose train/eval mode was not the model's in a step (frozen normalization, say)."""
        self._place(step)
        return tuple(str(self.steps["modules_off_mode"].values[step]).split())

    @property
    def fingerprints(self) -> dict[str, dict[str, str]]:
        """Digests of what is not stored: sampled examples of the data, frozen weights."""
        return self._runs[-1].header.fingerprints

    def violations(self) -> list[str]:
        """Return what is wrong with the files: damage, gaps, what the schema does not allow."""
        return [problem for run in self._runs for problem in violations(run.source)]

    def verify(self, model: nn.Module | None = None, loss: Any = None, data: Any = None, **options: Any) -> Any:
        """Check files and schema and, given a model and a loss, replay sampled steps; say in plain words what differs.

        Returns an :class:`aadsl.verification.Report`. Options are those of :func:`aadsl.verification.verify`.
        """
        # Verification stands above the engine, and that above trajectories.
        return import_module("aadsl.verification").verify(self, model=model, loss=loss, data=data, **options)

    @property
    def digest(self) -> str:
        """Hash of the digests of all files: changes with any recorded byte."""
        lines = [f"{name} {run.source.digest(name)}" for run in self._runs for name in sorted(run.source.names())]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def __repr__(self) -> str:
        phases = ", ".join(f"{phase.name} [{phase.start}:{phase.stop}]" for phase in self.phases)
        return (
            f"Trajectory of {self.length:,} steps of {self.optimizer} at {self.path}\n"
            f"  parameters: {sum(int(np.prod(s.shape)) for s in self.parameters.values()):,}"
            f" in {len(self.parameters)} tensors, {self.group_count} group{'s' * (self.group_count > 1)}\n"
            f"  states: {len(self.checkpoints)} stored\n"
            f"  phases: {phases or 'none'}\n"
            f"  known of each step: {', '.join(str(name) for name in self.steps.data_vars)}"
        )
