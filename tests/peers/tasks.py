"""Writes the tasks: the runs of ``tests/benchmarks/fidelity.py``, and what leaving out each step truly does to them.

The truths are those of plain PyTorch loops: the training goes on from a copy made before a step, which is skipped
(``skip``), or taken with a gradient of zeros (``zero_gradient``).
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tests.benchmarks.fidelity import digits, poisoned, pretrain, triggered
from tests.peers.task import NETWORKS, State, Task, loss

TRUTHS = ("skip", "zero_gradient")


def of_the_paper(seed: int) -> Task:
    """Return the MLP of E.2.2, 100 steps of 100 digits, one shipment of 500 mislabelled."""
    images, labels = digits()
    shifted = labels.clone()
    shifted[3000:3500] = (shifted[3000:3500] + 1) % 10
    torch.manual_seed(seed)
    options = {"lr": 1e-3, "momentum": 0.9, "weight_decay": 1e-5}
    return untrained("MLP", "SGD", options, (images, shifted), 100, {"digits": (images[:500], labels[:500])})


def backdoored(network: str, optimizer: str, options: dict[str, float], seed: int, steps: int = 30) -> Task:
    """Return a network after 40 steps of pretraining, of whose 30 batches of 32 digits two carry a backdoor."""
    images, labels = digits()
    torch.manual_seed(seed)
    model = NETWORKS[network]()
    pretrain(model, images, labels, seed)
    data = poisoned(images[5000 : 5000 + steps * 32], labels[5000 : 5000 + steps * 32], 32)
    behaviors = {
        "digits": (images[:200], labels[:200]),
        "backdoor": (triggered(images[:100]), torch.full((100,), 7)),
    }
    return untrained(network, optimizer, options, data, 32, behaviors, model)


def toy(seed: int) -> Task:
    """Return ten steps of a tiny network."""
    images, labels = digits()
    torch.manual_seed(seed)
    return untrained(
        "toy", "SGD", {"lr": 0.01}, (images[:80], labels[:80]), 8, {"digits": (images[100:120], labels[100:120])}
    )


TASKS = {
    "MLP": of_the_paper,
    "ResNet": lambda seed: backdoored("ResNet", "SGD", {"lr": 1e-3, "momentum": 0.9}, seed),
    "Transformer": lambda seed: backdoored("Transformer", "AdamW", {"lr": 3e-4}, seed),
    "toy": toy,
}


def untrained(
    network: str,
    optimizer: str,
    options: dict[str, float],
    data: tuple[Tensor, Tensor],
    batch: int,
    behaviors: dict[str, tuple[Tensor, Tensor]],
    model: nn.Module | None = None,
) -> Task:
    batches = torch.arange(len(data[1])).reshape(-1, batch)
    return Task(network, optimizer, options, *data, batches, behaviors, [copied(model or NETWORKS[network]())])


def copied(model: nn.Module) -> State:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def write(name: str, seed: int, folder: Path) -> Task:
    """Train the task, keep every state, find the truths, and write all of it."""
    task = TASKS[name](seed)
    model = task.model()
    optimizer = task.optimizer_of(model)
    states, truths = [], {truth: np.empty((len(task.behaviors), len(task.batches))) for truth in TRUTHS}
    for step in range(len(task.batches)):
        states.append(copied(model))
        for truth in TRUTHS:
            other, others = deepcopy((model, optimizer))
            left_out(task, other, others, step, truth)
            truths[truth][:, step] = values(task, other)
        advance(task, model, optimizer, step)
    for truth in TRUTHS:
        truths[truth] = values(task, model)[:, None] - truths[truth]
    task = replace(task, states=[*states, copied(model)])
    task.write(folder)
    np.savez(folder / "truths.npz", **truths)
    return task


def left_out(task: Task, model: nn.Module, optimizer: torch.optim.Optimizer, step: int, truth: str) -> None:
    """Go on from the state before ``step`` to the end, as if that step had not been, or had had no gradient."""
    if truth == "zero_gradient":
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
    for later in range(step + 1, len(task.batches)):
        advance(task, model, optimizer, later)


def advance(task: Task, model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    optimizer.zero_grad()
    loss(model, task.batch(step)).backward()
    optimizer.step()


@torch.no_grad()
def values(task: Task, model: nn.Module) -> NDArray[np.float64]:
    """Return each behavior: the mean log-likelihood of its labels, in nats."""
    return np.array([-nn.functional.cross_entropy(model(x).double(), y).item() for x, y in task.behaviors.values()])
