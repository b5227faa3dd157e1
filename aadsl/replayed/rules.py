"""What the optimizers of a trajectory do to each parameter group, as step functions."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.optim import Optimizer

from aadsl.core.errors import AadslError
from aadsl.dynamics import (
    DYNAMICS,
    OF_MATRICES,
    RESTING,
    Dynamics,
    Hyper,
    Make,
    OwnGroup,
    OwnOptimizer,
    Pausing,
    Slots,
    class_of,
    in_words,
)
from aadsl.trajectory import Trajectory
from aadsl.trajectory.read.chain import Rule

GivenOptimizer: TypeAlias = Make | Mapping[str, type[Optimizer]] | None
"""What makes the optimizer of a run that has no step function, or classes by the name that was recorded of them."""


class Rules:
    """The step functions of each parameter group of ``trajectory``.

    Args:
        trajectory: what was recorded.
        like: gives tensors like those of a parameter group by name, in its order, on the device of the replay.
        optimizer: what makes the user's own optimizer; by default it is looked up, and made as it was recorded.

    Attributes:
        opaque: the names of the optimizers whose steps have no derivative, in words; empty where all have one.
        alone: why runs do not advance together, in words; as a rule empty.
        made_of: what decides the steps of those: their classes, and what was given.

    Raises:
        AadslError: an optimizer cannot be made again, or a scalar that it reads was not recorded.
    """

    def __init__(
        self, trajectory: Trajectory, like: Callable[[int], Mapping[str, Tensor]], optimizer: GivenOptimizer = None
    ) -> None:
        self._trajectory, self._like, self._given = trajectory, like, optimizer
        self.alone = ""
        self._phases = {phase.start for phase in trajectory.phases if phase.start}
        self._starts = [job.start for job in trajectory.jobs if job.start < job.stop]
        left = [iter(rules) for rules in trajectory.rules]
        self._of_jobs = [
            self._of_job([None if kind is None else next(left[group]) for group, kind in enumerate(kinds)])
            for kinds in map(trajectory.optimizers_of_run, self._starts)
        ]
        owners = [one.owner for of_job in self._of_jobs for one in of_job if isinstance(one, OwnGroup)]
        self.opaque = " and ".join(dict.fromkeys(in_words(one.kind) for one in owners if not one.has_derivative))
        if owners:
            self.alone = f"{' and '.join(dict.fromkeys(in_words(one.kind) for one in owners))} takes its steps itself"
        self.made_of: list[Any] = [*(type(owner.optimizer) for owner in owners), *([optimizer] if owners else [])]
        # Of each group what trained it, one a run, and its scalars.
        self._all: list[list[tuple[Dynamics, Hyper]]] = []
        for group, rules in enumerate(trajectory.rules):
            trained = [of_job[group] for of_job in self._of_jobs if of_job[group] is not RESTING]
            self._all.append([(one, rule.hyperparameters) for one, rule in zip(trained, rules, strict=True)])

    def __len__(self) -> int:
        return len(self._all)

    def _of_job(self, rules: Sequence[Rule | None]) -> tuple[Dynamics, ...]:
        """Return what trains each group in a run; groups of one class have one optimizer."""
        found: list[Dynamics] = [DYNAMICS.get(rule.optimizer, RESTING) if rule else RESTING for rule in rules]
        unknown: dict[str, dict[int, Rule]] = {}
        for group, rule in enumerate(rules):
            if rule is not None and rule.optimizer in DYNAMICS:
                _require_scalars(found[group], rule.optimizer, rule.hyperparameters)
            elif rule is not None and rule.optimizer in OF_MATRICES:
                shapes = [tuple(like.shape) for like in self._like(group).values()]
                found[group] = OF_MATRICES[rule.optimizer](shapes, rule.options)
                self.alone = f"{rule.optimizer} moves whole matrices"
            elif rule is not None:
                unknown.setdefault(rule.optimizer, {})[group] = rule
        for kind, own in unknown.items():
            owner = OwnOptimizer(kind, [*map(self._like, own)], [rule.options for rule in own.values()], self._given)
            for number, group in enumerate(own):
                found[group] = OwnGroup(owner, number)
        return tuple(found)

    def of_run(self, index: int) -> tuple[Dynamics, ...]:
        """Return what trains each group in the run of a step."""
        return self._of_jobs[bisect_right(self._starts, index) - 1]

    def at(self, index: int) -> tuple[Dynamics, ...]:
        """Return what each group does in a step."""
        taken = self._trajectory.optimizers(index)
        return tuple(
            Pausing(rule) if name is None and rule is not RESTING else rule
            for name, rule in zip(taken, self.of_run(index), strict=True)
        )

    def restarted(self, index: int) -> tuple[int, ...]:
        """Return the groups whose optimizer starts afresh before a step; nothing did before the first one."""
        if index not in self._phases:
            return ()
        return tuple(group for group, own in enumerate(self._trajectory.restarted(index)) if own)

    def slots(self, group: int, parameter: Tensor, dynamics: Dynamics) -> tuple[Slots, Slots]:
        """Return slots of a group: all that are ever used, at zero, and those of ``dynamics``, as they start.

        That of a momentum which starts at 0 is among them.
        """
        everything: Slots = {}
        own: Slots = {}
        for rule, hyper in self._all[group]:
            initial = rule.initial(parameter, hyper)
            everything |= {name: torch.zeros_like(value) for name, value in initial.items()}
            if rule is dynamics:
                own |= initial
        return everything, own


def classes_of(trajectory: Trajectory) -> dict[str, type[Optimizer]]:
    """Return the classes of the optimizers that have no step function, by the names that were recorded of them."""
    starts = [job.start for job in trajectory.jobs if job.start < job.stop]
    kinds = {kind for start in starts for kind in trajectory.optimizers_of_run(start) if kind is not None}
    return {
        kind: found
        for kind in sorted(kinds - DYNAMICS.keys() - OF_MATRICES.keys())
        if (found := class_of(kind)) is not None
    }


def _require_scalars(dynamics: Dynamics, optimizer: str, hyper: Hyper) -> None:
    """Make sure that a step function finds in ``hyper`` what it reads.

    Raises:
        AadslError: it does not.
    """
    nothing = torch.zeros(1)
    try:
        dynamics.step(nothing, dynamics.initial(nothing, hyper), nothing, hyper)
    except (KeyError, ArithmeticError, RuntimeError, TypeError, ValueError) as error:
        raise AadslError(
            f"the steps of {optimizer} cannot be repeated with the scalars that were recorded of it: {error}",
            hint="trajectory.violations() says whether the files are damaged",
        ) from error
