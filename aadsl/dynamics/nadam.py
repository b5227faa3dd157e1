"""NAdam, exactly as ``torch.optim.NAdam`` computes it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from aadsl.dynamics.base import (
    Hyper,
    Slots,
    add_quotient,
    by_foreach,
    counter,
    decayed,
    filled,
    in_single,
    number,
    shrunk,
    sqrt,
)


@dataclass(frozen=True)
class NAdam:
    """Adam with Nesterov's momentum (Dozat, 2016), weight decay coupled or decoupled.

    n' = n + 1,   μ = β₁(1 − 0.96^(n'ψ)/2),   μ⁺ = β₁(1 − 0.96^((n' + 1)ψ)/2),   π' = πμ
    m' = m + (1 − β₁)(G − m),   v' = β₂v + (1 − β₂) G²,   r = √(v'/(1 − β₂ⁿ')) + ε
    θ' = θ − η (1 − μ)/(1 − π') · G/r − η μ⁺/(1 − π'μ⁺) · m'/r

    ψ is the momentum decay; the product π of all μ so far is a part of the state that starts at 1. PyTorch keeps it in
    single precision, unless double is the default. At v' = 0 the derivative of √ is taken as 0.
    """

    def initial(self, parameter: Tensor, hyper: Hyper) -> Slots:
        """Return n = 0, π = 1, m = v = 0."""
        return {
            "step": counter(parameter),
            "mu_product": counter(parameter) + 1,
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }

    def restore(self, recorded: Slots, initial: Slots) -> Slots:
        """Return the moments, the counter and the product as recorded."""
        return filled(initial, recorded)

    def step(self, parameter: Tensor, slots: Slots, gradient: Tensor, hyper: Hyper) -> tuple[Tensor, Slots]:
        """Return (θ', {n', π', m', v'})."""
        lr, beta1, beta2, decay = hyper["lr"], hyper["beta1"], hyper["beta2"], hyper["momentum_decay"]
        parameter, gradient = shrunk(parameter, hyper), decayed(gradient, parameter, hyper)
        count = slots["step"] + 1
        n = number(count)
        mu, following = (beta1 * (1 - 0.5 * 0.96 ** (k * decay)) for k in (n, n + 1))
        product = in_single(slots["mu_product"]) * mu
        pi, product = number(product), product.to(torch.float64)

        first = torch.lerp(slots["exp_avg"], gradient, 1 - beta1)
        second = torch.addcmul(slots["exp_avg_sq"] * beta2, gradient, gradient, value=1 - beta2)
        correction = 1 - beta2**n
        if by_foreach(parameter, hyper):
            root = sqrt(second) / correction**0.5 + hyper["eps"]
        else:
            root = sqrt(second / correction) + hyper["eps"]
        parameter = add_quotient(parameter, gradient, root, -lr * (1 - mu) / (1 - pi))
        parameter = add_quotient(parameter, first, root, -lr * following / (1 - pi * following))
        return parameter, {"step": count, "mu_product": product, "exp_avg": first, "exp_avg_sq": second}

    def linear(self, hyper: Hyper) -> bool:
        """Return False: it divides by a moment."""
        return False
