"""Which model answers are about: the one that was shipped, where that is not the one that the run ended with.

What is asked for, ``final``, comes as a number of steps, or several, as weights, or as ``"averaged"``, ``"trained"`` or
``"given"``. It means one of four: a number of steps; several, whose mean it is; ``"averaged"``; or ``"trained"``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from aadsl.core.arguments import shown
from aadsl.core.errors import AadslError
from aadsl.propagation import FlatState, forward
from aadsl.replayed.averages import KeptAverage, MeanOfSteps, require_average
from aadsl.replayed.given import (
    AVERAGED,
    GIVEN,
    TRAINED,
    NamedWeights,
    is_average,
    is_other,
    is_trained_end,
    stored_step,
    weights_of,
)
from aadsl.replayed.history import History
from aadsl.replayed.merged import merged_step

ROUNDED = 1e-2  # of the length of a step, that the replay of a state may be off by

WhichModel = int | str | tuple[int, ...] | None


def asked_of(history: History, final: Any, model: nn.Module) -> WhichModel:
    """Return which model ``final`` means; None where it is the one that the run ended with.

    Args:
        history: the run, of which nothing else was asked yet.
        final: a number of steps, or several; the weights themselves, as a state dict or in a model; ``"given"`` for
            those of ``model``; ``"averaged"``; ``"trained"``, where the optimizer evaluates other weights than it
            trains; a model into whose base the adapters that were trained are merged.
        model: the model that was given.

    Raises:
        AadslError: it means nothing, or no model of this run.
    """
    trajectory = history.trajectory
    if isinstance(final, (list, tuple, np.ndarray)) and len(final):
        steps = tuple(sorted({_step(one, trajectory.length) for one in final}))
        if len(steps) > 1 and history.evaluated is not None:
            raise AadslError(
                f"final={list(steps)}: the mean of weights that optimizer.eval() sets cannot be followed",
                hint="ask about one of these models: final=STEP",
            )
        return steps if len(steps) > 1 else _unless_end(steps[0], trajectory.length)
    if isinstance(final, (int, np.integer)) and not isinstance(final, bool):
        return _unless_end(_step(final, trajectory.length), trajectory.length)
    if isinstance(final, str) and final == AVERAGED:
        require_average(trajectory)
        return AVERAGED
    if isinstance(final, str) and final == TRAINED:
        return None if history.evaluated is None else TRAINED
    weights = model if isinstance(final, str) and final == GIVEN else final
    if not isinstance(weights, (nn.Module, Mapping)):
        raise AadslError(
            f"final must be a number of steps, or several, a state dict, {GIVEN!r}, {AVERAGED!r} or {TRAINED!r}, "
            f"not {shown(final)}",
            hint='final=1200 is the model after 1,200 steps, final="given" the one whose weights the model has',
        )
    if isinstance(weights, nn.Module) and is_other(weights, trajectory):
        step = merged_step(history, weights)
        history.given = (
            f"final has other weights than were trained, and computes what the model does after {step:,} steps"
        )
        return _unless_end(step, trajectory.length)
    known = weights_of(weights, trajectory)
    if is_average(trajectory, known):
        return AVERAGED
    if history.evaluated is not None and is_trained_end(trajectory, known):
        return TRAINED
    step = _step_of(history, known)
    if not step:
        raise AadslError(
            "final: these are the weights that the run began with, in which no step has a part",
            hint="give the model as it was shipped, or say after which step: final=STEP",
        )
    return _unless_end(step, trajectory.length)


def ask_about(history: History, asked: WhichModel, finish: Callable[[nn.Module], Any] | None = None) -> None:
    """Let a run end with the model that is asked about, ``finish``-ed; before anything is asked of it."""
    history.asked = asked
    if finish is not None:
        history.finish, history.made_of = finished_by(history, finish), [*history.made_of, finish]
    if isinstance(asked, int):
        history.end = asked
    elif isinstance(asked, tuple):
        history.end, history.average = asked[-1], MeanOfSteps(asked, partial(_passed, history))
    if asked in (AVERAGED, TRAINED):
        history.evaluated = None
    if asked == AVERAGED:
        objective = history.objective
        layouts = objective.parameters, objective.buffers
        history.average = KeptAverage(history.trajectory, layouts, history.state(0).parameters)
    for held in ("_steps", "_states"):  # they are without an average
        vars(history).pop(held, None)


def finished_by(history: History, finish: Callable[[nn.Module], Any]) -> Callable[[FlatState], FlatState]:
    """Return what makes of a model the one that is shipped: ``finish(model)`` may write to its weights and buffers.

    Raises:
        AadslError: it fails, or writes to what the run did not move.
    """
    layouts = history.objective.parameters, history.objective.buffers

    def finished(state: FlatState) -> FlatState:
        model = history.model_at(state)
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        try:
            finish(model)
        except Exception as error:
            hint = "it is called as finish(model), with a copy of the model that the study was given"
            raise AadslError(f"finish fails: {type(error).__name__}: {error}", hint=hint) from error
        after = dict(model.named_parameters()) | dict(model.named_buffers())
        moved = {name for name, tensor in before.items() if name in after and not torch.equal(after[name], tensor)}
        if others := sorted(moved.difference(*(layout.names for layout in layouts), history.objective.integers)):
            raise AadslError(
                f'finish writes to "{others[0]}", which the run left as it was',
                hint="it may write to what was trained, and to statistics that training moved",
            )
        flat = (
            layout.flatten([after[name].detach() for name in layout.names], like)
            for layout, like in zip(layouts, (state.parameters, state.buffers), strict=True)
        )
        parameters, buffers = flat
        return state._replace(parameters=parameters, buffers=buffers)

    return finished


def _step_of(history: History, weights: NamedWeights) -> int:
    """Return the step t whose θ_t these weights are: a stored one, or one on either side of the nearest of those.

    Raises:
        AadslError: the run passes them nowhere there.
    """
    trajectory = history.trajectory
    step = stored_step(trajectory, weights, history.evaluated)
    if step is not None:
        return step
    evaluated = history.evaluated or (lambda state: state)
    layout, like = history.objective.parameters, history.state(0).parameters
    wanted = layout.flatten([weights[name] for name in layout.names], like)

    def off(state: FlatState) -> float:
        return float((evaluated(state).parameters - wanted).norm())

    steps = trajectory.checkpoints
    nearest = min(range(len(steps)), key=lambda i: off(history.state(steps[i])))
    bounds = [*steps[max(0, nearest - 1) : nearest + 2], *([] if nearest + 1 < len(steps) else [trajectory.length])]
    for taken in forward(history, history.step_map, bounds[0], bounds[-1]):
        if off(taken.after) <= ROUNDED * float(taken.change.parameters.norm()):
            return taken.step.index + 1
    raise AadslError(
        f"final: these weights are of no step that the run stored, nor of steps {bounds[0]} to {bounds[-1]}, "
        "between the stored ones that are nearest to them",
        hint="say after which step they were taken: final=STEP; of an average of steps give the steps, final=[…]",
    )


def _passed(history: History, step: int) -> FlatState:
    """Return the state after some steps, stored or not, without the mean that it may have a part in."""
    stored = max(t for t in history.trajectory.checkpoints if t <= step)
    state = history.state(stored).bare
    for t in range(stored, step):
        state = history.step_map(state, history.step(t))
    return state


def _step(final: Any, length: int) -> int:
    if not isinstance(final, (int, np.integer)) or isinstance(final, bool) or not 1 <= final <= length:
        raise AadslError(
            f"final={shown(final)} is no step of this run, which has {length:,}",
            hint="final is the number of steps after which the model was kept, from 1 on",
        )
    return int(final)


def _unless_end(step: int, length: int) -> int | None:
    return None if step == length else step
