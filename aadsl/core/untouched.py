"""Models that are given away for a moment, and are afterwards as they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def as_it_was(model: nn.Module) -> Iterator[None]:
    """Put modules, hooks, modes, attributes and flags of a model back as they were, whatever is done to them within.

    A hook that is never removed, a layer that is replaced, another rate of dropout, ``half()`` or ``requires_grad_()``
    would stay otherwise. Its tensors are put back to their memory, what is written into it stays: whoever evaluates a
    model loads that.
    """
    modules = [(module, vars(module).copy(), _containers(module)) for module in model.modules()]
    tensors = [(one, one.data, one.requires_grad) for one in [*model.parameters(), *model.buffers()]]
    try:
        yield
    finally:
        for module, attributes, containers in modules:
            vars(module).clear()
            vars(module).update(attributes)
            for name, content in containers.items():
                _refill(attributes[name], content)
        for tensor, memory, trained in tensors:
            if tensor.data_ptr() != memory.data_ptr() or tensor.dtype != memory.dtype:
                tensor.data = memory
            if tensor.requires_grad is not trained:
                tensor.requires_grad_(trained)


def _containers(module: nn.Module) -> dict[str, Any]:
    return {name: held.copy() for name, held in vars(module).items() if isinstance(held, dict | list | set)}


def _refill(held: Any, content: Any) -> None:
    held.clear()
    (held.extend if isinstance(held, list) else held.update)(content)
