"""Tiny runs in double precision that are recorded, and questions about them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import aadsl
from aadsl.estimators import Behavior, Effects, Query
from aadsl.interventions import INTERVENTIONS, Intervention
from aadsl.replayed.execution import Execution
from aadsl.replayed.history import History
from tests.engine.tiny import TinyRun, loss, network
from tests.optimizers import OPTIMIZERS, class_named, torch_options

ARGUMENTS = {"scale_lr": {"factor": 0.5}, "reweight": {"weight": 2.0}, "replace": {"data": 1}}


def intervention(name: str) -> Intervention:
    return INTERVENTIONS[name](**ARGUMENTS.get(name, {}))


def members(stages: list[list[int]], length: int) -> np.ndarray:
    return np.array([np.isin(np.arange(length), stage) for stage in stages])


def normalized() -> nn.Module:
    torch.manual_seed(4)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 3)).double()


def asked(history: History | TinyRun, stages: list[list[int]], name: str, *behaviors: Behavior) -> Query:
    return Query(members(stages, history.length), behaviors, intervention(name))


def recorded(
    folder: Path, optimizer: str = "SGD", model: nn.Module | None = None, inputs: Tensor | None = None, length: int = 8
) -> aadsl.Study:
    """Record a tiny run in double precision and return a study of it."""
    model = model or network()
    generator = torch.Generator().manual_seed(11)
    x = torch.randn(5 * length, 3, generator=generator, dtype=torch.float64) if inputs is None else inputs
    y = torch.randint(0, 3, (5 * length,), generator=generator)
    options = torch_options(OPTIMIZERS[optimizer].smooth)
    trained = class_named(optimizer)(model.parameters(), **options)
    with aadsl.Recorder(folder, model, trained, data=(x, y)) as recorder:
        for t in range(length):
            indices = np.arange(5 * t, 5 * t + 5)
            trained.zero_grad()
            loss(model, (x[indices], y[indices])).backward()
            recorder.batch(indices=indices)
            trained.step()
    study = aadsl.Study(aadsl.open_trajectory(folder), model=model, loss=loss, data=(x, y), device="cpu")
    study.behavior("likelihood", "log_likelihood", on=(x[:6], y[:6]))
    return study


def answer(study: aadsl.Study, method, stages: list[list[int]], name: str = "skip") -> Effects:
    query = asked(study.history, stages, name, *study.behaviors.values())
    return method.answer(study.history, query, Execution())
