"""A task that peers and we answer alike: a folder of plain PyTorch files, which needs no aadsl to read.

``task.pt`` holds the network's name, the data, the batches of all steps, the optimizer, the behaviors and the model's
state before each step and after the last; ``truths.npz`` what leaving out each step truly does to each behavior.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tests.benchmarks.models import Transformer, mlp, resnet

State = dict[str, Tensor]
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "MLP": mlp,
    "ResNet": lambda: resnet("gelu", "group"),
    "Transformer": Transformer,
    "toy": lambda: mlp("gelu", 4),
}


@dataclass(frozen=True)
class Task:
    """One pass over the data in batches of one size; each behavior is a mean log-likelihood, in nats.

    Attributes:
        network: its name in ``NETWORKS``.
        optimizer: the name of a class of ``torch.optim``, ``options`` what it was given.
        inputs, targets: the training examples (N, …), (N,).
        batches: (T, B), which examples each step saw; each example is seen once at most.
        behaviors: examples and their labels, whose mean log-likelihood is the behavior.
        states: the model's before each step, and after the last.
    """

    network: str
    optimizer: str
    options: dict[str, float]
    inputs: Tensor
    targets: Tensor
    batches: Tensor
    behaviors: dict[str, tuple[Tensor, Tensor]]
    states: list[State]

    @classmethod
    def read(cls, folder: Path) -> Task:
        return cls(**torch.load(folder / "task.pt", weights_only=True))

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        torch.save({field.name: getattr(self, field.name) for field in fields(self)}, folder / "task.pt")

    @property
    def lr(self) -> float:
        return self.options["lr"]

    @property
    def batch_size(self) -> int:
        return self.batches.shape[1]

    def model(self, step: int = 0) -> nn.Module:
        """Return a network in the state before a step; −1 is the one after the last."""
        model = NETWORKS[self.network]()
        model.load_state_dict(self.states[step])
        return model

    @property
    def checkpoints(self) -> list[State]:
        """Return five states, evenly spread over the run, as one would keep them for methods that read checkpoints."""
        return self.states[: -1 : max(1, len(self.batches) // 5)]

    def optimizer_of(self, model: nn.Module) -> torch.optim.Optimizer:
        kind: Any = getattr(torch.optim, self.optimizer)
        return kind(model.parameters(), **self.options)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        rows = self.batches[step]
        return self.inputs[rows], self.targets[rows]

    def train(self, model: nn.Module) -> None:
        """Train a network as the task's was, plainly."""
        optimizer = self.optimizer_of(model)
        for step in range(len(self.batches)):
            optimizer.zero_grad()
            loss(model, self.batch(step)).backward()
            optimizer.step()

    def per_step(self, scores: Tensor) -> Tensor:
        """Return (behaviors, T) scores: those of steps as they are, (behaviors, N) of examples summed over batches."""
        return scores if scores.shape[1] == len(self.batches) else scores[:, self.batches].sum(dim=2)


def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Return the mean cross-entropy of a batch."""
    return nn.functional.cross_entropy(model(batch[0]), batch[1])
