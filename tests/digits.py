"""Small runs on real digits, for the tests that go through the whole package."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import aadsl

STEPS, BATCH = 24, 10


@cache
def images_and_labels(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Return all digits; who changes some, changes a copy."""
    digits = aadsl.datasets.mnist10k()
    return torch.tensor(digits.image.values).reshape(-1, 784).to(dtype), torch.tensor(digits.label.values)


def network(dtype: torch.dtype = torch.float32, seed: int = 3) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(784, 16), nn.Tanh(), nn.Linear(16, 10)).to(dtype)


def loss_fn(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def momentum_sgd(net: nn.Sequential) -> torch.optim.SGD:
    """Momentum and weight decay, with other values in each of two parameter groups."""
    head = {"params": net[2].parameters(), "lr": 0.005, "weight_decay": 0.01}
    return torch.optim.SGD([{"params": net[0].parameters()}, head], lr=0.01, momentum=0.9, weight_decay=0.001)


def decaying(optimizer: torch.optim.Optimizer) -> Any:
    return torch.optim.lr_scheduler.StepLR(optimizer, step_size=8, gamma=0.5)


def train(
    net: nn.Sequential,
    data: tuple[Tensor, Tensor],
    optimizer: torch.optim.Optimizer,
    before_step: Callable[[int, np.ndarray, Tensor], None] = lambda t, rows, loss: None,
    skipped: Collection[int] = (),
    fresh_after: bool = False,
) -> None:
    """Train with plain torch.optim. ``skipped`` steps do not happen, the schedule goes on all the same.

    ``fresh_after``: the optimizer's buffers are forgotten before the first step after each skipped stretch.
    """
    schedule = decaying(optimizer)
    for t in range(STEPS):
        rows = np.arange(t * BATCH, (t + 1) * BATCH)
        if t not in skipped:
            if fresh_after and t - 1 in skipped:
                optimizer.state.clear()
            optimizer.zero_grad()
            loss = loss_fn(net, (data[0][rows], data[1][rows]))
            loss.backward()
            before_step(t, rows, loss)
            optimizer.step()
        schedule.step()


@dataclass
class Recorded:
    """A recorded run and what it was made from."""

    path: Path
    net: nn.Sequential
    data: tuple[Tensor, Tensor]
    start: dict[str, Tensor]

    def study(self, **options: Any) -> aadsl.Study:
        """Return a study of the run, on the CPU unless told otherwise: there it was trained, and is trained again."""
        trajectory = aadsl.open_trajectory(self.path)
        given = {"model": self.net, "loss": loss_fn, "data": self.data, "device": "cpu"}
        return aadsl.Study(trajectory, **given | options)

    def retrained(self, skipped: Collection[int], fresh_after: bool = False) -> nn.Sequential:
        """Train again from the same start without some steps; nothing of aadsl takes part."""
        net = network(self.data[0].dtype)
        net.load_state_dict(self.start)
        train(net, self.data, momentum_sgd(net), skipped=skipped, fresh_after=fresh_after)
        return net


def record(path: Path, dtype: torch.dtype = torch.float32, **options: Any) -> Recorded:
    """Record ``STEPS`` steps on ``BATCH`` digits each; tags "a" and "b" alternate every third step."""
    data, net = images_and_labels(dtype), network(dtype)
    start = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    optimizer = momentum_sgd(net)
    with aadsl.Recorder(path, net, optimizer, data=data, **options) as recorder:

        def announce(t: int, rows: np.ndarray, loss: Tensor) -> None:
            recorder.batch(indices=rows, tag="b" if t % 3 == 2 else "a", loss=loss)

        train(net, data, optimizer, announce)
    return Recorded(path, net, data, start)
