"""The weights that ``optimizer.eval()`` sets: of runs whose optimizer trains other ones than are evaluated."""

from __future__ import annotations

from collections.abc import Callable

from aadsl.core.state import State
from aadsl.dynamics import OwnGroup
from aadsl.propagation import FlatState, Layout, evaluated
from aadsl.replayed.given import NamedWeights
from aadsl.replayed.rules import Rules
from aadsl.trajectory import Trajectory


class Evaluated:
    """Makes of a state the one that is evaluated, and shipped, in its place.

    Args:
        trajectory: what was recorded.
        rules: the optimizers; that of the last step decides.
        layout: of the parameters.
        flattened: makes flat states of those that were stored.
    """

    def __init__(
        self, trajectory: Trajectory, rules: Rules, layout: Layout, flattened: Callable[[State, int], FlatState]
    ) -> None:
        last = trajectory.length - 1
        self._trajectory, self._layout, self._flattened = trajectory, layout, flattened
        self._dynamics, self._hyper = rules.of_run(last), trajectory.hyperparameters(last)

    @property
    def differs(self) -> bool:
        """Whether there is such an optimizer."""
        return any(isinstance(rule, OwnGroup) and rule.owner.has_modes for rule in self._dynamics)

    def __call__(self, state: FlatState) -> FlatState:
        """Return the state with the weights that are evaluated."""
        return state._replace(parameters=evaluated(self._layout, state, self._dynamics, self._hyper))

    def weights(self, step: int) -> NamedWeights:
        """Return those of a stored state by name."""
        state = self._flattened(self._trajectory.state(step), step)
        return self._layout.named_views(self(state).parameters)
