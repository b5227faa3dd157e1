"""What estimators do where nothing is asked for, and how they restrict themselves to some parameters."""

from __future__ import annotations

from aadsl.history import History
from aadsl.propagation import Curvature, Exact, FlatState, Restricted


def default_curvature(history: History) -> Curvature:
    """Return exact()."""
    return Exact()


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
