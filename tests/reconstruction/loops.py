"""A plain training loop that keeps checkpoints, and what a reconstruction of it is told."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import aadsl

EXAMPLES, EVERY, LENGTH = 60, 4, 12
generator = torch.Generator().manual_seed(0)
X = torch.randn(EXAMPLES, 5, generator=generator, dtype=torch.float64)
Y = torch.randint(0, 3, (EXAMPLES,), generator=generator)
DATA, SEEN = (X, Y), (X[:10], Y[:10])

Rows = Callable[[int], Any]
Checkpoints = dict[int, dict[str, Any]]


def network() -> nn.Module:
    torch.manual_seed(1)
    layers = nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Dropout(0.2), nn.Linear(6, 3)
    return nn.Sequential(*layers).double()


def loss(model: nn.Module, batch: Any) -> Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def likely(model: nn.Module, batch: Any) -> Tensor:
    return -nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")


def rows(step: int) -> Tensor:
    return torch.randperm(EXAMPLES, generator=torch.Generator().manual_seed(step))[:8]


def wrong_in_the_middle(step: int) -> Tensor:
    """The rows with another seed in the second gap."""
    return rows(step + 100 if EVERY <= step < 2 * EVERY else step)


def seeded(step: int) -> None:
    torch.manual_seed(1000 + step)


def rate(step: int) -> float:
    return 0.02 * (1 - 0.03 * step)


def adamw(params: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(params, lr=0.02, eps=1e-3, weight_decay=0.1)


def momentum(params: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(params, lr=0.05, momentum=0.9)


@dataclass
class Loop:
    """A run on its way, as anyone would write it."""

    make: Callable[[list[nn.Parameter]], torch.optim.Optimizer] = adamw

    def __post_init__(self) -> None:
        self.model = network()
        self.optimizer = self.make(list(self.model.parameters()))

    def take(self, step: int, rows: Rows = rows) -> None:
        seeded(step)
        self.optimizer.zero_grad()
        chosen = rows(step)
        loss(self.model, (X[chosen], Y[chosen])).backward()
        self.optimizer.param_groups[0]["lr"] = rate(step)
        self.optimizer.step()

    def kept(self) -> dict[str, Any]:
        return copy.deepcopy({"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()})

    def put(self, checkpoint: dict[str, Any]) -> None:
        self.model.load_state_dict(checkpoint["model"])
        self.optimizer.load_state_dict(copy.deepcopy(checkpoint["optimizer"]))

    def value(self) -> float:
        model = copy.deepcopy(self.model).eval()
        with torch.no_grad():
            return likely(model, SEEN).mean().item()


def trained(skipped: Collection[int] = (), make: Any = adamw) -> tuple[Loop, Checkpoints]:
    """Train; return the loop at its end, and the checkpoints that it kept."""
    loop, checkpoints = Loop(make), {}
    for step in range(LENGTH):
        if step % EVERY == 0:
            checkpoints[step] = loop.kept()
        if step not in skipped:
            loop.take(step)
    return loop, checkpoints | {LENGTH: loop.kept()}


def reconstructed(checkpoints: Any, path: Path, **given: Any) -> aadsl.Reconstruction:
    told = {"optimizer": adamw, "batches": rows, "data": DATA, "begin": seeded, "schedule": rate, "device": "cpu"}
    return aadsl.reconstruct(checkpoints, path=path, model=network(), loss=loss, **told | given)


def studied(trajectory: aadsl.Trajectory, stages: dict[str, list[int]], **given: Any) -> aadsl.Study:
    study = aadsl.Study(trajectory, model=network(), loss=loss, data=DATA, device="cpu", **given)
    study.behavior("likely", likely, on=SEEN)
    for name, steps in stages.items():
        study.stage(name, steps)
    return study
