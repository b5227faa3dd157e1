"""Going through the micro-batches of a step as the run did, also where several processes had some each.

In one process they come one after the other. Each rank begins with the same buffers, and those of the first are kept:
what others leave in theirs DistributedDataParallel overwrites before the next step. Gradients are added up within a
rank first, then over ranks, so that two of them give the bits of their mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

from torch import Tensor

from aadsl.core.generators import Generator, set_state
from aadsl.propagation.step import Step

T = TypeVar("T")
Gradients = Sequence[Tensor | None]
"""Of each parameter tensor, None where it took no part."""


def seed(step: Step, micro_batch: int) -> None:
    """Set the random generators as they were before the forward pass of a micro-batch, where that was recorded."""
    states: Mapping[Generator, Tensor] = step.rng_states[micro_batch] if micro_batch < len(step.rng_states) else {}
    for generator, state in states.items():
        set_state(generator, state)


class Turns(Generic[T]):
    """The buffers of each rank in its turn.

    Args:
        step: whose micro-batches are gone through.
        now: returns what the buffers hold.
        put: lets them hold it again.
    """

    def __init__(self, step: Step, now: Callable[[], T], put: Callable[[T], None]) -> None:
        self._step, self._now, self._put = step, now, put
        self._begun = [now()] if step.ranks else []
        self._kept: list[T] = []

    def begin(self, micro_batch: int) -> None:
        """Give a rank the buffers that all began with, where the micro-batch is its first."""
        if self._step.begins_rank(micro_batch):
            self._kept = self._kept or [self._now()]
            self._put(self._begun[0])

    def end(self) -> None:
        """Leave the buffers of the first rank."""
        for kept in self._kept:
            self._put(kept)


class GradientSum:
    """The gradients of a step's micro-batches, added up."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self._all: Gradients = ()
        self._own: Gradients = ()

    def add(self, micro_batch: int, gradients: Gradients) -> None:
        """Add those of the next micro-batch."""
        if self._step.begins_rank(micro_batch):
            self._all, self._own = _added(self._all, self._own), ()
        self._own = _added(self._own, gradients)

    @property
    def total(self) -> Gradients:
        """The sum of all."""
        return _added(self._all, self._own)


def _added(some: Gradients, more: Gradients) -> Gradients:
    if not some or not more:
        return some or more
    return [a if b is None else b if a is None else a + b for a, b in zip(some, more, strict=True)]
