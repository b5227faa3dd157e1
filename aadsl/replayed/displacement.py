"""Where a run went on from a checkpoint that training again does not quite reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from aadsl.propagation import FlatState


@dataclass(frozen=True)
class NextCheckpoint:
    """The checkpoint c before a step, beside which the steps before it end, at r: ξ ↦ c + (ξ − r).

    What an optimizer keeps and is never negative (second moments, which are divided by) is carried in proportion
    instead, ξ · c / r, so that it stays so.

    Attributes:
        step: the one that follows.
        begun: gives c, by the step.
        left: gives r, by the step.
    """

    step: int
    begun: Callable[[int], FlatState]
    left: Callable[[int], FlatState]

    def __call__(self, state: FlatState) -> FlatState:
        """Return where a run goes on that has come to ``state`` there; from r that is c, to the bit."""
        begun, left = self.begun(self.step).bare, self.left(self.step)
        slots = tuple(
            {name: _carried(value, was[name], now[name]) for name, value in own.items()}
            for own, was, now in zip(state.slots, left.slots, begun.slots, strict=True)
        )
        parameters = _shifted(state.parameters, left.parameters, begun.parameters)
        buffers = _shifted(state.buffers, left.buffers, begun.buffers)
        return FlatState(parameters, slots, buffers, begun.integers)

    def along(self, change: FlatState) -> FlatState:
        """Return the derivative at r times a change: c / r for what is carried in proportion, else 1."""
        begun, left = self.begun(self.step).bare, self.left(self.step)
        slots = tuple(
            {name: value * _factor(was[name], now[name]) for name, value in own.items()}
            for own, was, now in zip(change.slots, left.slots, begun.slots, strict=True)
        )
        return change._replace(slots=slots)


def _carried(own: Tensor, left: Tensor, begun: Tensor) -> Tensor:
    if _in_proportion(left, begun):
        return torch.where(left > 0, torch.where(own == left, begun, own * _factor(left, begun)), own + begun)
    return _shifted(own, left, begun)


def _shifted(own: Tensor, left: Tensor, begun: Tensor) -> Tensor:
    return torch.where(own == left, begun, begun + (own - left))


def _factor(left: Tensor, begun: Tensor) -> Tensor:
    ones = torch.ones_like(left)
    return torch.where(left > 0, begun / left, ones) if _in_proportion(left, begun) else ones


def _in_proportion(left: Tensor, begun: Tensor) -> bool:
    return bool(left.dim()) and not bool((left < 0).any() or (begun < 0).any())
