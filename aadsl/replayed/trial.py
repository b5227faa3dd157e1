"""Whether the loss of a run is one: seen before anything is computed with it."""

from __future__ import annotations

from aadsl.core.generators import left_as_they_were
from aadsl.replayed.history import History


def require_loss(history: History) -> None:
    """Take the gradient of the first step; random generators are left as they were.

    Raises:
        AadslError: the loss fails there, or returns something else than a number with a gradient.
    """
    with left_as_they_were(history.drawn_from):
        history.objective.of(history.step(0)).evaluate(history.state(0), history.step(0))
