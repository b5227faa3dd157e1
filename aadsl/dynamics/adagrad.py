"""Adagrad, exactly as ``torch.optim.Adagrad`` computes it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from aadsl.dynamics.base import Hyper, Slots, add_quotient, counter, decayed, filled, number, sqrt


@dataclass(frozen=True)
class Adagrad:
    """Adagrad (Duchi et al., 2011) with learning-rate decay δ.

    n' = n + 1,   G = g + λθ,   s' = s + G²
    θ' = θ − η/(1 + (n' − 1)δ) · G / (√s' + ε)

    At s' = 0 the derivative of √ is taken as 0 (see :func:`aadsl.dynamics.base.sqrt`).
    """

    def initial(self, parameter: Tensor, hyper: Hyper) -> Slots:
        """Return n = 0 and s at its initial value."""
        start = hyper.get("initial_accumulator_value", 0.0)
        return {"step": counter(parameter), "sum": torch.full_like(parameter, start)}

    def restore(self, recorded: Slots, initial: Slots) -> Slots:
        """Return the accumulator and the counter as recorded."""
        return filled(initial, recorded)

    def step(self, parameter: Tensor, slots: Slots, gradient: Tensor, hyper: Hyper) -> tuple[Tensor, Slots]:
        """Return (θ', {n', s'})."""
        gradient = decayed(gradient, parameter, hyper)
        count = slots["step"] + 1
        rate = hyper["lr"] / (1 + (number(count) - 1) * hyper["lr_decay"])
        total = torch.addcmul(slots["sum"], gradient, gradient, value=1)
        return add_quotient(parameter, gradient, sqrt(total) + hyper["eps"], -rate), {"step": count, "sum": total}

    def linear(self, hyper: Hyper) -> bool:
        """Return False: it divides by a moment."""
        return False
