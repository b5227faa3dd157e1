"""RAdam, exactly as ``torch.optim.RAdam`` computes it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from aadsl.dynamics.base import Hyper, Slots, by_foreach, counter, decayed, filled, number, shrunk, sqrt

Counted = float | Tensor


@dataclass(frozen=True)
class RAdam:
    """Adam with a rectified variance (Liu et al., 2020), weight decay coupled or decoupled.

    n' = n + 1,   m' = m + (1 − β₁)(G − m),   v' = β₂v + (1 − β₂) G²
    ρ = ρ_∞ − 2n'β₂ⁿ'/(1 − β₂ⁿ'),   ρ_∞ = 2/(1 − β₂) − 1
    θ' = θ − η m'/(1 − β₁ⁿ')                            while ρ ≤ 5, then
    θ' = θ − η m'/(1 − β₁ⁿ') · r √(1 − β₂ⁿ')/(√v' + ε),   r² = (ρ − 4)(ρ − 2)ρ_∞ / ((ρ_∞ − 4)(ρ_∞ − 2)ρ)

    At v' = 0 the derivative of √ is taken as 0 (see :func:`aadsl.dynamics.base.sqrt`).
    """

    def initial(self, parameter: Tensor, hyper: Hyper) -> Slots:
        """Return n = 0, m = v = 0."""
        return {
            "step": counter(parameter),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }

    def restore(self, recorded: Slots, initial: Slots) -> Slots:
        """Return the moments and the counter as recorded."""
        return filled(initial, recorded)

    def step(self, parameter: Tensor, slots: Slots, gradient: Tensor, hyper: Hyper) -> tuple[Tensor, Slots]:
        """Return (θ', {n', m', v'})."""
        lr, beta1, beta2 = hyper["lr"], hyper["beta1"], hyper["beta2"]
        parameter, gradient = shrunk(parameter, hyper), decayed(gradient, parameter, hyper)
        count = slots["step"] + 1
        first = torch.lerp(slots["exp_avg"], gradient, 1 - beta1)
        second = torch.addcmul(slots["exp_avg_sq"] * beta2, gradient, gradient, value=1 - beta2)
        slots = {"step": count, "exp_avg": first, "exp_avg_sq": second}

        n = number(count)
        correction1, correction2 = 1 - beta1**n, 1 - beta2**n
        rectified = _rectification(n, beta2)
        if by_foreach(parameter, hyper):
            # PyTorch's other implementation multiplies in another order.
            scale = correction2**0.5 * (lr * rectified / correction1) * -1
            factor = ((sqrt(second) + hyper["eps"]) / scale).reciprocal() + (0 if rectified else -(lr / correction1))
            return torch.addcmul(parameter, first, factor), slots
        update = first / correction1 * lr
        if rectified:
            update = update * (correction2**0.5 / (sqrt(second) + hyper["eps"])) * rectified
        return torch.add(parameter, update, alpha=-1), slots

    def linear(self, hyper: Hyper) -> bool:
        """Return False: it divides by a moment."""
        return False


def _rectification(n: Counted, beta2: float) -> Counted:
    """Return how much the variance of the step is rectified; 0 while it has none, ρ ≤ 5."""
    limit = 2 / (1 - beta2) - 1
    rho = limit - 2 * n * beta2**n / (1 - beta2**n)
    if rho <= 5:
        return 0.0
    rectified: Counted = ((rho - 4) * (rho - 2) * limit / ((limit - 4) * (limit - 2) * rho)) ** 0.5
    return rectified
