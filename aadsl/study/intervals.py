"""Intervals of estimates from exact answers: split-conformal, so that they hold whatever the estimator does wrong.

Of n exact answers each gives a score r_i = |exact_i − estimate_i| / scale_i. With r the ⌈(n + 1)·0.9⌉-th smallest of
them, the interval estimate ± r·scale covers the exact effect of a stage like them with a chance of 90% (Vovk, Gammerman
and Shafer, Algorithmic Learning in a Random World, 2005). Too few scores give no interval.
"""

from __future__ import annotations

from math import ceil

import numpy as np

from aadsl.estimators.base import Floats

LEVEL = 0.9
FEWEST = 15  # nine would do for the quantile, but their largest score varies too much from draw to draw


def half_width(scores: Floats, level: float = LEVEL) -> float:
    """Return the conformal quantile r of ``scores`` (n,); NaN where they are too few.

    >>> half_width(np.arange(1.0, 20.0))
    18.0
    """
    rank = ceil((len(scores) + 1) * level)
    return float(np.sort(scores)[rank - 1]) if len(scores) >= FEWEST else float("nan")
