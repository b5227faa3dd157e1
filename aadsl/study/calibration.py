"""Estimates of a few single steps against exact replays: how far an estimator can be trusted on this run."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from aadsl.core.progress import Progress
from aadsl.estimators import Estimator, Query, Retraining
from aadsl.replayed.execution import Execution
from aadsl.replayed.history import History
from aadsl.study.trust import Calibration

RESAMPLES = 1000


def sampled_steps(length: int, samples: int, seed: int = 0) -> NDArray[np.int64]:
    """Return one random step of each of ``samples`` equal stretches of the run, ascending."""
    edges = np.linspace(0, length, min(samples, length) + 1).astype(int)
    generator = np.random.default_rng(seed)
    return np.array([generator.integers(a, b) for a, b in pairwise(edges)])


def single_steps(length: int, samples: int) -> NDArray[np.bool_]:
    """Return (n, T) the :func:`sampled_steps`, each as a stage of its own."""
    return np.equal.outer(sampled_steps(length, samples), np.arange(length))


def calibrate(
    history: History,
    method: Estimator,
    query: Query,
    progress: Progress,
) -> list[Calibration]:
    """Return for each behavior how estimated effects compare with exact replays; each stage of the query is one step.

    Costs one replay from each step to the end of the run, half a training run a step on average.
    """
    execution, steps = Execution(progress), tuple(query.members.argmax(axis=1).tolist())
    estimate = method.answer(history, query, execution).effect
    exact = Retraining().answer(history, query, execution).effect
    return [compared(steps, estimate[:, k], exact[:, k]) for k in range(len(query.behaviors))]


def compared(steps: tuple[int, ...], estimate: NDArray[np.float64], exact: NDArray[np.float64]) -> Calibration:
    """Return slope, correlation and relative error of ``estimate`` (n,) over ``exact`` (n,), with an interval."""
    generator = np.random.default_rng(0)
    draws = generator.integers(0, len(steps), (RESAMPLES, len(steps)))
    errors = np.linalg.norm((estimate - exact)[draws], axis=1) / np.linalg.norm(exact[draws], axis=1)
    low, high = np.nanquantile(errors, (0.05, 0.95))
    varied = len(steps) > 1 and exact.std() > 0 and estimate.std() > 0
    return Calibration(
        steps,
        slope=float(estimate @ exact / (exact @ exact)),
        correlation=float(np.corrcoef(estimate, exact)[0, 1]) if varied else 1.0,
        relative_error=float(np.linalg.norm(estimate - exact) / np.linalg.norm(exact)),
        interval=(float(low), float(high)),
    )
