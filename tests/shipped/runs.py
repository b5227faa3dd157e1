"""A run in double precision, recorded, and the same by hand as a plain loop without some of its steps."""

from __future__ import annotations

import copy
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import aadsl

LENGTH, SIZE = 24, 8
GENERATOR = torch.Generator().manual_seed(5)
X = torch.randn(LENGTH * SIZE + 16, 4, generator=GENERATOR, dtype=torch.float64)
Y = torch.randint(0, 3, (len(X),), generator=GENERATOR)
DATA, HELD_OUT = (X[: LENGTH * SIZE], Y[: LENGTH * SIZE]), (X[LENGTH * SIZE :], Y[LENGTH * SIZE :])


def loss(model: nn.Module, batch: Any) -> Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3)).double()


def adam(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=0.02)


def by_hand(length: int = LENGTH, without: Collection[int] = ()) -> nn.Module:
    """Train a plain loop, as it would be without some of its steps."""
    model = network()
    optimizer = adam(model)
    for t in range(length):
        if t not in without:
            step(model, optimizer, t)
    return model


def recorded(path: Path, **options: Any) -> dict[int, dict[str, Tensor]]:
    """Record the run; return a copy of the weights after each number of steps."""
    model = network()
    optimizer = adam(model)
    kept = {0: copy.deepcopy(model.state_dict())}
    with aadsl.Recorder(path, model, optimizer, data=DATA, **options) as recorder:
        for t in range(LENGTH):
            recorder.batch(indices=np.arange(t * SIZE, (t + 1) * SIZE))
            step(model, optimizer, t)
            kept[t + 1] = copy.deepcopy(model.state_dict())
    return kept


def study_of(path: Path, **options: Any) -> aadsl.Study:
    study = aadsl.Study(
        aadsl.open_trajectory(path), **{"model": network(), "loss": loss, "data": DATA, "device": "cpu"} | options
    )
    study.stage("early", slice(2, 6))
    study.stage("middle", slice(8, 14))
    study.stage("late", slice(20, 23))
    study.behavior("fits", "log_likelihood", on=HELD_OUT)
    study.behavior("each", "margin", on=HELD_OUT, per_example=True)
    return study


def fits(model: nn.Module) -> float:
    """Return the behavior "fits", by hand."""
    with torch.no_grad():
        chosen = model.eval()(HELD_OUT[0]).log_softmax(1)[torch.arange(len(HELD_OUT[1])), HELD_OUT[1]]
    return float(chosen.mean())


def step(model: nn.Module, optimizer: torch.optim.Optimizer, t: int) -> None:
    batch = slice(t * SIZE, (t + 1) * SIZE)
    optimizer.zero_grad()
    loss(model.train(), (X[batch], Y[batch])).backward()
    optimizer.step()
