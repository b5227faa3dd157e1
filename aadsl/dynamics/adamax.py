"""Adamax, exactly as ``torch.optim.Adamax`` computes it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from aadsl.dynamics.base import Hyper, Slots, add_quotient, counter, decayed, filled, number


@dataclass(frozen=True)
class Adamax:
    """Adamax (Kingma and Ba, 2015, section 7.1): Adam with the largest gradient instead of its mean square.

    n' = n + 1,   G = g + λθ,   m' = m + (1 − β₁)(G − m),   u' = max(β₂u, |G| + ε)
    θ' = θ − η/(1 − β₁ⁿ') · m'/u'
    """

    def initial(self, parameter: Tensor, hyper: Hyper) -> Slots:
        """Return n = 0, m = u = 0."""
        return {
            "step": counter(parameter),
            "exp_avg": torch.zeros_like(parameter),
            "exp_inf": torch.zeros_like(parameter),
        }

    def restore(self, recorded: Slots, initial: Slots) -> Slots:
        """Return the moments and the counter as recorded."""
        return filled(initial, recorded)

    def step(self, parameter: Tensor, slots: Slots, gradient: Tensor, hyper: Hyper) -> tuple[Tensor, Slots]:
        """Return (θ', {n', m', u'})."""
        gradient = decayed(gradient, parameter, hyper)
        count = slots["step"] + 1
        mean = torch.lerp(slots["exp_avg"], gradient, 1 - hyper["beta1"])
        largest = torch.maximum(slots["exp_inf"] * hyper["beta2"], gradient.abs() + hyper["eps"])
        rate = hyper["lr"] / (1 - hyper["beta1"] ** number(count))
        slots = {"step": count, "exp_avg": mean, "exp_inf": largest}
        return add_quotient(parameter, mean, largest, -rate), slots

    def linear(self, hyper: Hyper) -> bool:
        """Return False: it divides by a moment."""
        return False
