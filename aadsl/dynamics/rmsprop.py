"""RMSprop, exactly as ``torch.optim.RMSprop`` computes it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from aadsl.dynamics.base import Hyper, Slots, decayed, filled, sqrt


@dataclass(frozen=True)
class RMSprop:
    """RMSprop, optionally centered and with momentum.

    G  = g + λθ,   s' = αs + (1 − α) G²,   a' = a + (1 − α)(G − a)  (centered)
    r' = √s' + ε                                                    (centered: √(s' − a'²) + ε)
    b' = μb + G/r',   θ' = θ − η b'                                 (without momentum: θ − η G/r')

    At s' = 0 the derivative of √ is taken as 0 (see :func:`aadsl.dynamics.base.sqrt`).
    """

    def initial(self, parameter: Tensor, hyper: Hyper) -> Slots:
        """Return zeros."""
        names = ["square_avg"]
        names += ["grad_avg"] if hyper["centered"] else []
        names += ["momentum_buffer"] if hyper["momentum"] else []
        return {name: torch.zeros_like(parameter) for name in names}

    def restore(self, recorded: Slots, initial: Slots) -> Slots:
        """Return the averages as recorded."""
        return filled(initial, recorded)

    def step(self, parameter: Tensor, slots: Slots, gradient: Tensor, hyper: Hyper) -> tuple[Tensor, Slots]:
        """Return (θ', {s', a', b'})."""
        alpha, momentum = hyper["alpha"], hyper["momentum"]
        gradient = decayed(gradient, parameter, hyper)

        square = torch.addcmul(slots["square_avg"] * alpha, gradient, gradient, value=1 - alpha)
        after = {"square_avg": square}
        if hyper["centered"]:
            after["grad_avg"] = mean = torch.lerp(slots["grad_avg"], gradient, 1 - alpha)
            root = sqrt(torch.addcmul(square, mean, mean, value=-1)) + hyper["eps"]
        else:
            root = sqrt(square) + hyper["eps"]
        if momentum:
            after["momentum_buffer"] = velocity = torch.addcdiv(slots["momentum_buffer"] * momentum, gradient, root)
            parameter = torch.add(parameter, velocity, alpha=-hyper["lr"])
        else:
            parameter = torch.addcdiv(parameter, gradient, root, value=-hyper["lr"])
        return parameter, after

    def linear(self, hyper: Hyper) -> bool:
        """Return False: it divides by a moment."""
        return False
