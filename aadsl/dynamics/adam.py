"""Adam and AdamW, exactly as ``torch.optim`` computes them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from aadsl.dynamics.base import Hyper, Slots, add_quotient, counter, filled, number, sqrt


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba, 2015), with amsgrad; AdamW where weight decay is decoupled (Loshchilov and Hutter, 2019).

    n' = n + 1,   m' = m + (1 − β₁)(G − m),   v' = β₂v + (1 − β₂) G²
    θ' = θ − η/(1 − β₁ⁿ') · m' / ( √v' / √(1 − β₂ⁿ') + ε )          (amsgrad: the largest v so far instead of v')

    Coupled decay adds λθ to the gradient, decoupled decay shrinks θ by 1 − ηλ first. The counter n is part of the
    state: a skipped step does not advance the bias correction. At v' = 0 the derivative of √ is taken as 0 (see
    :func:`aadsl.dynamics.base.sqrt`).
    """

    decoupled: bool = False

    def initial(self, parameter: Tensor, hyper: Hyper) -> Slots:
        """Return n = 0, m = v = 0."""
        names = ["exp_avg", "exp_avg_sq", *(["max_exp_avg_sq"] if hyper["amsgrad"] else [])]
        return {"step": counter(parameter), **{name: torch.zeros_like(parameter) for name in names}}

    def restore(self, recorded: Slots, initial: Slots) -> Slots:
        """Return the moments and the counter as recorded."""
        return filled(initial, recorded)

    def step(self, parameter: Tensor, slots: Slots, gradient: Tensor, hyper: Hyper) -> tuple[Tensor, Slots]:
        """Return (θ', {n', m', v', largest v})."""
        lr, decay, beta1, beta2 = hyper["lr"], hyper["weight_decay"], hyper["beta1"], hyper["beta2"]
        gradient = -gradient if hyper["maximize"] else gradient
        if decay and (self.decoupled or hyper.get("decoupled_weight_decay", False)):
            parameter = parameter * (1 - lr * decay)
        elif decay:
            gradient = torch.add(gradient, parameter, alpha=decay)

        count = slots["step"] + 1
        first = torch.lerp(slots["exp_avg"], gradient, 1 - beta1)
        second = torch.addcmul(slots["exp_avg_sq"] * beta2, gradient, gradient, value=1 - beta2)
        slots = {"step": count, "exp_avg": first, "exp_avg_sq": second} | (
            {"max_exp_avg_sq": torch.maximum(slots["max_exp_avg_sq"], second)} if hyper["amsgrad"] else {}
        )
        n = number(count)
        correction1, correction2 = 1 - beta1**n, 1 - beta2**n
        scale = slots["max_exp_avg_sq"] if hyper["amsgrad"] else second
        denominator = sqrt(scale) / correction2**0.5 + hyper["eps"]
        return add_quotient(parameter, first, denominator, -(lr / correction1)), slots

    def linear(self, hyper: Hyper) -> bool:
        """Return False: it divides by a moment."""
        return False
