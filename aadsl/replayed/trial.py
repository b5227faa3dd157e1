"""Whether the loss of a run is one: seen before anything is computed with it."""

from __future__ import annotations

import torch

from aadsl.replayed.history import History


def require_loss(history: History) -> None:
    """Take the gradient of the first step; random generators are left as they were.

    Raises:
        AadslError: the loss fails there, or returns something else than a number with a gradient.
    """
    with torch.random.fork_rng([] if history.device.type == "cpu" else [history.device]):
        history.objective.evaluate(history.state(0), history.step(0))
