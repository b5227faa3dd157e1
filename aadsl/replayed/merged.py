"""A model that was shipped in other weights than those that were trained: adapters merged into their base, say.

Behaviors of it are those of the model that the run ended with, but for rounding. That is seen from what it computes:
the loss of a few batches, in eval mode.
"""

from __future__ import annotations

from math import isclose

import torch
from torch import nn

from aadsl.core.copies import copied
from aadsl.core.errors import AadslError
from aadsl.core.generators import NUMPY, PYTHON, left_as_they_were
from aadsl.propagation import final_state
from aadsl.propagation.loss import evaluated
from aadsl.replayed.history import History

BATCHES = 3  # of steps spread over the run
ROUNDED = 1e-4  # relative difference of losses that rounding may make where weights were added up


def merged_step(history: History, shipped: nn.Module) -> int:
    """Return the number of steps after which a model computes what ``shipped`` does: all, or as many as a stored state.

    Raises:
        AadslError: it computes something else than any of them.
    """
    wanted = _losses(history, copied(shipped))
    states = [step for step in history.trajectory.checkpoints if 0 < step < history.trajectory.length]
    end = final_state(history, history.step_map)  # not held: it is the model that is asked about that will be
    if _alike(_losses(history, history.model_at(end)), wanted):
        return history.trajectory.length
    for step in reversed(states):
        if _alike(_losses(history, history.model_at(history.state(step))), wanted):
            return step
    raise AadslError(
        "final: this model has other weights than the run trained, and computes something else than after any step "
        "that was stored",
        hint="say after which step it was: final=STEP; where something else was done to it, finish=… says what",
    )


def _losses(history: History, model: nn.Module) -> list[float]:
    """Return the loss of a model, in eval mode, on a few recorded batches."""
    model, length = model.to(history.device).eval(), history.trajectory.length
    steps = sorted({length * place // BATCHES for place in range(BATCHES)})
    with torch.no_grad(), left_as_they_were(("cpu", PYTHON, NUMPY)):
        batches = (batch for step in steps for batch in history.step(step).batches())
        return [float(evaluated(history.objective.loss, model, batch)) for batch in batches]


def _alike(one: list[float], other: list[float]) -> bool:
    return all(isclose(a, b, rel_tol=ROUNDED, abs_tol=ROUNDED * 1e-3) for a, b in zip(one, other, strict=True))
