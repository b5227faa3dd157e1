"""What the single examples of steps did, to first order: to behaviors of the final model, and to their own loss."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aadsl.estimators.base import Behavior, Floats, final_readouts
from aadsl.estimators.defaults import candidates_for, finite_sweep
from aadsl.propagation import Curvature, example_sweep, forward, own_effects
from aadsl.replayed.execution import Execution
from aadsl.replayed.history import History


def example_scores(
    history: History, behaviors: Sequence[Behavior], wanted: NDArray[np.bool_], execution: Execution
) -> tuple[Floats, str]:
    """Return the effect of leaving each example out of each step that is ``wanted`` (T,), and the curvature in words.

    score_{t,i} = ⟨u_{t+1}, ∂Φ_t/∂w_i⟩ with w_i the weight of example i in the loss of step t: to first order
    γ(observed) − γ(w_i = 0). Positive: the behavior would be lower without the example. One adjoint sweep from the end
    of the run to the first wanted step, and one more backward pass for each wanted step and behavior.

    Returns:
        (R, K) scores of the R examples of all wanted steps, in the order of training; and how Hessian-vector products
        were computed.

    Raises:
        AadslError: the sweep leaves the finite numbers, or the loss terms of examples cannot be told apart.
    """

    def sweep(curvature: Curvature, execution: Execution) -> Floats:
        state, readouts = final_readouts(history, behaviors)
        cotangents = [history.placed(readout.cotangent(state)) for readout in readouts]
        found = example_sweep(
            history,
            history.step_map,
            cotangents,
            curvature,
            wanted=wanted,
            limit=history.limit,
            progress=execution.progress,
        )
        return np.concatenate([scores.T for _, scores in reversed([*found])])

    return finite_sweep(history, candidates_for(history, None), None, execution, sweep)


def self_influence(history: History, wanted: NDArray[np.bool_], execution: Execution) -> Floats:
    """Return how much each example lowered its own loss at once, by its share of each step that is ``wanted`` (T,).

    That is :func:`aadsl.propagation.own_effects`, for plain SGD TracIn's self-influence. It is large where an example
    is unlike the others, so that only its own gradient lowers its loss: mislabeled ones come first. One backward pass
    an example.

    Returns:
        (R,) of the R examples of all wanted steps, in the order of training, in units of the loss.
    """
    steps, found = np.flatnonzero(wanted), list[Floats]()
    for taken in forward(history, history.step_map, int(steps[0]), int(steps[-1]) + 1, execution.progress):
        if wanted[taken.step.index]:
            found.append(own_effects(history.step_map, taken.here).cpu().numpy())
            execution.progress("self-influence", len(found), len(steps))
    return np.concatenate(found)
