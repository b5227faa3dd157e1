"""Optimizers that train other weights than are evaluated, as schedule-free ones do, and swap them when told to.

``optimizer.eval()`` puts the weights that are evaluated, and shipped, in the place of those that are trained, and
``optimizer.train()`` these back; either does nothing where it was the last. What comes back is rounded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

ROUNDINGS = 16
"""What a swap and the one back may be off by, in units of the rounding of a number as large as the largest weight."""


def has_modes(optimizer: Any) -> bool:
    """Return whether an optimizer can be told that training or evaluation begins."""
    return all(callable(getattr(optimizer, name, None)) for name in ("train", "eval"))


@contextmanager
def trained_weights(optimizers: Sequence[Optimizer]) -> Iterator[bool]:
    """Let weights be those that are trained meanwhile; what is evaluated comes back to the bit.

    Yields whether others were there.
    """
    with torch.no_grad(), ExitStack() as then:
        swapped = False
        for one in filter(has_modes, optimizers):
            weights = [parameter for group in one.param_groups for parameter in group["params"]]
            before, mode = [weight.clone() for weight in weights], _flags(one)
            one.train()  # type: ignore[attr-defined]
            if _flags(one) != mode or not all(map(torch.equal, weights, before)):
                swapped = True
                then.callback(_swap_back, one, weights, before)
        yield swapped


def _swap_back(optimizer: Any, weights: Sequence[Tensor], before: Sequence[Tensor]) -> None:
    optimizer.eval()
    for weight, was in zip(weights, before, strict=True):
        weight.copy_(was)


def _flags(optimizer: Optimizer) -> list[bool]:
    """Return what says in which mode it is, though nothing was swapped yet, among what else is true or false of it."""
    kept = [*vars(optimizer).values(), *(value for group in optimizer.param_groups for value in group.values())]
    return [value for value in kept if isinstance(value, bool)]


def equal_but_for_swaps(one: Tensor, other: Tensor) -> bool:
    """Return whether tensors are the same, or what two swaps make of them."""
    if not (one.is_floating_point() and one.numel()):
        return torch.equal(one, other)
    room = ROUNDINGS * torch.finfo(one.dtype).eps * float(other.abs().max())
    return bool((one - other).abs().max() <= room)
