"""What estimators do where nothing is asked for, and how they restrict themselves to some parameters."""

from __future__ import annotations

from aadsl.history import History
from aadsl.propagation import CentralDifference, Curvature, Exact, FlatState, Restricted


def default_curvature(history: History) -> Curvature:
    """Return ``central_difference(radius=1)`` for SGD on a network with kinks and without BatchNorm, else ``exact()``.

    A skipped step moves the parameters across kinks (ReLU, max-pooling) whose change of slope the Hessian, a local
    quantity, misses; a difference over the size of the step itself sees them. With BatchNorm, whose loss does not
    depend on the scale of the weights, the difference crosses many kinks in passing and is noisier. For adaptive
    optimizers the cotangent of the gradient is largest where the second moment is almost zero (dead units), so that
    no single radius suits all its directions, and differences diverge.
    """
    differences = history.trajectory.optimizer == "SGD" and history.kinks and not history.objective.statistics.names
    return CentralDifference(radius=1.0) if differences else Exact()


def curvature_for(history: History, curvature: Curvature | None, parameters: str | None) -> Curvature:
    """Return the curvature to use: the given one or the default, within the chosen parameters."""
    chosen = curvature or default_curvature(history)
    return chosen if parameters is None else Restricted(chosen, history.chosen(parameters))


def restricted(history: History, state: FlatState, parameters: str | None) -> FlatState:
    """Return a cotangent or tangent with everything but the chosen parameters at zero."""
    if parameters is None:
        return state
    kept = state.parameters * history.chosen(parameters)
    return state._replace(parameters=kept, buffers=state.buffers * 0)
