"""How well estimates follow exact numbers: what is measured of it, and its words."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aadsl.core.numbers import MINUS, plain

CORRELATED = 3
"""Pairs from which on a correlation says something."""


class Fit(NamedTuple):
    """How well estimates follow exact numbers.

    Attributes:
        correlation: Pearson's r; NaN where either does not vary.
        slope: of the estimates over the exact numbers, through the origin, Σ estimate·exact / Σ exact²; 1 is right.
        relative_error: ‖estimate − exact‖ / ‖exact‖.
        pairs: how many were compared.
    """

    correlation: float
    slope: float
    relative_error: float
    pairs: int

    def in_words(self, error: str = "") -> str:
        """Return ``correlation 0.990, slope 1.05, relative error 0.05``, or what ``error`` says of that."""
        if not np.isfinite(self.slope):
            return "no exact effect differs from zero"
        known = self.pairs >= CORRELATED and np.isfinite(self.correlation)
        parts = [f"correlation {self.correlation:.3f}".replace("-", MINUS)] if known else []
        return ", ".join(
            [*parts, f"slope {plain(self.slope, 3)}", error or f"relative error {self.relative_error:.2g}"]
        )


def fit(estimate: NDArray[np.float64], exact: NDArray[np.float64]) -> Fit:
    """Return how well ``estimate`` (n,) follows ``exact`` (n,), over the pairs of which both are finite.

    Slope and error are NaN where no exact number differs from zero.
    """
    known = np.isfinite(exact) & np.isfinite(estimate)
    estimate, exact = estimate[known], exact[known]
    size = float(exact @ exact) or np.nan
    varied = len(exact) > 1 and np.ptp(exact) > 0 and np.ptp(estimate) > 0
    return Fit(
        correlation=float(np.corrcoef(estimate, exact)[0, 1]) if varied else np.nan,
        slope=float(estimate @ exact) / size,
        relative_error=float(np.linalg.norm(estimate - exact)) / size**0.5,
        pairs=len(exact),
    )
