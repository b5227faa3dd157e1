"""Adadelta, exactly as ``torch.optim.Adadelta`` computes it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from aadsl.dynamics.base import Hyper, Slots, decayed, filled, sqrt


@dataclass(frozen=True)
class Adadelta:
    """Adadelta (Zeiler, 2012): steps in the units of the weights.

    G = g + λθ,   v' = ρv + (1 − ρ) G²
    Δ = √(a + ε)/√(v' + ε) · G,   a' = ρa + (1 − ρ) Δ²
    θ' = θ − ηΔ

    Where ε = 0, the derivative of √ at 0 is taken as 0 (see :func:`aadsl.dynamics.base.sqrt`).
    """

    def initial(self, parameter: Tensor, hyper: Hyper) -> Slots:
        """Return v = a = 0."""
        return {"square_avg": torch.zeros_like(parameter), "acc_delta": torch.zeros_like(parameter)}

    def restore(self, recorded: Slots, initial: Slots) -> Slots:
        """Return both means as recorded."""
        return filled(initial, recorded)

    def step(self, parameter: Tensor, slots: Slots, gradient: Tensor, hyper: Hyper) -> tuple[Tensor, Slots]:
        """Return (θ', {v', a'})."""
        rho, eps = hyper["rho"], hyper["eps"]
        gradient = decayed(gradient, parameter, hyper)
        second = torch.addcmul(slots["square_avg"] * rho, gradient, gradient, value=1 - rho)
        delta = sqrt(slots["acc_delta"] + eps) / sqrt(second + eps) * gradient
        moved = torch.addcmul(slots["acc_delta"] * rho, delta, delta, value=1 - rho)
        return torch.add(parameter, delta, alpha=-hyper["lr"]), {"square_avg": second, "acc_delta": moved}

    def linear(self, hyper: Hyper) -> bool:
        """Return False: it divides by a moment."""
        return False
