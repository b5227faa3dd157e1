"""The runs of the soak: what is trained, by a recorder or by hand, and what is asked of it."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

import aadsl

STEPS = 24
FLUSHED = 3  # so many steps are committed together, and told
TOLD = struct.Struct("q")

generator = torch.Generator().manual_seed(0)
INPUTS = torch.randn(60, 4, generator=generator)
TARGETS = (INPUTS @ torch.randn(4, 3, generator=generator)).argmax(1)
DATA = (INPUTS, TARGETS)
PROBE = (INPUTS[:20], TARGETS[:20])

Weights = dict[str, Tensor]
Floats = NDArray[np.float64]


def cross_entropy(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return functional.cross_entropy(model(batch[0]), batch[1])


def network(dropout: float = 0.0) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Dropout(dropout), nn.Linear(6, 3))


def sgd(model: nn.Module) -> list[torch.optim.Optimizer]:
    return [torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)]


def adam(model: nn.Module) -> list[torch.optim.Optimizer]:
    return [torch.optim.Adam(model.parameters(), lr=0.02)]


def both(model: nn.Module) -> list[torch.optim.Optimizer]:
    body, head = model[0].parameters(), model[3].parameters()  # type: ignore[index]
    return [torch.optim.SGD(body, lr=0.1, momentum=0.5), torch.optim.Adam(head, lr=0.02)]


@dataclass(frozen=True)
class Kind:
    """A model and its optimizers."""

    optimizers: Callable[[nn.Module], list[torch.optim.Optimizer]]
    dropout: float = 0.0

    def model(self) -> nn.Sequential:
        return network(self.dropout)


KINDS = {"sgd": Kind(sgd), "adam": Kind(adam), "two optimizers": Kind(both), "dropout": Kind(sgd, 0.3)}


def rows(step: int) -> Tensor:
    return torch.randint(0, 60, (8,), generator=torch.Generator().manual_seed(100 + step))


def take_step(model: nn.Module, optimizers: list[torch.optim.Optimizer], step: int, recorder: Any = None) -> None:
    """Train on the batch of a step; whoever begins anew at a step draws the same random numbers."""
    torch.manual_seed(1000 + step)
    chosen = rows(step)
    if recorder is not None:
        recorder.batch(indices=chosen, number=step, tag=f"tag {step % 3}")
    for optimizer in optimizers:
        optimizer.zero_grad()
    cross_entropy(model, (INPUTS[chosen], TARGETS[chosen])).backward()
    for optimizer in optimizers:
        optimizer.step()


def by_hand(kind: str, length: int, skipped: Collection[int] = ()) -> list[Weights]:
    """Return the weights before each step, and at the end, of training without a recorder."""
    model = KINDS[kind].model()
    optimizers, kept = KINDS[kind].optimizers(model), []
    for step in range(length):
        kept.append({name: p.detach().clone() for name, p in model.named_parameters()})
        if step not in skipped:
            take_step(model, optimizers, step)
    return [*kept, {name: p.detach().clone() for name, p in model.named_parameters()}]


def log_likelihood(kind: str, weights: Weights) -> float:
    """Return the mean log-likelihood of the probe, by hand."""
    model = KINDS[kind].model().eval()
    model.load_state_dict(weights)
    with torch.no_grad():
        scores = functional.log_softmax(model(PROBE[0]), 1).double()
    return float(scores.gather(1, PROBE[1][:, None]).mean())


def record(kind: str, folder: Path, stop: int, told: int) -> int:
    """Record to step ``stop`` from where the run stands; write the number of steps that are safe to ``told``."""
    model = KINDS[kind].model()
    optimizers, start = KINDS[kind].optimizers(model), 0
    if resumes := (folder / "run.nc").exists() and bool(aadsl.open_trajectory(folder).checkpoints):
        start = max(aadsl.open_trajectory(folder).checkpoints)
        restore(model, optimizers, aadsl.open_trajectory(folder).state(start))
    os.write(told, TOLD.pack(start))
    recorder = aadsl.Recorder(folder, model, optimizers, DATA, states=5, step=start if resumes else None)
    with recorder:
        for step in range(start, stop):
            take_step(model, optimizers, step, recorder)
            if step % FLUSHED == 0:
                recorder.flush()
                os.write(told, TOLD.pack(step + 1))
    os.write(told, TOLD.pack(max(start, stop)))
    return max(start, stop)


def restore(model: nn.Module, optimizers: list[torch.optim.Optimizer], state: Any) -> None:
    """Put a recorded state into a model and its optimizers."""
    model.load_state_dict(state.parameters)
    named = dict(model.named_parameters())
    for optimizer in optimizers:
        own = {id(p) for group in optimizer.param_groups for p in group["params"]}
        for slot, values in state.optimizer.items():
            for name, value in values.items():
                if id(named[name]) in own:
                    optimizer.state[named[name]][slot] = value


@dataclass(frozen=True)
class Question:
    """A stage, ``first <= step < last``, and who answers."""

    first: int
    last: int
    estimator: str


def ask(kind: str, folder: Path, asked: Question, progress: Any = None) -> tuple[int, Floats]:
    """Return the length of the run, and the effect."""
    trajectory = aadsl.open_trajectory(folder)
    study = aadsl.Study(trajectory, model=KINDS[kind].model(), loss=cross_entropy, data=DATA, device="cpu")
    study.stage("part", slice(asked.first, asked.last))
    study.behavior("likelihood", "log_likelihood", on=PROBE)
    answer = study.score(["part"], ["likelihood"], estimator=asked.estimator, progress=progress)
    return trajectory.length, answer.effect.values


def weights_of(folder: Path) -> tuple[list[int], dict[int, Weights]]:
    """Return what was recorded: the numbers of the steps, and the weights of stored states by step."""
    trajectory = aadsl.open_trajectory(folder)
    numbers = trajectory.steps["number"].values.tolist() if trajectory.length else []
    return numbers, {step: dict(trajectory.state(step).parameters) for step in trajectory.checkpoints}
