"""Evidence on how far estimates can be trusted, without retraining for every stage."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from aadsl.estimators import Behavior, Estimator, Question, Retraining
from aadsl.history import History
from aadsl.interventions import Intervention
from aadsl.propagation import Exact, Progress, forward
from aadsl.trust import Check

RESAMPLES = 1000


def sampled_steps(length: int, samples: int, seed: int = 0) -> NDArray[np.int64]:
    """Return one random step of each of ``samples`` equal stretches of the run, ascending."""
    edges = np.linspace(0, length, min(samples, length) + 1).astype(int)
    generator = np.random.default_rng(seed)
    return np.array([generator.integers(a, b) for a, b in pairwise(edges)])


def check_steps(
    history: History,
    method: Estimator,
    behaviors: Sequence[Behavior],
    intervention: Intervention,
    steps: NDArray[np.int64],
    progress: Progress,
) -> list[Check]:
    """Return for each behavior how estimated effects of single ``steps`` compare with exact replays.

    Costs one replay from each step to the end of the run, half a training run a step on average.
    """
    members = np.zeros((len(steps), history.length), dtype=bool)
    members[np.arange(len(steps)), steps] = True
    question = Question(members, tuple(behaviors), intervention)
    estimate = method.answer(history, question, progress).effect
    exact = Retraining().answer(history, question, progress).effect
    return [compared(tuple(map(int, steps)), estimate[:, k], exact[:, k]) for k in range(len(behaviors))]


def compared(steps: tuple[int, ...], estimate: NDArray[np.float64], exact: NDArray[np.float64]) -> Check:
    """Return slope, correlation and relative error of ``estimate`` (n,) over ``exact`` (n,), with an interval."""
    generator = np.random.default_rng(0)
    draws = generator.integers(0, len(steps), (RESAMPLES, len(steps)))
    errors = np.linalg.norm((estimate - exact)[draws], axis=1) / np.linalg.norm(exact[draws], axis=1)
    low, high = np.nanquantile(errors, (0.05, 0.95))
    varied = len(steps) > 1 and exact.std() > 0 and estimate.std() > 0
    return Check(
        steps,
        slope=float(estimate @ exact / (exact @ exact)),
        correlation=float(np.corrcoef(estimate, exact)[0, 1]) if varied else 1.0,
        relative_error=float(np.linalg.norm(estimate - exact) / np.linalg.norm(exact)),
        interval=(float(low), float(high)),
    )


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
    for moment in forward(history, history.step_map):
        lengths[moment.step.index] = moment.here.length
        if moment.step.index in probed:
            curvature = max(curvature, _largest_curvature(history, moment.step.index))
    displacement = members.astype(float) @ lengths
    horizon = history.length - members.argmax(axis=1)
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
    (moment,) = forward(history, history.step_map, t, t + 1)
    vector = torch.randn_like(moment.state.parameters)
    norm = 0.0
    for _ in range(iterations):
        ((vector, _),) = Exact().pullback(history.objective, moment.here, [(vector / vector.norm(), None)])
        norm = float(vector.norm())
    return norm
