"""Lion, exactly as its authors' implementation computes it; ``torch.optim`` has none."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from aadsl.dynamics.base import Hyper, Slots, filled


@dataclass(frozen=True)
class Lion:
    """Lion (Chen et al., 2023): every weight moves by the learning rate, in the direction of a momentum.

    u = sign(β₁m + (1 − β₁) g),   m' = β₂m + (1 − β₂) g
    θ' = (1 − ηλ) θ − η u

    The derivative of the sign is 0: an estimate does not see that a small change of a gradient turns a weight around.
    """

    def initial(self, parameter: Tensor, hyper: Hyper) -> Slots:
        """Return m = 0."""
        return {"exp_avg": torch.zeros_like(parameter)}

    def restore(self, recorded: Slots, initial: Slots) -> Slots:
        """Return the momentum as recorded."""
        return filled(initial, recorded)

    def step(self, parameter: Tensor, slots: Slots, gradient: Tensor, hyper: Hyper) -> tuple[Tensor, Slots]:
        """Return (θ', {m'})."""
        beta1, beta2, momentum = hyper["beta1"], hyper["beta2"], slots["exp_avg"]
        gradient = -gradient if hyper.get("maximize", False) else gradient
        direction = torch.sign(momentum * beta1 + gradient * (1 - beta1))
        parameter = torch.add(parameter * (1 - hyper["lr"] * hyper["weight_decay"]), direction, alpha=-hyper["lr"])
        return parameter, {"exp_avg": torch.add(momentum * beta2, gradient, alpha=1 - beta2)}

    def linear(self, hyper: Hyper) -> bool:
        """Return False: it takes a sign."""
        return False
