"""Recorded states as flat ones."""

from __future__ import annotations

import torch

from aadsl.core.state import State
from aadsl.dynamics import OwnGroup
from aadsl.propagation import FlatState, Layout
from aadsl.replayed import fitting
from aadsl.replayed.rules import Rules
from aadsl.trajectory import Trajectory


class Flattening:
    """Makes flat states, without an average, of those that were recorded.

    Args:
        trajectory: what was recorded.
        rules: the optimizers.
        layouts: of parameters and of buffers of floating type, and the names of those of integer type.
        device: where the states are wanted.
    """

    def __init__(
        self,
        trajectory: Trajectory,
        rules: Rules,
        layouts: tuple[Layout, Layout, tuple[str, ...]],
        device: torch.device,
    ) -> None:
        self._trajectory, self._rules, self._device = trajectory, rules, device
        self._parameters, self._buffers, self._integers = layouts

    def __call__(self, state: State, index: int) -> FlatState:
        """Return ``state``, recorded before step ``index``."""
        layout, buffers = self._parameters, self._buffers
        trained = {name: state.parameters[name] for name in layout.names}
        parameters = layout.flatten([*trained.values()], trained[layout.names[0]].to(self._device))
        following = min(index, self._trajectory.length - 1)
        dynamics, scalars = self._rules.of_run(following), self._trajectory.hyperparameters(following)
        slots = []
        for group, stretch in enumerate(layout.group_slices):
            names, rule = layout.group_names(group), dynamics[group]
            part = Layout.of({n: state.parameters[n].shape for n in names})
            everything, used = self._rules.slots(group, parameters[stretch], rule)
            if isinstance(rule, OwnGroup):
                slots.append(
                    everything | rule.recorded_slots(state.optimizer, names, scalars[group], parameters.device)
                )
                continue
            counters = {slot for slot, value in everything.items() if not value.dim()}
            recorded = {
                slot: fitting.slot_of(part, values, parameters, is_counter=slot in counters)
                for slot, values in state.optimizer.items()
            }
            own = {slot: t for slot, t in recorded.items() if t is not None}
            slots.append(everything | rule.restore(own, used))
        integers = tuple(state.buffers[n].to(self._device) for n in self._integers)
        floating = buffers.flatten([state.buffers[n] for n in buffers.names], parameters.new_zeros(0))
        return FlatState(parameters, tuple(slots), floating, integers)
