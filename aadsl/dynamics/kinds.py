"""The name under which an optimizer's class is recorded, and the class of a name.

A class that takes the steps of one in the table is recorded as that one; another of ``torch.optim`` by its name there;
any other by where it can be imported from, such as ``"lab.optimizers.Lion"``.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Container
from importlib import import_module
from typing import Any

import torch
from torch.optim import Optimizer

_STEPS = ("step", "_init_group")  # what decides a step: the second collects what the first works on


def kind_of(optimizer: Optimizer, known: Container[str]) -> str:
    """Return the name under which the class of ``optimizer`` is recorded; ``known`` are the names in the table.

    A subclass that does not override ``step`` counts as its parent; a class that has no more than the name in common
    with one of ``torch.optim`` does not count as that one.
    """
    own = type(optimizer)
    for parent in own.__mro__:
        name = parent.__name__
        if name in known and getattr(torch.optim, name, parent) is parent and _steps_alike(own, parent):
            return name
    of_torch = getattr(torch.optim, own.__name__, None) is own
    return own.__name__ if of_torch else f"{own.__module__}.{own.__qualname__}"


def class_of(kind: str) -> type[Optimizer] | None:
    """Return the class that was recorded under a name; None where it cannot be imported here."""
    parts = kind.split(".")
    if len(parts) == 1:
        return _optimizer_at(torch.optim, parts)
    for end in range(len(parts) - 1, 0, -1):
        if (found := _module(".".join(parts[:end]))) is not None:
            return _optimizer_at(found, parts[end:])
    return None


def in_words(kind: str) -> str:
    """Return the name of a recorded class without where it is imported from."""
    return kind.rpartition(".")[2]


def _steps_alike(own: type, parent: type) -> bool:
    """Return whether a class takes its parent's steps: PyTorch wraps both to profile them."""
    pairs = [(getattr(own, name, None), getattr(parent, name, None)) for name in _STEPS]
    return all(a is b or (a and b and inspect.unwrap(a) is inspect.unwrap(b)) for a, b in pairs)


def _module(name: str) -> Any:
    if name in sys.modules:
        return sys.modules[name]
    try:
        return import_module(name)
    except Exception:  # whatever a module raises that is imported
        return None


def _optimizer_at(module: Any, path: list[str]) -> type[Optimizer] | None:
    found = module
    for name in path:
        found = getattr(found, name, None)
    return found if isinstance(found, type) and issubclass(found, Optimizer) else None
