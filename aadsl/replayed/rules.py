"""What the optimizers of a trajectory do to each parameter group, as step functions."""

from __future__ import annotations

import torch
from torch import Tensor

from aadsl.core.errors import AadslError
from aadsl.dynamics import RESTING, Dynamics, Hyper, Pausing, Slots, dynamics_of
from aadsl.trajectory import Trajectory


class Rules:
    """The step functions of each parameter group of ``trajectory``.

    Raises:
        AadslError: an optimizer has no step function, or a scalar that it reads was not recorded.
    """

    def __init__(self, trajectory: Trajectory) -> None:
        self._trajectory = trajectory
        self._all = [[(_with_scalars(name, hyper), hyper) for name, hyper in rules] for rules in trajectory.rules]
        self._phases = {phase.start for phase in trajectory.phases if phase.start}

    def __len__(self) -> int:
        return len(self._all)

    def of_run(self, index: int) -> tuple[Dynamics, ...]:
        """Return what trains each group in the run of a step."""
        return tuple(dynamics_of(name) for name in self._trajectory.optimizers_of_run(index))

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


def _with_scalars(optimizer: str, hyper: Hyper) -> Dynamics:
    """Return the step function of an optimizer, which finds in ``hyper`` what it reads.

    Raises:
        AadslError: it does not.
    """
    dynamics, nothing = dynamics_of(optimizer), torch.zeros(1)
    try:
        dynamics.step(nothing, dynamics.initial(nothing, hyper), nothing, hyper)
    except (KeyError, ArithmeticError, RuntimeError, TypeError, ValueError) as error:
        raise AadslError(
            f"the steps of {optimizer} cannot be repeated with the scalars that were recorded of it: {error}",
            hint="trajectory.violations() says whether the files are damaged",
        ) from error
    return dynamics
