"""Sees what ``backward()`` is called on, while runs are recorded: the loss, which the training loop need not tell."""

from __future__ import annotations

from collections.abc import Callable
from math import frexp
from typing import Any, NamedTuple

import torch
from torch import Tensor

Number = Tensor | float
"""A number; where it lies on another device than the CPU a 0-dim tensor, which the writer looks at later."""


class Differentiated(NamedTuple):
    """What one backward pass began with.

    Attributes:
        loss: its value, without the scale of mixed precision.
        factor: what the training loop multiplied it by last, ``1 / 4`` of ``(loss / 4).backward()``: the gradient that
            reaches what was multiplied, with all its bits; without that scale, too.
        scale: of mixed precision, 1 for none.
    """

    loss: Number
    factor: Number = 1.0
    scale: Number = 1.0


Seen = Callable[[Differentiated], None]
_watching: list[Seen] = []
_plain = torch.autograd.backward
_DEEPEST = 8  # factors after each other


class BackwardHook:
    """Calls ``seen`` after each backward pass from a single number, until :meth:`remove`."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        _watching.append(seen)
        torch.autograd.backward = _watched

    def remove(self) -> None:
        """Call it no more."""
        if self._seen in _watching:
            _watching.remove(self._seen)
        if not _watching and torch.autograd.backward is _watched:
            torch.autograd.backward = _plain


def _watched(tensors: Any, grad_tensors: Any = None, *given: Any, **named: Any) -> None:
    alone = isinstance(tensors, Tensor) and not tensors.dim()
    begun = _differentiated(tensors, grad_tensors) if alone else None  # before it: what the graph saved is gone after
    _plain(tensors, grad_tensors, *given, **named)
    if begun is not None:
        for seen in _watching:
            seen(begun)


def _differentiated(root: Tensor, gradient: Any) -> Differentiated:
    value: Number = root.item() if root.is_cpu else root.detach().clone()
    node = root.grad_fn
    if gradient is None and type(node).__name__ not in _APPLY:
        return Differentiated(value)
    factor = torch.ones_like(root) if gradient is None else gradient.detach()
    if gradient is not None:
        value = value * _number(factor)
    scale: Number = 1.0
    for place in range(_DEEPEST):
        apply = _APPLY.get(type(node).__name__)
        if apply is None:
            break
        constant = _constant(node)
        if constant is None:
            break
        saved, following = constant
        if not place and _may_scale(node, saved):
            scale = _scale(saved)
            saved = saved / scale
        factor = apply(factor, saved)
        node = following
    return Differentiated(value / scale, _number(factor), scale)


def _number(tensor: Tensor) -> Number:
    return tensor.item() if tensor.is_cpu else tensor.clone()


# As autograd takes the gradient through them, so that the factor has its bits.
_APPLY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"MulBackward0": torch.mul, "DivBackward0": torch.div}


def _constant(node: Any) -> tuple[Tensor, Any] | None:
    """Return the number that something is multiplied with, or divided by, and where that comes from."""
    (one, _), (other, _) = node.next_functions
    try:
        if other is None and isinstance(node._saved_other, Tensor):
            return node._saved_other.detach(), one
        if one is None and isinstance(node._saved_self, Tensor) and "Mul" in type(node).__name__:
            return node._saved_self.detach(), other
    except RuntimeError:  # it was written to since
        pass
    return None


def _may_scale(node: Any, factor: Tensor) -> bool:
    """Return whether a factor can be the scale of a GradScaler, which unscales the gradients by it."""
    return "Mul" in type(node).__name__ and factor.dtype == torch.float32 and not factor.dim()


def _scale(factor: Tensor) -> Number:
    """Return the scale of a GradScaler, a power of two; 1 where the factor is none.

    To look at it on a GPU would mean to wait for all queued work, as it would for the loss.
    """
    if factor.is_cpu:
        return float(factor) if float(factor) > 1 and frexp(float(factor))[0] == 0.5 else 1.0
    return torch.where((factor > 1) & (torch.frexp(factor).mantissa == 0.5), factor, 1.0)
