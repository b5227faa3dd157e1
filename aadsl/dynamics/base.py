"""What every optimizer looks like to the engine: one pure, elementwise, differentiable step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

Slots: TypeAlias = dict[str, Tensor]
"""Optimizer buffers of one parameter group: flat vectors, and counters as 0-dimensional float64 tensors."""

Hyper: TypeAlias = dict[str, Any]
"""The scalars of one ``param_groups`` entry as PyTorch names them; ``betas`` arrive as ``beta1`` and ``beta2``."""


class Dynamics(Protocol):
    """An optimizer's update of one parameter group, θ and g flat vectors of the same length.

    The step must be elementwise and differentiable in every argument but ``hyper``. Counters belong to the state
    and are differentiated as real numbers; learning rates belong to the step. Run without gradients it performs
    the operations of ``torch.optim`` in their order, so that a replay gives the recorded bits.

    Slots of one name have one shape in all optimizers: where runs with different ones follow on each other, each starts
    its own afresh in the union of all slots.
    """

    def __hash__(self) -> int: ...

    def initial(self, parameter: Tensor, hyper: Hyper) -> Slots:
        """Return the slots before the first step; those that ``hyper`` switches off are left out."""
        ...

    def restore(self, recorded: Slots, initial: Slots) -> Slots:
        """Return ``initial`` with what ``torch.optim`` keeps; what it has not created yet is absent there."""
        ...

    def step(self, parameter: Tensor, slots: Slots, gradient: Tensor, hyper: Hyper) -> tuple[Tensor, Slots]:
        """Return (θ', slots') after one update; slots that are left out of slots' stay as they are."""
        ...

    def linear(self, hyper: Hyper) -> bool:
        """Return whether θ' and the vectors among slots' are a linear map of θ, those vectors and g.

        The map must be the same at every coordinate, whatever the counters say: then its matrix is all of its
        derivative.
        """
        ...


class Resting:
    """A parameter group that a run did not train: nothing moves, and there are no gradients."""

    def initial(self, parameter: Tensor, hyper: Hyper) -> Slots:
        """Return nothing."""
        return {}

    def restore(self, recorded: Slots, initial: Slots) -> Slots:
        """Return ``initial``."""
        return initial

    def step(self, parameter: Tensor, slots: Slots, gradient: Tensor, hyper: Hyper) -> tuple[Tensor, Slots]:
        """Return θ."""
        return parameter, {}

    def linear(self, hyper: Hyper) -> bool:
        """Return True: it is the identity."""
        return True


@dataclass(frozen=True)
class Pausing:
    """A parameter group whose optimizer, ``rule``, takes no step: nothing moves, but gradients are there."""

    rule: Dynamics

    def initial(self, parameter: Tensor, hyper: Hyper) -> Slots:
        """Return the slots of the rule before its first step."""
        return self.rule.initial(parameter, hyper)

    def restore(self, recorded: Slots, initial: Slots) -> Slots:
        """Return what the rule keeps."""
        return self.rule.restore(recorded, initial)

    def step(self, parameter: Tensor, slots: Slots, gradient: Tensor, hyper: Hyper) -> tuple[Tensor, Slots]:
        """Return θ."""
        return parameter, {}

    def linear(self, hyper: Hyper) -> bool:
        """Return True: it is the identity."""
        return True


def filled(initial: Slots, recorded: Slots) -> Slots:
    """Return ``initial`` with the recorded slots of the same names in their place, in its dtypes and shapes."""
    return {
        name: recorded[name].to(value).reshape(value.shape) if name in recorded else value
        for name, value in initial.items()
    }


def counter(parameter: Tensor) -> Tensor:
    """Return a counter of the group at 0."""
    return torch.zeros((), dtype=torch.float64, device=parameter.device)


def decayed(gradient: Tensor, parameter: Tensor, hyper: Hyper) -> Tensor:
    """Return G: the gradient of what is minimized, with coupled weight decay."""
    gradient = -gradient if hyper["maximize"] else gradient
    if not hyper["weight_decay"] or hyper.get("decoupled_weight_decay", False):
        return gradient
    return torch.add(gradient, parameter, alpha=hyper["weight_decay"])


def shrunk(parameter: Tensor, hyper: Hyper) -> Tensor:
    """Return the parameter after decoupled weight decay: (1 − ηλ) θ."""
    if not hyper["weight_decay"] or not hyper.get("decoupled_weight_decay", False):
        return parameter
    return torch.mul(parameter, 1 - hyper["lr"] * hyper["weight_decay"])


def by_foreach(parameter: Tensor, hyper: Hyper) -> bool:
    """Return whether PyTorch took the step for many tensors at once: where it was told to, else on GPUs.

    Of some optimizers that implementation rounds otherwise. While a step is differentiated, its rounding means nothing.
    """
    chosen = hyper.get("foreach")
    return not parameter.requires_grad and bool(parameter.is_cuda if chosen is None else chosen)


def number(counter: Tensor) -> float | Tensor:
    """Return a counter as a float for a plain step, and as it is while it is being differentiated."""
    return counter if counter.requires_grad else float(counter)


def in_single(counter: Tensor) -> Tensor:
    """Return a number of the state in the precision in which PyTorch keeps it; in double while it is differentiated."""
    double = counter.requires_grad or torch.get_default_dtype() == torch.float64
    return counter if double else counter.to(torch.float32)


def added(fresh: Tensor, y: Tensor, scale: float | Tensor) -> Tensor:
    """Return fresh + scale·y in the memory of ``fresh``, with the operation of torch.optim if it is a number."""
    return fresh.add_(scale * y) if isinstance(scale, Tensor) else fresh.add_(y, alpha=scale)


def add_quotient(x: Tensor, numerator: Tensor, denominator: Tensor, scale: float | Tensor) -> Tensor:
    """Return x + scale·numerator/denominator, in one operation where ``scale`` is a number."""
    if isinstance(scale, Tensor):
        return x + scale * (numerator / denominator)
    return torch.addcdiv(x, numerator, denominator, value=scale)


def sqrt(x: Tensor) -> Tensor:
    """Return √x with derivative 0, not ∞, where x = 0.

    A second moment is exactly zero only where every gradient so far was zero (a dead unit, an unused embedding row).
    There the first moment is zero as well and the update stays zero for every small change of the squared
    gradient, so 0 is the derivative of the update. The textbook ∞ would turn 0·∞ into NaN.
    """
    if not x.requires_grad:
        return x.sqrt()
    positive = x > 0
    return torch.where(positive, torch.where(positive, x, 1.0).sqrt(), 0.0)
