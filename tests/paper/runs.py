"""What is trained: jobs that follow on each other, plainly or recorded, and the study of such a recording."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn

import aadsl

Batch = Sequence[Any]
Losses = Callable[[Callable[..., Tensor], Batch], Tensor]
"""Returns the loss of each example of a batch, (B,); its negative is the behavior that effects are on."""


def cross_entropies(model: Callable[..., Tensor], batch: Batch) -> Tensor:
    """Return −log p(label) of each example, (B,)."""
    return F.cross_entropy(model(batch[0]), batch[1], reduction="none")


@dataclass(frozen=True)
class Job:
    """A training job with an optimizer of its own: SGD as the paper uses it (appendix E).

    Attributes:
        name: what it is called.
        data: tensors of inputs and targets, or a map-style dataset.
        batches: the indices of each step.
        kinds: what each step is called in the recording, where that is told.
        lr, momentum, weight_decay: options of the optimizer.
        changes: what options become at which step.
    """

    name: str
    data: Any
    batches: Sequence[NDArray[np.int64]]
    lr: float
    momentum: float = 0.9
    weight_decay: float = 1e-5
    kinds: Sequence[str] = ()
    changes: Mapping[int, Mapping[str, float]] = field(default_factory=dict)

    def batch(self, rows: NDArray[np.int64]) -> Batch:
        """Return these examples, collated."""
        if isinstance(self.data, tuple) and isinstance(self.data[0], Tensor):
            return tuple(part[torch.as_tensor(rows)] for part in self.data)
        return torch.utils.data.default_collate([self.data[int(row)] for row in rows])


def in_order(count: int, size: int, epochs: int = 1, first: int = 0) -> list[NDArray[np.int64]]:
    """Return the batches of ``epochs`` passes over ``count`` examples from ``first`` on, in their order."""
    return [first + np.arange(t, min(t + size, count)) for _ in range(epochs) for t in range(0, count, size)]


@dataclass
class Development:
    """How a model came about, and what is asked about that.

    Attributes:
        model: the network before the first job.
        jobs: one after the other.
        stages: the steps of each stage, counted over all jobs.
        tests: inputs and targets of each test set.
        losses: of each example.
    """

    model: nn.Module
    jobs: Sequence[Job]
    stages: Mapping[str, range]
    tests: Mapping[str, Any]
    losses: Losses = cross_entropies
    metric: Any = "log_likelihood"
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """How many steps all jobs take."""
        return sum(len(job.batches) for job in self.jobs)

    @property
    def member(self) -> NDArray[np.bool_]:
        """(S, T) true at the steps of each stage."""
        return np.array([np.isin(np.arange(self.length), steps) for steps in self.stages.values()])

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the mean loss of a batch."""
        return self.losses(model, batch).mean()

    def train(self, before_step: Callable[[nn.Module, Job, Batch], None]) -> nn.Module:
        """Train a copy of the model with plain PyTorch; ``before_step`` is called before each update."""
        model = deepcopy(self.model)
        for job in self.jobs:
            self.fit(model, job, lambda t, batch, job=job: before_step(model, job, batch))
        return model

    def record(self, folder: Path, per_example: bool = True) -> aadsl.Study:
        """Train a copy of the model, each job recorded into a folder of its own, and return a study of them all."""
        model, paths = deepcopy(self.model), []
        for job in self.jobs:
            paths.append(folder / job.name)
            optimizer = self.optimizer(model, job)
            with aadsl.Recorder(paths[-1], model, optimizer, data=job.data, overwrite=True) as recorder:

                def announce(t: int, batch: Batch, job: Job = job, recorder: aadsl.Recorder = recorder) -> None:
                    recorder.batch(indices=job.batches[t], **({"kind": job.kinds[t]} if job.kinds else {}))

                self.fit(model, job, announce, optimizer)
        data = {job.name: job.data for job in self.jobs} if len(self.jobs) > 1 else self.jobs[0].data
        study = aadsl.Study(aadsl.open_trajectory(paths), model=model, loss=self.loss, data=data, device="cpu")
        for name, steps in self.stages.items():
            study.stage(name, list(steps))
        for name, examples in self.tests.items():
            study.behavior(name, self.metric, on=examples, per_example=per_example, **self.options)
        return study

    def optimizer(self, model: nn.Module, job: Job) -> torch.optim.SGD:
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        return torch.optim.SGD(trained, lr=job.lr, momentum=job.momentum, weight_decay=job.weight_decay)

    def fit(
        self,
        model: nn.Module,
        job: Job,
        before_step: Callable[[int, Batch], object],
        optimizer: torch.optim.SGD | None = None,
    ) -> None:
        """Do one job; ``before_step`` is called with the number of the step in it, and the batch."""
        optimizer = optimizer or self.optimizer(model, job)
        for t, rows in enumerate(job.batches):
            batch = job.batch(rows)
            optimizer.param_groups[0].update(job.changes.get(t, {}))
            optimizer.zero_grad()
            self.loss(model, batch).backward()
            before_step(t, batch)
            optimizer.step()
