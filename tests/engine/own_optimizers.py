"""Optimizers that have no step function here, each with what it is made of: a new one joins by a line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import SGD, Optimizer


class Signed(Optimizer):
    """Steps by the sign of a momentum, which it keeps in a dictionary, with a count that is a number."""

    def __init__(self, params: Any, lr: float, mixed: tuple[float, float] = (0.9, 0.1), name: str = "plain") -> None:
        super().__init__(params, {"lr": lr, "mixed": mixed, "name": name})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """Take a step; what was not called "plain" goes half as far."""
        for group in self.param_groups:
            old, new = group["mixed"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                kept = self.state[p]
                if not kept:
                    kept |= {"count": 0, "kept": {"momentum": torch.zeros_like(p)}, "began": None}
                kept["count"] += 1
                kept["kept"]["momentum"].mul_(old).add_(p.grad, alpha=new)
                factor = (1.0 if group["name"] == "plain" else 0.5) / kept["count"] ** 0.5
                p.sub_(kept["kept"]["momentum"].sign(), alpha=group["lr"] * factor)


class Halting(SGD):
    """Stands still where the gradient is small."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take a step of the parent."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None and p.grad.abs().max() < 1e-3:
                    p.grad = None
        super().step(closure)


class Scaled(Optimizer):
    """All groups go one distance together, by the norm of all gradients."""

    def __init__(self, params: Any, lr: float = 0.1) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """Take a step."""
        moved = [(group["lr"], p) for group in self.param_groups for p in group["params"] if p.grad is not None]
        norm = torch.stack([p.grad.norm() for _, p in moved]).norm() + 1e-12
        for rate, p in moved:
            p.sub_(p.grad / norm, alpha=rate)


class Counting(Optimizer):
    """Counts its steps in its groups, among the scalars, and goes less far with each."""

    def __init__(self, params: Any, lr: float, k: int = 0, far: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "k": k, "far": far})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """Take a step."""
        for group in self.param_groups:
            group["k"] += 1
            group["far"] += group["lr"]
            for p in group["params"]:
                if p.grad is not None:
                    p.sub_(p.grad, alpha=group["lr"] / (group["k"] ** 0.5 + group["far"]))


class ScheduleFree(Optimizer):
    """Schedule-free SGD (Defazio and others, 2024): trains y = (1 − β)z + βx, and evaluates x, the mean of all z."""

    def __init__(self, params: Any, lr: float, beta: float = 0.8, taken: int = 0, training: bool = False) -> None:
        super().__init__(params, {"lr": lr, "beta": beta, "taken": taken, "training": training})

    def train(self) -> ScheduleFree:
        """Let the weights be y, which a step needs."""
        return self._go(True)

    def eval(self) -> ScheduleFree:
        """Let the weights be x."""
        return self._go(False)

    @torch.no_grad()
    def _go(self, training: bool) -> ScheduleFree:
        for group in self.param_groups:
            swapped, group["training"] = group["training"] != training, training
            for p in group["params"] if swapped else ():
                if "z" in self.state[p]:
                    weight = 1 - group["beta"] if training else 1 - 1 / group["beta"]
                    p.lerp_(self.state[p]["z"], weight)
        return self

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """Take a step of z, and let x go towards it."""
        for group in self.param_groups:
            if not group["training"]:
                raise RuntimeError("call optimizer.train() before you train")
            group["taken"] += 1
            for p in group["params"]:
                if p.grad is not None:
                    z = self.state[p].setdefault("z", p.clone())
                    x = z.lerp(p, 1 / group["beta"])
                    z.sub_(p.grad, alpha=group["lr"])
                    x.lerp_(z, 1 / group["taken"])
                    p.copy_(z.lerp(x, group["beta"]))


def relative(params: Any) -> Optimizer:
    """Return the Adafactor of transformers, which finds its learning rate itself: it has None."""
    made: Optimizer = pytest.importorskip("transformers.optimization").Adafactor(params)
    return made


OWN: dict[str, Callable[[Any], Optimizer]] = {
    "Adafactor": lambda params: torch.optim.Adafactor(params, lr=0.05, weight_decay=0.01),
    "Adafactor, larger": lambda params: torch.optim.Adafactor(params, lr=0.05, eps=(1e-20, 1e-2), d=2.0),
    "Adafactor with its own learning rate": relative,
    "one of the user's own": lambda params: Signed(params, lr=0.02, name="half"),
    "a subclass that steps otherwise": lambda params: Halting(params, lr=0.1, momentum=0.9, nesterov=True),
    "one that counts": lambda params: Counting(params, lr=0.3),
    "one whose groups go together": lambda params: Scaled(params, lr=0.2),
    "one that evaluates other weights": lambda params: ScheduleFree(params, lr=0.5).train(),
}
