"""Which model of the run some weights are: its end, of which answers are unless they are asked of another, or a step.

Many runs do not ship their last weights: best ones are loaded at the end, or the training went on for too long.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from aadsl.core.errors import AadslError, did_you_mean
from aadsl.core.state import State
from aadsl.dynamics import equal_but_for_swaps
from aadsl.trajectory import Trajectory

SEARCHED = 1 << 26  # bytes of weights in stored states that are looked through for the given ones
WRAPPERS = ("_orig_mod.", "module.")  # what wrappers put before the names of parameters

GIVEN, AVERAGED, TRAINED = "given", "averaged", "trained"  # what final= may say in words

NamedWeights = Mapping[str, Tensor]


class OfStates(Protocol):
    """The weights that stored states stand for, where these are others than were trained."""

    def weights(self, step: int) -> NamedWeights:
        """Return those of the state before a step by name."""
        ...


def note_on_weights(
    trajectory: Trajectory, model: nn.Module, first: State, last: State, evaluated: OfStates | None = None
) -> str:
    """Return what is to be said of the model's weights; "" where they are those of the run's start or of its end.

    Args:
        trajectory: the run.
        model: the model that was given.
        first, last: the first and the last state that were stored. Of a run that was not closed, the end is not known.
        evaluated: the weights that its optimizer evaluates, where these are others than it trains.
    """
    own = {name: parameter.detach() for name, parameter in model.named_parameters() if name in trajectory.parameters}
    ended = trajectory.checkpoints[-1] == trajectory.length
    if not (ended or trajectory.closed) or any(p.is_meta for p in own.values()):
        return ""
    at_end = evaluated is None and _equal(own, last.parameters)
    if _equal(own, first.parameters) or (ended and (at_end or _is_evaluated(own, trajectory.length, evaluated))):
        return ""
    if evaluated is not None and is_trained_end(trajectory, own):
        return (
            "the weights of the model that was given are those of training, before optimizer.eval(); answers are about "
            f"those that it sets; to ask about the model that was given, say final={TRAINED!r}"
        )
    if is_average(trajectory, own):
        return (
            "the weights of the model that was given are the average that the loop kept; answers are about the run's "
            'end; to ask about the average, say final="averaged"'
        )
    about = f"answers are about the run's end, the model after {trajectory.length} steps"
    between = trajectory.checkpoints[1:-1]
    searched = len(between) * sum(part.nbytes for part in first.parameters.values()) <= SEARCHED
    step = stored_step(trajectory, own, evaluated) if searched else None
    if step is not None:
        return (
            f"the weights of the model that was given are those of step {step:,}: best weights were loaded at the end, "
            f"or training went on; {about}; to ask about the model that was given, say final={step}"
        )
    which = "other ones than those of the run's end"
    if not ended:  # at the end of its recording the model was another one than the last step had left
        which = f"{which}, or may be: something else than the optimizer wrote to the model after the last step"
    return (
        f"the weights of the model that was given are {which}; {about}, and say nothing of other weights: of best ones "
        "that were loaded, or of an average (SWA, EMA; record it, Recorder(…, averaged=ema_model)); to ask about the "
        "model after an earlier step, say final=STEP"
    )


def stored_step(trajectory: Trajectory, weights: NamedWeights, evaluated: OfStates | None = None) -> int | None:
    """Return the last stored step t whose θ_t, or what is evaluated in its place, these are; None where none is."""

    def is_of(step: int) -> bool:
        own = evaluated is None and _equal(weights, trajectory.state(step).parameters)
        return own or _is_evaluated(weights, step, evaluated)

    return next(filter(is_of, reversed(trajectory.checkpoints)), None)


def is_trained_end(trajectory: Trajectory, weights: NamedWeights) -> bool:
    """Return whether these are the weights that were trained, as they were at the end, where others are evaluated."""
    last = trajectory.checkpoints[-1]
    return last == trajectory.length and _equal(weights, trajectory.state(last).parameters, equal_but_for_swaps)


def is_average(trajectory: Trajectory, weights: NamedWeights) -> bool:
    """Return whether these are the weights of the average that the loop kept, as it was at the end."""
    last = trajectory.checkpoints[-1]
    if not trajectory.average or last < trajectory.length:
        return False
    state = trajectory.state(last)
    average = state.parameters | state.average["parameters"]  # which lacks what only earlier runs trained
    return all(torch.equal(part.cpu(), average[name].cpu()) for name, part in weights.items())


def is_other(model: nn.Module, trajectory: Trajectory) -> bool:
    """Return whether a model has none of some parameters that were trained, as one whose adapters were merged."""
    names = {bare_name(name) for name in model.state_dict()}
    return not {bare_name(name) for name in trajectory.parameters} <= names


def weights_of(given: nn.Module | NamedWeights, trajectory: Trajectory) -> dict[str, Tensor]:
    """Return the trained parameters out of a model or a state dict, by the names that they have in the run.

    Raises:
        AadslError: one is missing, or has another shape.
    """
    tensors = given.state_dict() if isinstance(given, nn.Module) else given
    known = {bare_name(str(name)): tensor for name, tensor in tensors.items() if isinstance(tensor, Tensor)}
    recorded = {bare_name(name): name for name in trajectory.parameters}
    for bare, name in recorded.items():
        if bare not in known:
            hint = did_you_mean(name, known) or (
                "give model.state_dict(), as it was loaded, or the model itself where its adapters were merged"
            )
            raise AadslError(f'final: the weights have no "{name}", which the run trained', hint=hint)
        own, wanted = tuple(known[bare].shape), tuple(trajectory.parameters[name].shape)
        if own != wanted:
            raise AadslError(f'final: "{name}" has shape {own} in the weights, {wanted} in the run')
    return {name: known[bare].detach() for bare, name in recorded.items()}


def _is_evaluated(weights: NamedWeights, step: int, evaluated: OfStates | None) -> bool:
    return evaluated is not None and _equal(weights, evaluated.weights(step), equal_but_for_swaps)


def _equal(own: NamedWeights, weights: NamedWeights, same: Callable[[Tensor, Tensor], bool] = torch.equal) -> bool:
    return all(same(part.cpu(), weights[name].cpu()) for name, part in own.items())


def bare_name(name: str) -> str:
    """Return the name of a parameter or buffer as the model without wrappers has it."""
    for wrapper in WRAPPERS:
        name = name.replace(wrapper, "")
    return name
