"""Rprop, exactly as ``torch.optim.Rprop`` computes it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from aadsl.dynamics.base import Hyper, Slots, filled


@dataclass(frozen=True)
class Rprop:
    """Resilient backpropagation (Riedmiller and Braun, 1993): each weight goes a distance of its own, by signs alone.

    r = η₊ where g·p > 0, η₋ where g·p < 0, 1 elsewhere
    d' = clamp(r·d),   p' = g, or 0 where r = η₋,   θ' = θ − sign(p')·d'

    The derivative of the signs is 0: an estimate does not see that a small change of a gradient turns a weight around.
    """

    def initial(self, parameter: Tensor, hyper: Hyper) -> Slots:
        """Return p = d = 0; d becomes the learning rate in the first step."""
        return {"prev": torch.zeros_like(parameter), "step_size": torch.zeros_like(parameter)}

    def restore(self, recorded: Slots, initial: Slots) -> Slots:
        """Return the gradients and distances as recorded."""
        return filled(initial, recorded)

    def step(self, parameter: Tensor, slots: Slots, gradient: Tensor, hyper: Hyper) -> tuple[Tensor, Slots]:
        """Return (θ', {p', d'})."""
        gradient = -gradient if hyper["maximize"] else gradient
        agreed = gradient.detach() * slots["prev"].detach()
        turned = agreed < 0
        factor = torch.ones_like(agreed).masked_fill(agreed > 0, hyper["eta2"]).masked_fill(turned, hyper["eta1"])
        distance = torch.where(slots["step_size"] > 0, slots["step_size"], torch.full_like(parameter, hyper["lr"]))
        distance = torch.clamp(distance * factor, hyper["step_size1"], hyper["step_size2"])
        gradient = gradient.masked_fill(turned, 0)
        parameter = torch.addcmul(parameter, torch.sign(gradient), distance, value=-1)
        return parameter, {"prev": gradient, "step_size": distance}

    def linear(self, hyper: Hyper) -> bool:
        """Return False: it takes signs."""
        return False
