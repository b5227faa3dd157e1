"""Hooks that were put on parameters (``parameter.register_hook``): they change the gradient that a step takes.

They are applied to the gradient of the loss alone: left where they are, they would also change derivatives of
behaviors, and of the gradient itself.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from aadsl.core.wrappers import named_parameters

GradientHook = Callable[[Tensor], Any]
"""``hook(gradient)``: another gradient, or None where it leaves that as it is."""


def hooks_of(model: nn.Module) -> dict[str, list[GradientHook]]:
    """Return the hooks of each parameter that has some, in their order."""
    found = {name: parameter._backward_hooks for name, parameter in named_parameters(model)}
    return {name: list(hooks.values()) for name, hooks in found.items() if hooks}


def put_hooks(model: nn.Module, hooks: Mapping[str, Sequence[GradientHook]]) -> None:
    """Give parameters these hooks and no others."""
    for name, parameter in named_parameters(model):
        if parameter._backward_hooks or name in hooks:
            parameter._backward_hooks = OrderedDict(enumerate(hooks[name])) if name in hooks else None


def hooked(gradient: Tensor | None, hooks: Sequence[GradientHook]) -> Tensor | None:
    """Return what is left of a gradient after the hooks; None stays None."""
    for hook in hooks:
        if gradient is not None and (changed := hook(gradient)) is not None:
            gradient = changed
    return gradient
