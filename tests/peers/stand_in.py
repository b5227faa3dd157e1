"""Stands in for peers in the tests: one that answers, and one that fails."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from tests.peers.method import Method, main
from tests.peers.task import Task, loss


def gradients(task: Task, folder: Path) -> Tensor:
    model = task.model(-1)

    # user code
    def slope(batch: tuple[Tensor, Tensor]) -> Tensor:
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss(model, batch), list(model.parameters()))])

    # the products of each step's gradient with each behavior's
    steps = torch.stack([slope(task.batch(step)) for step in range(len(task.batches))])
    scores = torch.stack([slope(on) for on in task.behaviors.values()]) @ steps.T * task.lr
    # end of user code
    return scores


def failing(task: Task, folder: Path) -> Tensor:
    # user code
    raise ValueError("no such layer")
    # end of user code


METHODS = {
    "gradients": Method(gradients, "skip", "at the end"),
    "failing": Method(failing, "skip", "fails", nats=False),
}

if __name__ == "__main__":
    main(METHODS)
