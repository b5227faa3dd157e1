"""As which of the table an optimizer counts: the class that it is, or whose steps it takes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from aadsl.dynamics.base import Dynamics
from aadsl.dynamics.own_making import arguments_of, scalars_of

_STEPS = ("step", "_init_group")  # what decides a step: the second collects what the first works on


def kind_of(optimizer: Optimizer, known: Mapping[str, Any]) -> str:
    """Return the name under which the class of ``optimizer`` is recorded; ``known`` are the names in the table.

    A subclass that does not override ``step`` counts as its parent; a class that has no more than the name in common
    with one of ``torch.optim`` does not count as that one. Of one that PyTorch does not have, a few steps are compared.
    """
    own = type(optimizer)
    for parent in own.__mro__:
        name = parent.__name__
        if name in known and _steps_alike(own, parent):
            of_torch = getattr(torch.optim, name, None)
            if of_torch is parent or (of_torch is None and _agrees(optimizer, known[name])):
                return name
    by_name = getattr(torch.optim, own.__name__, None) is own
    return own.__name__ if by_name else f"{own.__module__}.{own.__qualname__}"


def _steps_alike(own: type, parent: type) -> bool:
    """Return whether a class takes its parent's steps: PyTorch wraps both to profile them."""
    pairs = [(getattr(own, name, None), getattr(parent, name, None)) for name in _STEPS]
    return all(a is b or (a and b and inspect.unwrap(a) is inspect.unwrap(b)) for a, b in pairs)


def _agrees(optimizer: Optimizer, dynamics: Dynamics) -> bool:
    """Return whether one of the class of ``optimizer``, with its options, has the bits of ``dynamics`` at each step."""
    own, options = type(optimizer), optimizer.param_groups[0]
    weights = torch.linspace(-1, 1, 9)
    parameter = nn.Parameter(weights.clone())
    try:
        names = [name for name in optimizer.defaults if name in arguments_of(own)]
        other = own([parameter], **{name: options[name] for name in names})
        hyper = scalars_of(other.param_groups[0], list(optimizer.defaults))
        slots = dynamics.initial(weights, hyper)
        for shift in (0.3, -0.7, 0.0, 0.1):
            gradient = weights.roll(2) + shift
            parameter.grad = gradient.clone()
            other.step()
            weights, slots = dynamics.step(weights, slots, gradient, hyper)
            if not torch.equal(weights, parameter):
                return False
    except Exception:  # whatever a user's own code raises
        return False
    return True
