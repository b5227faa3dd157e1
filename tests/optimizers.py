"""The optimizers that are tested: what a new one needs here is one entry.

``cases`` are options of its class, in ``torch.optim`` or here; every switch of it is on in some case, and off in
another. With each, our steps must have its bits. ``smooth`` are options under which a tiny run in double precision is
smooth enough for its derivative to be compared with finite differences, by the names that recordings have.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from tests.engine.own_optimizers import Signed


class Lion(torch.optim.Optimizer):
    """As its authors publish it, with the switches that others add; PyTorch has none."""

    def __init__(
        self,
        params: Any,
        lr: float = 1e-4,
        betas: Any = (0.9, 0.99),
        weight_decay: float = 0.0,
        maximize: bool = False,
        foreach: bool | None = None,
    ) -> None:
        given = {"lr": lr, "betas": betas, "weight_decay": weight_decay, "maximize": maximize, "foreach": foreach}
        super().__init__(params, given)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """Take a step."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                p.data.mul_(1 - group["lr"] * group["weight_decay"])
                if len(self.state[p]) == 0:
                    self.state[p]["exp_avg"] = torch.zeros_like(p)
                mean = self.state[p]["exp_avg"]
                beta1, beta2 = group["betas"]
                gradient = -p.grad if group["maximize"] else p.grad
                update = mean * beta1 + gradient * (1 - beta1)
                p.add_(update.sign_(), alpha=-group["lr"])
                mean.mul_(beta2).add_(gradient, alpha=1 - beta2)


def class_named(name: str) -> Any:
    """Return the optimizer of a name: PyTorch's, or one of the tests."""
    return getattr(torch.optim, name, None) or {"Lion": Lion, "Signed": Signed}[name]


@dataclass(frozen=True)
class Optimizer:
    cases: tuple[dict[str, Any], ...]
    smooth: dict[str, Any]
    fused: bool = field(default=False)  # whether PyTorch has fused kernels of it
    decay: dict[str, Any] = field(default_factory=lambda: {"weight_decay": 0.02})  # where it knows of such a thing


OPTIMIZERS: dict[str, Optimizer] = {
    "SGD": Optimizer(
        (
            {"lr": 0.1},
            {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01},
            {"lr": 0.1, "momentum": 0.9, "dampening": 0.3},
            {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01, "maximize": True},
        ),
        {"lr": 0.1, "momentum": 0.9, "dampening": 0.2, "nesterov": False},
        fused=True,
    ),
    "Adam": Optimizer(
        (
            {"lr": 0.01},
            {"lr": 0.01, "weight_decay": 0.1, "amsgrad": True},
            {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-4, "maximize": True},
        ),
        {"lr": 0.05, "beta1": 0.9, "beta2": 0.99, "eps": 1e-3, "amsgrad": True},
        fused=True,
    ),
    "AdamW": Optimizer(
        ({"lr": 0.01, "weight_decay": 0.1}, {"lr": 0.01, "weight_decay": 0.1, "amsgrad": True, "maximize": True}),
        {"lr": 0.05, "beta1": 0.9, "beta2": 0.99, "eps": 1e-3, "amsgrad": False},
        fused=True,
    ),
    "RMSprop": Optimizer(
        (
            {"lr": 0.01},
            {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.1},
            {"lr": 0.01, "centered": True, "alpha": 0.9, "momentum": 0.9, "maximize": True},
        ),
        {"lr": 0.02, "alpha": 0.9, "eps": 1e-2, "momentum": 0.5, "centered": True},
    ),
    "Adagrad": Optimizer(
        (
            {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.01},
            {"lr": 0.1, "maximize": True},
            {"lr": 0.1, "initial_accumulator_value": 0.5},
        ),
        {"lr": 0.1, "lr_decay": 0.01, "eps": 1e-2},
        fused=True,
    ),
    "Adamax": Optimizer(
        ({"lr": 0.01}, {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.1, "maximize": True}),
        {"lr": 0.05, "beta1": 0.9, "beta2": 0.99, "eps": 1e-3},
    ),
    "NAdam": Optimizer(
        (
            {"lr": 0.01},
            {"lr": 0.01, "weight_decay": 0.1, "momentum_decay": 0.02},
            {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True},
        ),
        {"lr": 0.05, "beta1": 0.9, "beta2": 0.99, "eps": 1e-3, "momentum_decay": 0.01, "decoupled_weight_decay": True},
    ),
    "RAdam": Optimizer(
        (
            {"lr": 0.01},
            {"lr": 0.01, "weight_decay": 0.1},
            {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True},
        ),
        {"lr": 0.05, "beta1": 0.9, "beta2": 0.7, "eps": 1e-2, "decoupled_weight_decay": False},
    ),
    "Lion": Optimizer(
        ({"lr": 0.01}, {"lr": 0.01, "betas": (0.8, 0.95), "weight_decay": 0.1, "maximize": True}),
        {"lr": 0.02, "beta1": 0.9, "beta2": 0.99},
    ),
    "Adadelta": Optimizer(
        ({"lr": 1.0}, {"lr": 0.5, "rho": 0.8, "eps": 1e-4, "weight_decay": 0.1, "maximize": True}),
        {"lr": 1.0, "rho": 0.9, "eps": 1e-2, "weight_decay": 0.01},
    ),
    "ASGD": Optimizer(
        (
            {"lr": 0.1},
            {"lr": 0.1, "t0": 4, "lambd": 0.1, "weight_decay": 0.1},
            {"lr": 0.1, "t0": 30, "alpha": 0.5, "maximize": True},
        ),
        {"lr": 0.2, "lambd": 0.05, "alpha": 0.5, "t0": 2},
    ),
    "Rprop": Optimizer(
        ({"lr": 0.01}, {"lr": 0.01, "etas": (0.4, 1.3), "step_sizes": (0.008, 0.02), "maximize": True}),
        {"lr": 0.02, "eta1": 0.5, "eta2": 1.2, "step_size1": 1e-6, "step_size2": 50.0},
        decay={},
    ),
}

OF_SIGNS = {"Lion", "Rprop"}
"""Those that read of a gradient, or of a mean of gradients, nothing but signs."""

WITHOUT_EFFECT = {("Rprop", "scale_lr"), ("Rprop", "reweight")}
"""Interventions on what an optimizer does not read after its first step."""

PAIRS = ("beta", "eta", "step_size")
"""Options that are pairs, ``betas``, of which recordings have ``beta1`` and ``beta2``."""

CASES = [(name, options) for name, optimizer in OPTIMIZERS.items() for options in optimizer.cases]


def torch_options(smooth: dict[str, Any]) -> dict[str, Any]:
    """Return options by the names that recordings have as those of the class in ``torch.optim``."""
    pairs = {f"{stem}s": (smooth[f"{stem}1"], smooth[f"{stem}2"]) for stem in PAIRS if f"{stem}1" in smooth}
    return {name: value for name, value in smooth.items() if name[:-1] not in PAIRS} | pairs


def hyper(group: dict[str, Any]) -> dict[str, Any]:
    """Return what a recording holds of a parameter group."""
    pairs = {f"{stem}{number}": value for stem in PAIRS for number, value in enumerate(group.get(f"{stem}s", ()), 1)}
    return {name: value for name, value in group.items() if name != "params" and name[:-1] not in PAIRS} | pairs
