"""Sees what ``backward()`` is called on, while runs are recorded: the loss, which the training loop need not tell."""

from __future__ import annotations

from collections.abc import Callable
from math import frexp
from typing import Any

import torch
from torch import Tensor

Seen = Callable[[Tensor | float | None], None]
_watching: list[Seen] = []
_plain = torch.autograd.backward


class BackwardHook:
    """Calls ``seen(loss)`` after each backward pass from a single number, until :meth:`remove`.

    ``loss`` is that number; None where it is a loss that was scaled for mixed precision.
    """

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


def _watched(tensors: Any, *given: Any, **named: Any) -> None:
    alone = isinstance(tensors, Tensor) and not tensors.dim()
    loss = _loss_of(tensors) if alone else None  # before it: what the graph saved is gone afterwards
    _plain(tensors, *given, **named)
    if alone:
        for seen in _watching:
            seen(loss)


def _scales(factor: Tensor) -> bool:
    """Return whether a factor is a scale as GradScaler's, a power of two; on a GPU, where it may be one.

    To look at it there would mean to wait for all queued work, as it would for the loss: the writer does that later.
    """
    return not factor.is_cpu or (float(factor) > 1 and frexp(float(factor))[0] == 0.5)


def _loss_of(root: Tensor) -> Tensor | float | None:
    function = root.grad_fn
    if type(function).__name__ == "MulBackward0":
        factor = function._saved_other  # type: ignore[union-attr]
        if isinstance(factor, Tensor) and factor.dtype == torch.float32 and not factor.dim() and _scales(factor):
            return None
    return root.item() if root.is_cpu else root.detach().clone()
