"""Theorem 4.1's bound on the error of first-order effects, up to its constant."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from aadsl.propagation import Exact, forward
from aadsl.replayed.history import History
from aadsl.study.calibration import sampled_steps


def bound_factors(history: History, members: NDArray[np.bool_], names: Sequence[str], samples: int = 5) -> xr.Dataset:
    """Return what Theorem 4.1 (eq. 11) says about stages ``members`` (S, T), up to its constant C.

    |τ̂ − τ| ≤ C · Δ_S² · exp(2ηL(T − t₀)), with Δ_S the length of the stage's updates, η the largest learning rate, L
    the largest curvature (by power iteration at ``samples`` steps, so rather too small) and t₀ the first step.

    Returns:
        A Dataset over ``stage``: ``displacement``, ``horizon``, ``exponent`` and ``factor`` (everything but C).
    """
    lengths, curvature = np.zeros(history.length), 0.0
    probed = set(sampled_steps(history.length, samples).tolist())
    rate = max(max(h["lr"] for h in history.step(t).hyper) for t in range(history.length))
    for taken in forward(history, history.step_map):
        lengths[taken.step.index] = taken.here.length
        if taken.step.index in probed:
            curvature = max(curvature, _largest_curvature(history, taken.step.index))
    displacement = members.astype(float) @ lengths
    horizon = np.where(members.any(axis=1), history.length - members.argmax(axis=1), 0)
    exponent = 2 * rate * curvature * horizon
    with np.errstate(over="ignore"):
        factor = displacement**2 * np.exp(exponent)
    over = ("stage",)
    return xr.Dataset(
        {
            "displacement": (over, displacement, {"long_name": "length of the stage's updates"}),
            "horizon": (over, horizon, {"long_name": "steps from the stage's first one to the end"}),
            "exponent": (over, exponent, {"long_name": "2 x learning rate x curvature x horizon"}),
            "factor": (over, factor, {"long_name": "bound on the error, up to a constant"}),
        },
        {"stage": list(names)},
        {"learning_rate": rate, "curvature": curvature},
    )


def _largest_curvature(history: History, t: int, iterations: int = 8) -> float:
    """Return |λ| of the Hessian's largest eigenvalue at θ_t, by power iteration."""
    (taken,) = forward(history, history.step_map, t, t + 1)
    vector = torch.randn_like(taken.state.parameters)
    norm = 0.0
    for _ in range(iterations):
        ((vector, _),) = Exact().pullback(
            history.objective.of(taken.step), taken.here, [(vector / vector.norm(), None)]
        )
        norm = float(vector.norm())
    return norm
