"""Stochastic gradient descent, exactly as ``torch.optim.SGD`` computes it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from aadsl.dynamics.base import Hyper, Slots, added, counter, decayed, filled, number


@dataclass(frozen=True)
class SGD:
    """SGD with momentum μ, dampening d, weight decay λ and Nesterov's variant (the paper's eqs. 1 to 4).

    G  = g + λθ                             (−g where it maximizes)
    v' = μv + (1 − d·s) G                   s = 0 at the first momentum step, 1 afterwards
    θ' = θ − η v'                           (Nesterov: η (G + μv'))

    PyTorch's first momentum step copies G into v without dampening; ``momentum_started`` s is that condition as a
    part of the state, so that a counterfactual run which never took the first step starts its momentum later.
    """

    def initial(self, parameter: Tensor, hyper: Hyper) -> Slots:
        """Return v = 0, not started; nothing for plain SGD."""
        if not hyper["momentum"]:
            return {}
        return {
            "momentum_buffer": torch.zeros_like(parameter),
            "momentum_started": counter(parameter),
        }

    def restore(self, recorded: Slots, initial: Slots) -> Slots:
        """Return v as recorded; it has started where PyTorch has created it."""
        if "momentum_buffer" not in recorded or not initial:
            return initial
        return {**filled(initial, recorded), "momentum_started": torch.ones_like(initial["momentum_started"])}

    def step(self, parameter: Tensor, slots: Slots, gradient: Tensor, hyper: Hyper) -> tuple[Tensor, Slots]:
        """Return (θ', {v', s'})."""
        momentum, dampening = hyper["momentum"], hyper["dampening"]
        update = decayed(gradient, parameter, hyper)
        if momentum:
            started = number(slots["momentum_started"])
            kept = 1 - dampening * started if dampening else 1.0
            velocity = added(slots["momentum_buffer"] * momentum, update, kept)
            slots = {
                "momentum_buffer": velocity,
                "momentum_started": torch.ones_like(slots["momentum_started"]),
            }
            update = torch.add(update, velocity, alpha=momentum) if hyper["nesterov"] else velocity
        return torch.add(parameter, update, alpha=-hyper["lr"]), slots

    def linear(self, hyper: Hyper) -> bool:
        """Return whether nothing is dampened: dampening sets in after the first step."""
        return not hyper["dampening"]
