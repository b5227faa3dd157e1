"""captum: TracInCP and TracInCPFast, from five checkpoints of the run."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from tests.peers.method import Method, main
from tests.peers.task import State, Task


def tracincp(task: Task, folder: Path) -> Tensor:
    model = task.model()
    # user code
    from captum.influence import TracInCP

    def load(model: nn.Module, state: State) -> float:
        model.load_state_dict(state)
        return task.lr / task.batch_size / len(task.checkpoints)  # each example was seen once, in a mean over its batch

    data = TensorDataset(task.inputs, task.targets)
    per_example = nn.CrossEntropyLoss(reduction="none")
    tracin = TracInCP(model, data, task.checkpoints, load, loss_fn=per_example, batch_size=10)
    loaders = [DataLoader(TensorDataset(*on), batch_size=10) for on in task.behaviors.values()]
    scores = [tracin.influence(loader, aggregate=True)[0] / len(loader.dataset) for loader in loaders]
    # end of user code
    return torch.stack(scores)


def tracincp_fast(task: Task, folder: Path) -> Tensor:
    model = task.model()
    # user code
    from captum.influence import TracInCPFast

    def load(model: nn.Module, state: State) -> float:
        model.load_state_dict(state)
        return task.lr / task.batch_size / len(task.checkpoints)  # each example was seen once, in a mean over its batch

    last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    data = TensorDataset(task.inputs, task.targets)
    tracin = TracInCPFast(
        model, last, data, task.checkpoints, load, nn.CrossEntropyLoss(reduction="sum"), batch_size=1000
    )
    scores = [tracin.influence(on).mean(dim=0) for on in task.behaviors.values()]
    # end of user code
    return torch.stack(scores)


METHODS = {
    "TracInCP": Method(tracincp, "zero_gradient", "five checkpoints, all layers"),
    "TracInCPFast": Method(tracincp_fast, "zero_gradient", "five checkpoints, the last layer only"),
}

if __name__ == "__main__":
    main(METHODS)
