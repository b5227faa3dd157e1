"""Studies of a small network on real digits."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import aadsl
from tests.benchmarks.models import mlp


def loss(model: nn.Module, batch: tuple) -> torch.Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


@cache
def digits() -> tuple[Tensor, Tensor]:
    data = aadsl.datasets.mnist10k()
    return torch.as_tensor(data.image.values), torch.as_tensor(data.label.values)


def digits_study(folder: Path, lr: float, length: int = 30, **options: object) -> aadsl.Study:
    """Record ``length`` steps into ``folder`` and return a study of them."""
    x, y = digits()
    torch.manual_seed(0)
    model = mlp("relu", hidden=32)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    with aadsl.Recorder(folder, model, optimizer, data=(x, y)) as recorder:
        for t in range(length):
            indices = np.arange(t * 50, t * 50 + 50)
            optimizer.zero_grad()
            loss(model, (x[indices], y[indices])).backward()
            recorder.batch(indices=indices)
            optimizer.step()
    return reopened(folder, **options)


def reopened(folder: Path, **options: object) -> aadsl.Study:
    """Return a study of a recorded run, as a cell makes it that is run again, or a new process."""
    x, y = digits()
    trajectory = aadsl.open_trajectory(folder)
    study = aadsl.Study(trajectory, model=mlp("relu", 32), loss=loss, data=(x, y), device="cpu", **options)
    study.behavior("digits", "log_likelihood", on=(x[5000:5200], y[5000:5200]))
    study.stage("early", slice(2, 5))
    return study
