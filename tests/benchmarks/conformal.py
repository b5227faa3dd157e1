"""Split-conformal intervals around estimates of windows: which scale of their errors makes them hold and narrow."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def relative_error(estimate: Floats, exact: Floats) -> list[float]:
    """Return ‖estimate − exact‖ / ‖exact‖ over the last axis, at every fifth window."""
    off = np.linalg.norm((estimate - exact)[..., ::5], axis=-1) / np.linalg.norm(exact[..., ::5], axis=-1)
    return np.round(off, 3).tolist()


def report(runs: list[dict[str, Floats]]) -> Iterator[str]:
    """Yield the tables."""
    yield f"{len(runs)} seeds"
