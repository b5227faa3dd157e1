"""Runs that followed on each other, seen as one: parameters matched by name.

A parameter that a run did not train (a head added later, adapters that were frozen before) is there all the same, with
the value it has where it is trained next to, and in a parameter group that no optimizer has in that run.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import groupby, pairwise
from pathlib import PurePath
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from aadsl.core.clip import Clip
from aadsl.core.errors import AadslError
from aadsl.core.kernels import Kernels
from aadsl.core.state import State
from aadsl.trajectory.read.run import Hyperparameters, RecordedRun
from aadsl.trajectory.read.united import United
from aadsl.trajectory.store.specs import Beginning, Gap, Job, Merged, Resized

_AT_REST: Hyperparameters = {"lr": 0.0, "momentum": 0.0, "weight_decay": 0.0}


class Rule(NamedTuple):
    """What trained a parameter group in a run.

    Attributes:
        optimizer: the class of its optimizer.
        hyperparameters: its scalars.
        options: what it was given besides, where no step function takes its steps again.
    """

    optimizer: str
    hyperparameters: Hyperparameters
    options: dict[str, Any]


class Chain:
    """One or more runs.

    Attributes:
        starts: number of the first step of each run, and the length of all as the last entry.
        parameters, buffers: all that any run has, by name.
        names: for each run the name that each of its parameters has here, by its own: another one where a later run has
            one of another shape.
        frozen: for each run the same of what else its model has.
        followed: the parameters that took the place of another one, and the name of that.
        beginnings: how each run is said to begin; nothing where none is.
        groups: for each parameter group of the chain, the group of each run it stands for; None where not trained.
        optimizer: classes of the optimizers; of all runs, in order, where they change ("SGD and AdamW then Adam").
    """

    def __init__(self, runs: Sequence[RecordedRun], beginnings: Sequence[Beginning] = ()) -> None:
        self.runs = tuple(runs)
        self.starts: list[int] = [0, *np.cumsum([run.length for run in runs]).tolist()]
        self._united, self.beginnings = United(runs, beginnings), tuple(beginnings)
        self.names, self.frozen, specs = self._united.names, self._united.frozen, self._united.parameters
        pairs = zip(runs, self.names, strict=True)
        groups = [{own[n]: spec.group for n, spec in run.header.parameters.items()} for run, own in pairs]
        memberships = {name: tuple(own.get(name) for own in groups) for name in specs}
        self.groups = sorted(set(memberships.values()), key=_group_order)
        self.parameters = {
            name: replace(spec, group=self.groups.index(memberships[name])) for name, spec in specs.items()
        }
        self.buffers, self.followed = self._united.buffers, self._united.followed
        self.optimizer = " then ".join(name for name, _ in groupby(run.header.optimizer for run in runs))

    def locate(self, step: int) -> tuple[int, int]:
        """Return the number of the run that step belongs to, and the step's number there."""
        if not 0 <= step < self.starts[-1]:
            raise AadslError(f"no step {step}: the trajectory has steps 0 … {self.starts[-1] - 1}")
        number = bisect_right(self.starts, step) - 1
        return number, step - self.starts[number]

    def jobs(self, names: Mapping[int, str]) -> tuple[Job, ...]:
        """Return the runs, each with the name of the phase that begins with its first step, by ``names``."""
        jobs = []
        for run, (start, stop) in zip(self.runs, pairwise(self.starts), strict=True):
            path = str(run.source.path)
            name = names[start] if start < stop else PurePath(path).name
            jobs.append(Job(name, path, start, stop, run.header.fingerprints))
        return tuple(jobs)

    def hyperparameters(self, step: int) -> tuple[Hyperparameters, ...]:
        """Return the scalars that each group used; one that was not trained, or rested, has the learning rate 0."""
        number, local = self.locate(step)
        run = self.runs[number]
        resting = run.resting.get(local, ())
        return tuple(
            run.hyperparameters(local, 0) | _AT_REST
            if group is None
            else run.hyperparameters(local, group) | ({"lr": 0.0} if group in resting else {})
            for group in (membership[number] for membership in self.groups)
        )

    def optimizers(self, step: int) -> tuple[str | None, ...]:
        """Return the optimizer that trained each group in a step; None where it rested, or the run did not train it."""
        number, local = self.locate(step)
        resting = self.runs[number].resting.get(local, ())
        of_run = zip(self.groups, self.optimizers_of_run(step), strict=True)
        return tuple(None if membership[number] in resting else name for membership, name in of_run)

    def optimizers_of_run(self, step: int) -> tuple[str | None, ...]:
        """Return the optimizer that trains each group in the run of a step; None where the run does not train it."""
        return self._classes[self.locate(step)[0]]

    @cached_property
    def _classes(self) -> list[tuple[str | None, ...]]:
        """For each run the optimizer of each group."""
        found = []
        for number, run in enumerate(self.runs):
            groups = [membership[number] for membership in self.groups]
            found.append(tuple(None if group is None else run.header.optimizers[group] for group in groups))
        return found

    def rules(self) -> tuple[list[Rule], ...]:
        """Return for each group what trained it in each run, every scalar at the largest value it had there."""
        return tuple(
            [
                Rule(run.header.optimizers[group], run.largest_hyperparameters(group), run.header.options[group])
                for run, group in zip(self.runs, membership, strict=True)
                if group is not None and run.length
            ]
            for membership in self.groups
        )

    def renewed(self, step: int) -> tuple[bool, ...]:
        """Return for each group whether its optimizer is another one than before, or alone starts afresh.

        Another one is of another class than that which trained the group last, in a run that begins here.
        """
        number, local = self.locate(step)
        fresh = self.runs[number].fresh.get(local, ())
        found = []
        for group, membership in enumerate(self.groups):
            now, *before = [own[group] for own in reversed(self._classes[: number + 1])]
            last = next((name for name in before if name), now)
            found.append(membership[number] in fresh or (local == 0 and now is not None and now != last))
        return tuple(found)

    def clip(self, step: int) -> Clip | None:
        """Return the gradient clipping that was declared for the run of a step."""
        return self.runs[self.locate(step)[0]].header.clip

    def kernels(self, step: int) -> Kernels:
        """Return the switches that decided the bits of the run of a step."""
        return self.runs[self.locate(step)[0]].header.kernels

    def state(self, step: int, device: str | torch.device) -> State | None:
        """Return ξ_step of the whole chain; None where it is not stored."""
        # Where two runs meet, the state that the later one reads counts.
        for number in reversed(range(len(self.runs))):
            local = step - self.starts[number]
            if local in self.runs[number].states:
                return self._completed(self._read(number, local, device), number, device)
        return None

    def _read(self, number: int, local: int, device: str | torch.device = "cpu") -> State:
        """Read a stored state of a run, by the names that its parameters have here."""
        state, names = self.runs[number].state(local, device), self.names[number]
        return state._replace(
            parameters={names[own]: value for own, value in state.parameters.items()},
            optimizer={s: {names[own]: value for own, value in of.items()} for s, of in state.optimizer.items()},
        )

    def stored(self, number: int, local: int) -> State | None:
        """Return a state of a run, without what only others have; None where it is not stored."""
        return self._read(number, local) if local in self.runs[number].states else None

    def left(self, step: int) -> State:
        """Return where the run that ends before a step ended: another state than ξ_step where a gap ends beside it."""
        number = self.starts.index(step, 1) - 1
        return self._completed(self._read(number, self.runs[number].length), number, "cpu")

    @cached_property
    def gaps(self) -> tuple[Gap, ...]:
        """The runs that were trained again up to the checkpoint that the run after them begins with."""
        fields = ("mismatch", "explained", "verdict", "remark")
        return tuple(
            Gap(start, stop, *(run.header.reconstructed[key] for key in fields))
            for run, after, (start, stop) in zip(self.runs, self.runs[1:], pairwise(self.starts), strict=False)
            if start < stop and meets(run, after)
        )

    def _completed(self, state: State, number: int, device: str | torch.device) -> State:
        """Add to a state of run ``number`` what only other runs have."""
        if len(self.runs) == 1:
            return state
        for field, specs in (("parameters", self.parameters), ("buffers", self.buffers)):
            own: dict[str, Tensor] = getattr(state, field)
            for name in specs:
                if name not in own:
                    own[name] = self._resting(name, field, number).to(device)
        return state

    def _resting(self, name: str, field: str, number: int) -> Tensor:
        """Return the value of a tensor while it is not trained: where it was left, or where it will begin."""
        if name in self._united.held:
            return self._united.held[name]
        numbers = range(len(self.runs))
        for other, end in [
            *((before, self.runs[before].length) for before in reversed(numbers[:number])),
            *((after, 0) for after in numbers[number + 1 :]),
        ]:
            if name in self.tensors_of(other):
                if end not in self.runs[other].states:
                    hint = "chain only runs that were closed properly, or continue the run and close it"
                    path = self.runs[other].source.path
                    raise AadslError(f'{path}: the state in which "{name}" was left is not stored', hint=hint)
                return self._left[other, end][name]
        raise AssertionError(name)

    def tensors_of(self, number: int) -> set[str]:
        """Return the names of the parameters and buffers of a run."""
        return {*self.names[number].values(), *self.runs[number].header.buffers}

    @cached_property
    def _left(self) -> dict[tuple[int, int], dict[str, Tensor]]:
        """What each run began and ended with, of the tensors that another run lacks."""
        numbers = range(len(self.runs))
        everywhere = set.intersection(*map(self.tensors_of, numbers))
        return {
            (number, end): {name: value for name, value in tensors_in(state).items() if name not in everywhere}
            for number in numbers
            for end in (0, self.runs[number].length)
            if (state := self.stored(number, end))
        }

    @cached_property
    def resized(self) -> tuple[Resized, ...]:
        """The parameters that took the place of one of another shape, and began with the values that it had left."""
        return tuple(self._united.resized(self.starts, self.stored))

    @cached_property
    def merged(self) -> tuple[Merged, ...]:
        """The weights that a run begins with and adapters of the run before were merged into."""
        return tuple(self._united.merged(self.starts))

    @property
    def fresh(self) -> list[tuple[int, str]]:
        """The parameters that took the place of others and have nothing of them, each after its first step.

        Adapters begin anew whose merging took on what they had.
        """
        left = {name for one in self.merged for name in one.adapters}
        carried = {one.name for one in self.resized} | {one.name for one in self.merged}
        return self._united.fresh(self.starts, carried | {n for n, b in self.followed.items() if b in left})


def meets(run: RecordedRun, after: RecordedRun) -> bool:
    """Return whether a run was trained again up to the checkpoint that the next one begins with."""
    aimed = run.header.reconstructed.get("aimed", "")
    return bool(aimed) and aimed == after.header.reconstructed.get("begun")


def tensors_in(state: State) -> dict[str, Tensor]:
    """Return the parameters and buffers of a state."""
    return state.parameters | state.buffers


Membership = tuple[int | None, ...]


def _group_order(membership: Membership) -> tuple[int, ...]:
    """Order groups by their number in the last run, then the one before; those not trained come last."""
    return tuple(1 << 30 if group is None else group for group in reversed(membership))
