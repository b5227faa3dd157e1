"""Estimates of a few single steps against exact replays: how far an estimator can be trusted on this run."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from aadsl.core.errors import AadslError
from aadsl.core.fit import fit
from aadsl.estimators import Query
from aadsl.estimators.base import Floats

RESAMPLES = 1000


@dataclass(frozen=True)
class Calibration:
    """Estimates of a few single steps beside their exact effects.

    Attributes:
        steps: the sampled steps.
        slope, correlation, relative_error: as in :class:`aadsl.core.fit.Fit`.
        interval: 90% interval of ``relative_error``, from resampling the steps.
    """

    steps: tuple[int, ...]
    slope: float
    correlation: float
    relative_error: float
    interval: tuple[float, float]


def sampled_steps(length: int, samples: int, seed: int = 0) -> NDArray[np.int64]:
    """Return one random step of each of ``samples`` equal stretches of the run, ascending."""
    edges = np.linspace(0, length, min(samples, length) + 1).astype(int)
    generator = np.random.default_rng(seed)
    return np.array([generator.integers(a, b) for a, b in pairwise(edges)])


def single_steps(length: int, samples: int) -> NDArray[np.bool_]:
    """Return (n, T) the :func:`sampled_steps`, each as a stage of its own. Raises AadslError where there is none."""
    if samples < 1:
        raise AadslError(f"samples must be at least 1, not {samples}", hint="from 15 on, estimates get intervals")
    return np.equal.outer(sampled_steps(length, samples), np.arange(length))


def calibrations(query: Query, estimate: Floats, exact: Floats) -> list[Calibration]:
    """Return for each behavior how estimates (n, K) compare with exact effects; each stage of the query is one step."""
    steps = tuple(query.members.argmax(axis=1).tolist())
    return [compared(steps, estimate[:, k], exact[:, k]) for k in range(len(query.behaviors))]


def compared(steps: tuple[int, ...], estimate: NDArray[np.float64], exact: NDArray[np.float64]) -> Calibration:
    """Return slope, correlation and relative error of ``estimate`` (n,) over ``exact`` (n,), with an interval.

    They are NaN where no exact effect differs from zero.
    """
    if not exact.any():
        unknown = float("nan")
        return Calibration(steps, unknown, unknown, unknown, (unknown, unknown))
    generator = np.random.default_rng(0)
    draws = generator.integers(0, len(steps), (RESAMPLES, len(steps)))
    sizes = np.linalg.norm(exact[draws], axis=1)
    sizes[sizes == 0] = np.nan  # of steps without effect no relative error is known
    errors = np.linalg.norm((estimate - exact)[draws], axis=1) / sizes
    low, high = np.nanquantile(errors, (0.05, 0.95))
    correlation, slope, relative_error, _ = fit(estimate, exact)
    return Calibration(steps, slope, correlation, relative_error, (float(low), float(high)))
