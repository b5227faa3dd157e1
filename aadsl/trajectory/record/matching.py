"""Which announced micro-batch went through which forward pass, and which of them the step used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TypeAlias

import torch
from torch import Tensor

from aadsl.trajectory.record.rows import NOTHING, MicroBatch

# The number of the backward pass that runs now.
task_now = torch._C._current_graph_task_id


class ForwardPass:
    """One forward pass that recorded gradients.

    Attributes:
        training, off_mode: the model's mode, and the modules that deviated from it.
        autocast: the dtype of the ``torch.autocast`` around it, "" where there was none.
        inputs_format: the memory format of what the model was called on, "" for the usual one.
        states: of PyTorch's generators where it began, by device, and of a program's own.
        others: those of Python's and NumPy's generators, if it drew from them.
        early: those of all where its batch was announced, if they were looked at there; else nothing.
        tasks: the backward passes that went through its output.
        buffers: how often each buffer had been written to when it began, and when it ended; None where there are none.
    """

    __slots__ = ("autocast", "buffers", "early", "inputs_format", "off_mode", "others", "states", "tasks", "training")

    def __init__(self, training: bool, off_mode: str, states: dict[str, bytes]) -> None:
        self.training, self.off_mode, self.states = training, off_mode, states
        self.autocast = self.inputs_format = ""
        self.others: Mapping[str, bytes] = NOTHING
        self.early: Mapping[str, bytes] = NOTHING
        self.tasks: tuple[int, ...] = ()
        self.buffers: tuple[list[int], list[int]] | None = None

    def differentiated(self, gradient: Tensor) -> None:
        """Note that a backward pass goes through its output."""
        self.tasks = (*self.tasks, task_now())


Events: TypeAlias = Sequence[ForwardPass | None]
"""What a training loop did for one step, in order: forward passes and, as None, announcements."""

Used: TypeAlias = list[tuple[MicroBatch, ForwardPass | None]]
"""The micro-batches that a step used, each with the pass that it went through, where that is known."""


def matched(events: Events, batches: Sequence[MicroBatch], tasks: AbstractSet[int]) -> Used:
    """Return which of the announced ``batches`` the step used, and the training pass that each went through first.

    A batch is announced before or after its pass. A batch none of whose passes was differentiated was not used, where
    another one was: a loop leaves out what is not finite.

    Args:
        events: as many announcements as there are batches.
        tasks: the backward passes in which the parameters got their gradients.
    """
    if len(batches) == 1 and len(events) == 2:  # one announcement and one pass, as of most steps
        return [(batches[0], events[0] or events[1])]
    training = training_passes(events, tasks)
    if not training or len(batches) == 1:
        return [(batch, training[0] if training else None) for batch in batches]
    before = _announced_first(events, training)
    first: list[ForwardPass | None] = [None] * len(batches)
    count = 0
    for event in events:
        if event is None:
            count += 1
        elif event in training:
            place = count - before
            if 0 <= place < len(batches) and first[place] is None:
                first[place] = event
    pairs: Used = list(zip(batches, first, strict=True))
    used = [pair for pair in pairs if pair[1] is not None]
    return used if used and _covered(events, training, before=before) == len(training) else pairs


def training_passes(events: Events, tasks: AbstractSet[int]) -> list[ForwardPass]:
    """Return the passes that were differentiated; all where that was not seen, as in the parts of a model."""
    passes = [event for event in events if event is not None]
    if len(passes) == 1:  # as in most steps
        return passes
    return [one for one in passes if not tasks.isdisjoint(one.tasks)] or [one for one in passes if one.tasks] or passes


def announced_ahead(events: Events, tasks: AbstractSet[int], *, again: bool = False) -> int:
    """Return how many announcements at the end are of passes that are to come, where they are announced before them.

    ``again``: where there is but one, a pass is to come of the same batch.
    """
    training = training_passes(events, tasks)
    if not training or not _announced_first(events, training):
        return 0
    if again and events.count(None) == 1:
        return 1
    return next(place for place, event in enumerate(reversed(events)) if event is not None)


def _announced_first(events: Events, training: list[ForwardPass]) -> bool:
    """Return whether batches are announced before their passes, which leaves the fewest training passes without one."""
    before, after = (_covered(events, training, before=way) for way in (True, False))
    return before > after or (before == after and events[0] is None)


def _covered(events: Events, training: list[ForwardPass], *, before: bool) -> int:
    """Return how many training passes have an announcement before (after) them."""
    seen, count = False, 0
    for event in events if before else reversed(events):
        seen |= event is None
        count += seen and event in training
    return count
