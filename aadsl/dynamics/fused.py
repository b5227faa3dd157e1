"""Steps by PyTorch's own functions: tensor by tensor, in place and without derivatives.

Its fused kernels, ``fused=True``, round otherwise than its other implementations; their derivatives are the same, to
rounding. Its plain loops have the bits of the step functions here.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim.adagrad import adagrad
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from aadsl.dynamics.adagrad import Adagrad
from aadsl.dynamics.adam import Adam
from aadsl.dynamics.base import Dynamics, Hyper, Slots
from aadsl.dynamics.sgd import SGD

Views = Callable[[Tensor], list[Tensor]]
"""Returns the tensors that a flat vector is made of, as views."""


def has_fused_kernels(dynamics: Dynamics) -> bool:
    """Return whether PyTorch has fused kernels of such steps: those that :func:`step_in_place` takes."""
    return isinstance(dynamics, (SGD, Adam, Adagrad))


def has_fused_step(dynamics: Dynamics, hyper: Hyper) -> bool:
    """Return whether the recorded steps were fused ones."""
    return has_fused_kernels(dynamics) and bool(hyper.get("fused"))


def fused_step(
    dynamics: Dynamics, parameter: Tensor, slots: Slots, gradient: Tensor, hyper: Hyper, views: Views
) -> tuple[Tensor, Slots]:
    """Return (θ', slots') as :meth:`Dynamics.step` does, for vectors of the tensors that ``views`` gives."""
    parameter = parameter.clone()
    slots = {name: value.clone() for name, value in slots.items()}
    vectors = {name: views(value) for name, value in slots.items() if value.dim()}
    return parameter, slots | step_in_place(dynamics, views(parameter), slots, views(gradient), vectors, hyper)


def step_in_place(
    dynamics: Dynamics,
    parameters: list[Tensor],
    slots: Slots,
    gradients: list[Tensor],
    vectors: dict[str, list[Tensor]],
    hyper: Hyper,
    fused: bool = True,
) -> Slots:
    """Write θ' and the slots that are vectors into ``parameters`` and ``vectors``; return the counters after it.

    Each tensor is contiguous; of ``slots`` the counters are read, which are those of all. Without ``fused`` it has the
    bits of :meth:`Dynamics.step`.
    """
    tensors = parameters, gradients
    if isinstance(dynamics, SGD):
        return _sgd(*tensors, slots, vectors, hyper, fused)
    counters = [slots["step"].float() for _ in parameters]  # they are counted up
    if isinstance(dynamics, Adagrad):
        adagrad(
            *tensors, vectors["sum"], counters, fused=fused, lr=hyper["lr"], weight_decay=hyper["weight_decay"],
            lr_decay=hyper["lr_decay"], eps=hyper["eps"], maximize=hyper["maximize"],
        )  # fmt: skip
    elif isinstance(dynamics, Adam):
        adam(
            *tensors, vectors["exp_avg"], vectors["exp_avg_sq"], vectors.get("max_exp_avg_sq", []), counters,
            fused=fused, amsgrad=hyper["amsgrad"], beta1=hyper["beta1"], beta2=hyper["beta2"], lr=hyper["lr"],
            weight_decay=hyper["weight_decay"], eps=hyper["eps"], maximize=hyper["maximize"],
            decoupled_weight_decay=dynamics.decoupled or hyper.get("decoupled_weight_decay", False),
        )  # fmt: skip
    return {"step": slots["step"] + 1}


def _sgd(
    parameters: list[Tensor],
    gradients: list[Tensor],
    slots: Slots,
    vectors: dict[str, list[Tensor]],
    hyper: Hyper,
    fused: bool,
) -> Slots:
    """Take the step; where it is the first one with momentum, PyTorch makes the velocities."""
    moving = bool(hyper["momentum"])  # else slots may be there, of another optimizer of a chain of runs
    started = moving and bool(slots["momentum_started"])
    velocities: list[Tensor | None] = [*vectors["momentum_buffer"]] if started else [None for _ in parameters]
    sgd(
        parameters, gradients, velocities, fused=fused, lr=hyper["lr"], weight_decay=hyper["weight_decay"],
        momentum=hyper["momentum"], dampening=hyper["dampening"], nesterov=hyper["nesterov"],
        maximize=hyper["maximize"],
    )  # fmt: skip
    if moving and not started:
        for kept, made in zip(vectors["momentum_buffer"], velocities, strict=True):
            if made is not None:
                kept.copy_(made)
    return {"momentum_started": torch.ones_like(slots["momentum_started"])} if moving and not started else {}
