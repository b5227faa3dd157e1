"""Exact answers and sweeps over workers: portions of a question, done by other processes or machines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from aadsl.core.progress import Progress
from aadsl.estimators.additive import Additive, StepEffects
from aadsl.estimators.base import Behavior
from aadsl.estimators.together import trained
from aadsl.interventions import Intervention, first_change
from aadsl.propagation import End, FlatState
from aadsl.replayed.execution import Execution
from aadsl.replayed.history import History
from aadsl.replayed.workers import Workers

PORTIONS = 16  # of a question, if it is not known how many workers there are: enough to keep a few busy to the end
FOR_EACH = 2  # portions for each of the workers, where there are more of these: none waits long for the last


class RetrainedStages(NamedTuple):
    """Stages that one worker trains without: (n, T) ``members``; with ``control`` a run without any change, too."""

    members: NDArray[np.bool_]
    intervention: Intervention
    control: bool


class SweptSteps(NamedTuple):
    """Behaviors that one worker sweeps for."""

    method: Additive
    behaviors: tuple[Behavior, ...]
    intervention: Intervention


def spread_runs(workers: Workers, history: History, asked: RetrainedStages, progress: Progress) -> Iterator[End]:
    """Yield ζ_T of each stage as it comes back; stages that begin at about the same step are trained together."""
    steps = [history.length - first_change(member) for member in asked.members]
    portions = portions_of(np.array(steps), workers.count)
    items = [asked._replace(members=asked.members[part]) for part in portions]
    like = history.final
    for number, ends in workers.map(retrained_there, items, progress, "retraining"):
        for end in ends:
            position = int(portions[number][end.position])
            yield End(position, _placed(end.state, like), tuple(_placed(one, like) for one in end.controls))


def portions_of(steps: NDArray[np.int64], workers: int) -> list[NDArray[np.int64]]:
    """Return the positions of (n,) stages in portions about as long as each other, long stages first.

    Args:
        steps: that are trained again without each.
        workers: how many there are, 0 where that is not known.
    """
    most = max(PORTIONS, FOR_EACH * workers)
    order = np.argsort(-steps, kind="stable")
    if len(order) <= most:
        return list(order[:, None])
    trained = np.cumsum(steps[order])
    # Each stage lies in the portion that the middle of its steps falls into.
    number = np.minimum((trained - steps[order] / 2) * most // max(trained[-1], 1), most - 1)
    return np.split(order, np.flatnonzero(np.diff(number)) + 1)


def retrained_there(history: History, item: RetrainedStages) -> list[End]:
    """Train without the stages of an item, in a worker; states come back without slots, which no behavior reads.

    A worker that does not compute the recorded bits has a control run ride along, whatever happens elsewhere.
    """
    control = item.control or not _has_the_recorded_bits(history)
    found = trained(history, item.members, item.intervention, control=control, progress=Execution().progress)
    return [End(end.position, _bare(end.state), tuple(map(_bare, end.controls))) for end in found]


def _has_the_recorded_bits(history: History) -> bool:
    """Return whether the shortest stretch between two stored states ends here with the bits of the recorded run."""
    stretches = list(pairwise(history.checkpoints))
    if not stretches:
        return False
    start, stop = min(stretches, key=lambda stretch: stretch[1] - stretch[0])
    state, wanted = history.state(start), history.state(stop)
    for t in range(start, stop):
        state = history.step_map(state, history.step(t))
    return torch.equal(state.parameters, wanted.parameters) and torch.equal(state.buffers, wanted.buffers)


def spread_sweeps(workers: Workers, asked: SweptSteps, progress: Progress) -> StepEffects:
    """Return the effects of every step, one behavior a worker."""
    items = [asked._replace(behaviors=(behavior,)) for behavior in asked.behaviors]
    found: dict[int, StepEffects] = dict(workers.map(swept_there, items, progress, "sweep"))
    parts: Sequence[StepEffects] = [found[k] for k in range(len(items))]
    return StepEffects(*(np.concatenate(columns, axis=-1) for columns in zip(*parts, strict=True)))


def swept_there(history: History, item: SweptSteps) -> StepEffects:
    """Sweep for the behaviors of an item, in a worker."""
    return item.method.step_effects(history, item.behaviors, item.intervention, Execution())


def _bare(state: FlatState) -> FlatState:
    return FlatState(state.parameters.cpu(), (), state.buffers.cpu(), tuple(t.cpu() for t in state.integers))


def _placed(state: FlatState, like: FlatState) -> FlatState:
    """Return a bare state on this device, its slots at zero."""
    slots = tuple({name: t.new_zeros(t.shape) for name, t in own.items()} for own in like.slots)
    integers = tuple(t.to(like.parameters.device) for t in state.integers)
    return FlatState(state.parameters.to(like.parameters), slots, state.buffers.to(like.parameters), integers)
