"""Averaged SGD, exactly as ``torch.optim.ASGD`` computes it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from aadsl.dynamics.base import Hyper, Slots, by_foreach, counter, decayed, filled, in_single, number


@dataclass(frozen=True)
class ASGD:
    """SGD that averages its weights (Polyak and Juditsky, 1992), with the rate of Xu (2011).

    n' = n + 1,   G = g + λ₂θ
    θ' = (1 − λη) θ − ηG,   a' = a + μ(θ' − a)
    η' = η₀/(1 + λη₀n')^α,   μ' = 1/max(1, n' − t₀)

    η₀ is the learning rate, λ₂ the weight decay; η and μ are a part of the state, which PyTorch keeps in single
    precision, unless double is the default. Training does not read the average a.
    """

    def initial(self, parameter: Tensor, hyper: Hyper) -> Slots:
        """Return n = 0, μ = 1, a = 0; η becomes η₀ in the first step."""
        step, rate, weight = (counter(parameter) for _ in range(3))
        return {"step": step, "eta": rate, "mu": weight + 1, "ax": torch.zeros_like(parameter)}

    def restore(self, recorded: Slots, initial: Slots) -> Slots:
        """Return the average and the counters as recorded."""
        return filled(initial, recorded)

    def step(self, parameter: Tensor, slots: Slots, gradient: Tensor, hyper: Hyper) -> tuple[Tensor, Slots]:
        """Return (θ', {n', η', μ', a'})."""
        lr, decay, count = hyper["lr"], hyper["lambd"], slots["step"] + 1
        gradient = decayed(gradient, parameter, hyper)
        rate = slots["eta"] if slots["step"].item() else in_single(counter(parameter) + lr)
        eta, mu, n = number(rate), number(slots["mu"]), number(count)
        if by_foreach(parameter, hyper):
            eta, mu = rate.to(parameter), slots["mu"].to(parameter)
            gradient = torch.add(gradient, parameter, alpha=decay)
            parameter = torch.addcmul(parameter, gradient, eta, value=-1)
            average = torch.addcmul(slots["ax"], parameter - slots["ax"], mu)
            following = lr / ((1 + decay * lr * in_single(count)) ** hyper["alpha"])
        else:
            shrunk = parameter * (1 - decay * eta)
            parameter = shrunk - eta * gradient if isinstance(eta, Tensor) else torch.add(shrunk, gradient, alpha=-eta)
            average = parameter if slots["mu"].item() == 1 else slots["ax"] + (parameter - slots["ax"]) * mu
            following = lr / ((1 + decay * lr * n) ** hyper["alpha"])
        weight = 1 / torch.clamp(count - hyper["t0"], min=1.0)
        rate = in_single(torch.as_tensor(following, dtype=torch.float64, device=count.device))
        kept = {"step": count, "eta": rate.to(count), "mu": in_single(weight).to(count)}
        return parameter, {**kept, "ax": average}

    def linear(self, hyper: Hyper) -> bool:
        """Return False: how far it goes is a part of its state."""
        return False
