"""Opens what was recorded."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from aadsl.core.aligned import listing
from aadsl.core.arguments import checked
from aadsl.core.attached import attached
from aadsl.core.clip import Clip
from aadsl.core.errors import AadslError
from aadsl.core.kernels import Kernels
from aadsl.core.progress import Progress, silent
from aadsl.core.state import State
from aadsl.data.coordinates import useful
from aadsl.trajectory.read.batches import Loaded, joined
from aadsl.trajectory.read.breaks import breaks
from aadsl.trajectory.read.chain import Chain, Rule
from aadsl.trajectory.read.consumed import examples_dataset
from aadsl.trajectory.read.export import write_single_file
from aadsl.trajectory.read.lazy import steps_dataset, with_mismatch
from aadsl.trajectory.read.naming import with_distinct_phases
from aadsl.trajectory.read.run import Hyperparameters, RecordedRun
from aadsl.trajectory.read.schema import violations
from aadsl.trajectory.read.source import sources_of
from aadsl.trajectory.store.specs import ANNOUNCED, BOUNDARY, LOADER, Beginning, Job, Phase

PathLike = str | os.PathLike[str]


def open_trajectory(path: PathLike | Trajectory | Sequence[PathLike | Trajectory]) -> Trajectory:
    """Open a recorded run, or several that followed on each other: ``open_trajectory(["runs/a", "runs/b"])``.

    A path is a folder that a recorder wrote, a file that ``to_netcdf`` wrote, or a URL of either (``file://``, or
    whatever fsspec knows). Raises AadslError where there is no trajectory, or where it is damaged.
    """
    paths = list(path) if isinstance(path, (list, tuple)) else [path]
    if not paths:
        raise AadslError("no path to a trajectory was given")
    return Trajectory([run for one in paths for run in _runs(one)])


def _runs(one: Any) -> Sequence[RecordedRun]:
    if isinstance(one, Trajectory):
        return one._runs
    if isinstance(one, (str, os.PathLike)) and isinstance(path := os.fspath(one), str) and path:
        return [RecordedRun(source) for source in sources_of(path)]
    said = "an empty path" if isinstance(one, str) else f"a {type(one).__name__}"
    raise AadslError(f"{said} is no trajectory", hint='give the path of one: aadsl.open_trajectory("runs/a")')


@checked
class Trajectory:
    """The recorded sequence of steps of one run, or of several chained one after the other.

    Attributes:
        path: where it is (of the first run, when chained).
        length: T, the number of committed steps; stamp: the same, and what tells its runs from all others.
        optimizer: class name, ``"SGD"``; ``"SGD and AdamW"`` of several, ``"SGD then Adam"`` of runs.
        group_count: number of parameter groups; parameters, buffers: descriptions by name.
        closed: whether the last run was ended by its recorder.
        clip: gradient clipping declared for the last run; accumulation: micro-batches a step; None if undeclared.
        average: how an average of the weights, if the last run followed one, takes models in; averages: of each run.
        chain: its runs, seen as one: what each calls its parameters, and where it left them.
        gaps: what was trained again between two checkpoints, where nobody had recorded; as a rule nothing.
    """

    def __init__(self, runs: Sequence[RecordedRun], beginnings: Sequence[Beginning] = ()) -> None:
        self._chain = self.chain = Chain(runs, beginnings)
        self._runs, last = self._chain.runs, runs[-1].header
        self.path, self.length = runs[0].source.path, self._chain.starts[-1]
        self.stamp: tuple[int | str, ...] = (self.length, *(run.header.run for run in runs))
        self.optimizer, self.group_count = self._chain.optimizer, len(self._chain.groups)
        self.parameters, self.buffers = self._chain.parameters, self._chain.buffers
        self.clip, self.accumulation, self.closed = last.clip, last.accumulation, last.length >= 0
        self.provenance, self.gaps = last.provenance, self._chain.gaps
        self.average, self.averages = last.average, tuple(run.header.average for run in runs)

    def __len__(self) -> int:
        return self.length

    @cached_property
    def steps(self) -> xr.Dataset:
        """Everything known of each step, over dimension ``step``; a variable is read when first used."""
        dataset = with_mismatch(steps_dataset([part for run in self._runs for part in run.parts]), self.gaps)
        dataset = with_distinct_phases(dataset, [run.source.folder for run in self._runs], self._chain.starts)
        return dataset.assign_attrs(trajectory=str(self.path), Conventions="CF-1.11")

    @cached_property
    def examples(self) -> xr.Dataset:
        """What is known of each example of each batch, over dimension ``example``: step, index, metadata."""
        return examples_dataset(self._runs, self._chain.starts)

    @property
    def checkpoints(self) -> tuple[int, ...]:
        """The steps t whose state ξ_t (before step t) is stored; T is among them when the run was closed properly."""
        starts = zip(self._runs, self._chain.starts, strict=False)
        return tuple(sorted({start + step for run, start in starts for step in run.states}))

    @cached_property
    def phases(self) -> tuple[Phase, ...]:
        """The phases in order; together they cover all steps."""
        if not self.length:
            return ()
        boundary = self.steps["phase_boundary"].values
        starts = sorted({0, *np.flatnonzero(boundary).tolist(), *self._chain.starts[:-1]})
        starts = [start for start in starts if start < self.length]
        names = self.steps["phase"].values
        return tuple(
            Phase(str(names[start]), start, stop, self._resets(start))
            for start, stop in zip(starts, [*starts[1:], self.length], strict=True)
        )

    def _resets(self, step: int) -> bool:
        trained = self._chain.optimizers_of_run(step)
        return all(own for own, name in zip(self.restarted(step), trained, strict=True) if name)

    def restarted(self, step: int) -> tuple[bool, ...]:
        """Return for each group whether its optimizer starts afresh before a step."""
        everything = self.steps["phase_boundary"].values[step] == BOUNDARY["optimizer_reset"]
        return tuple(bool(everything or own) for own in self._chain.renewed(step))

    def state(self, step: int, device: str | torch.device = "cpu") -> State:
        """Return the stored ξ_step, as torch had it. Raises AadslError where it is not among ``checkpoints``."""
        found = self._chain.state(step, device)
        if found is not None:
            return found
        before = max((checkpoint for checkpoint in self.checkpoints if checkpoint <= step), default=None)
        nearest = "" if before is None else f"the one before it is {before}; "
        raise AadslError(f"the state before step {step} is not stored", hint=f"{nearest}replay from there")

    def hyperparameters(self, step: int) -> tuple[Hyperparameters, ...]:
        """Return the scalars that step used, a dict for each group, by torch's names (betas: beta1, beta2)."""
        return self._chain.hyperparameters(step)

    def optimizers(self, step: int) -> tuple[str | None, ...]:
        """Return the class of the optimizer that trained each group in a step; None where it rested, or had none."""
        return self._chain.optimizers(step)

    def optimizers_of_run(self, step: int) -> tuple[str | None, ...]:
        """Return the class of the optimizer that each group has in the run of a step; None where it has none."""
        return self._chain.optimizers_of_run(step)

    @property
    def rules(self) -> tuple[list[Rule], ...]:
        """For each group the optimizers that trained it, one a run, every scalar at the largest value it had there."""
        return self._chain.rules()

    def declared_clip(self, step: int) -> Clip | None:
        """Return the gradient clipping that was declared for the run of a step; None where none was."""
        return self._chain.clip(step)

    def kernels(self, step: int) -> Kernels:
        """Return the switches that decided which kernels PyTorch took in the run of a step, by name."""
        return self._chain.kernels(step)

    def _consumed(self, step: int) -> list[tuple[Loaded, int]]:
        """Return where the micro-batches of a step are: the loaded segment and the row of each."""
        number, local = self._chain.locate(step)
        loaded, first, last = self._runs[number].batches.at(local)
        return [(loaded, row) for row in range(first, last)]

    def used(self, job: int) -> NDArray[np.int64]:
        """Return the positions in the data set that one of the :attr:`jobs` used, each once, ascending."""
        return self._runs[job].batches.used()

    def batch_indices(self, step: int) -> NDArray[np.int64] | None:
        """Return the positions in the data set that step consumed, micro-batches joined; None where unknown."""
        found = [loaded.indices(row) for loaded, row in self._consumed(step)]
        known = [indices for indices in found if indices is not None]
        return np.concatenate(known) if known and len(known) == len(found) else None

    def micro_batches(self, step: int) -> tuple[Any, ...] | None:
        """Return the batches that step consumed, each as it was announced, on the CPU; None where they were not."""
        found = tuple(loaded.batch(row) for loaded, row in self._consumed(step))
        return None if any(batch is None for batch in found) else found

    def micro_batch_weights(self, step: int) -> tuple[float, ...]:
        """Return the factor that each micro-batch's loss has in the loss of a step, as it was told; () where not."""
        return tuple(w for loaded, row in self._consumed(step) if (w := loaded.weight(row)) is not None)

    def differentiated(self, step: int) -> tuple[tuple[float, float], ...]:
        """Return of each micro-batch what ``backward()`` was called on, and the last factor in it, 1/4 of ``loss / 4``.

        Returns () where that is not known, or is nothing but the loss of the only one.
        """
        found = [loaded.differentiated(row) for loaded, row in self._consumed(step)]
        return tuple(one for one in found if one is not None) if None not in found else ()

    def batch_tensors(self, step: int) -> Any:
        """Return the stored batch that step consumed, as it was announced; None where it was not stored.

        Micro-batches are joined along the first dimension of their tensors. Raises AadslError where those differ beyond
        it: :meth:`micro_batches` returns each.
        """
        found = self.micro_batches(step)
        try:
            return None if found is None else joined(found)
        except ValueError as error:
            hint = f"trajectory.micro_batches({step}) returns each"
            raise AadslError(f"the micro-batches of step {step} cannot be joined: {error}", hint=hint) from error

    def micro_batch_sizes(self, step: int) -> tuple[int, ...]:
        """Return the number of examples of each micro-batch of a step."""
        return tuple(int(loaded.columns["row_size"].values[row]) for loaded, row in self._consumed(step))

    def micro_batch_ranks(self, step: int) -> tuple[int, ...]:
        """Return the rank of the process that computed each micro-batch of a step; () where one process trained."""
        return tuple(rank for loaded, row in self._consumed(step) if (rank := loaded.rank(row)) is not None)

    def rng_states(self, step: int, *, loader: bool = False) -> tuple[dict[str, Tensor], ...]:
        """Return the states of the generators where each forward began; or where a ``loader`` began to make its batch.

        By device for PyTorch's (``"cpu"``, ``"cuda:0"``), ``"python"`` and ``"numpy"`` for the global ones of those,
        ``"own0"`` … for the program's own. Those of which the step drew no numbers are left out.
        """
        return tuple(loaded.generators(row, LOADER if loader else "") for loaded, row in self._consumed(step))

    def announced_rng_states(self, step: int) -> tuple[dict[str, Tensor], ...]:
        """Return the same where each batch was announced, of those that something drew from before the forward."""
        return tuple(loaded.generators(row, ANNOUNCED) for loaded, row in self._consumed(step))

    def rng_state(self, step: int, micro_batch: int = 0, device: str = "cpu") -> Tensor | None:
        """Return one of :meth:`rng_states`; None where the step drew no numbers there."""
        states = self.rng_states(step)[micro_batch : micro_batch + 1]
        return states[0].get("cuda:0" if device == "cuda" else device) if states else None

    def training(self, step: int) -> bool:
        """Return whether the model was in train mode in a step."""
        self._chain.locate(step)
        return bool(self.steps["training"].values[step])

    def modules_off_mode(self, step: int) -> tuple[str, ...]:
        """Return the modules whose train/eval mode was not the model's in a step (frozen normalization, say)."""
        self._chain.locate(step)
        return tuple(str(self.steps["modules_off_mode"].values[step]).split())

    @cached_property
    def jobs(self) -> tuple[Job, ...]:
        """The runs that make the trajectory, in order; together they cover all steps."""
        return self._chain.jobs({phase.start: phase.name for phase in self.phases})

    def violations(self, progress: Progress = silent, *, into_states: bool = True) -> list[str]:
        """Return what is wrong with the files: damage, gaps, what the schema does not allow (in states, if asked)."""
        found = [violations(run.source, progress, into_states=into_states) for run in self._runs]
        return [one for own in found for one in own] or breaks(self._chain)

    def verify(self, model: Any = None, loss: Any = None, data: Any = None, **options: Any) -> Any:
        """Check files and schema and, given a model and a loss, replay sampled steps; say in plain words what differs.

        Returns an :class:`aadsl.verification.Report`. Options are those of :func:`aadsl.verification.verify`.
        """
        return attached("Trajectory.verify")(self, model=model, loss=loss, data=data, **options)

    def require_same(self) -> None:
        """Make sure that the files are those that were opened. Raises AadslError where they were recorded anew."""
        for run in self._runs:
            run.require_same()

    @property
    def digest(self) -> str:
        """Hash of the digests of all files: changes with any recorded byte."""
        return self.digested()

    def digested(self, progress: Progress = silent) -> str:
        """Return the :attr:`digest`; every file is read the first time."""
        files = [(run.source, name) for run in self._runs for name in sorted(run.source.names())]
        lines = []
        for done, (source, name) in enumerate(files, 1):
            lines.append(f"{name} {source.digest(name)}")
            progress("reading", done, len(files))
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def to_netcdf(self, path: PathLike) -> None:
        """Copy everything, bit by bit, into one netCDF-4 file, which :func:`open_trajectory` reads too."""
        self.require_same()
        write_single_file(path, [run.source for run in self._runs])

    def __repr__(self) -> str:
        count, groups = sum(int(np.prod(s.shape)) for s in self.parameters.values()), self.group_count
        rows = {
            "parameters": f"{count:,} in {len(self.parameters)} tensors, {groups} group{'s' * (groups > 1)}",
            "states": f"{len(self.checkpoints):,} stored",
            "phases": ", ".join(f"{phase.name} [{phase.start}:{phase.stop}]" for phase in self.phases) or "none",
            "each step": ", ".join(useful(str(name) for name in self.steps.data_vars)),
        }
        title = f"<aadsl.Trajectory {self.path}: {self.length:,} steps of {self.optimizer}>"
        return listing(title, list(rows.items()))
