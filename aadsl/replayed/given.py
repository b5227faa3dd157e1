"""Whether the weights of the model that was given are those of the run's end, of which all answers are."""

from __future__ import annotations

import torch
from torch import nn

from aadsl.core.state import State
from aadsl.trajectory import Trajectory

SEARCHED = 1 << 26  # bytes of weights in stored states that are looked through for the given ones


def note_on_weights(trajectory: Trajectory, model: nn.Module, first: State, last: State) -> str:
    """Return what is to be said of the model's weights; "" where they are those of the run's start or of its end.

    Args:
        trajectory: the run.
        model: the model that was given.
        first, last: the first and the last state that were stored. Of a run that was not closed, the end is not known.
    """
    own = {name: parameter.detach() for name, parameter in model.named_parameters() if name in trajectory.parameters}
    ended = trajectory.checkpoints[-1] == trajectory.length
    if not (ended or trajectory.closed) or any(p.is_meta for p in own.values()):
        return ""
    if _equal(own, first) or (ended and _equal(own, last)):
        return ""
    step = _step_of(own, trajectory, first)
    which = "other ones than those of the run's end" if step is None else f"those of the run before step {step}"
    if not ended:  # at the end of its recording the model was another one than the last step had left
        which = f"{which}, or may be: something else than the optimizer wrote to the model after the last step"
    return (
        f"the weights of the model that was given are {which}; answers are about the run's end, the model after "
        f"{trajectory.length} steps, and say nothing of other weights: of best ones that were loaded, or of an average "
        "(SWA, EMA); to ask about weights of an earlier step, close a recorder there"
    )


def _equal(own: dict[str, torch.Tensor], state: State) -> bool:
    return all(torch.equal(part.cpu(), state.parameters[name].cpu()) for name, part in own.items())


def _step_of(own: dict[str, torch.Tensor], trajectory: Trajectory, first: State) -> int | None:
    """Return the stored step whose weights these are; None where none is, or they are too many to look through."""
    between = trajectory.checkpoints[1:-1]
    if len(between) * sum(part.nbytes for part in first.parameters.values()) > SEARCHED:
        return None
    return next((step for step in reversed(between) if _equal(own, trajectory.state(step))), None)
