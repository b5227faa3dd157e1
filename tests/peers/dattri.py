"""dattri: DVEmb along the training, TracIn from five checkpoints, TRAK from the last one."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from tests.peers.method import Method, main
from tests.peers.task import Task, loss


def dvemb(task: Task, folder: Path) -> Tensor:
    model = task.model()
    # user code
    from dattri.algorithm.dvemb import DVEmbAttributor
    from dattri.task import AttributionTask

    def mean_loss(params: dict[str, Tensor], data: tuple[Tensor, Tensor]) -> Tensor:
        image, label = (part.unsqueeze(0) for part in data)
        return nn.functional.cross_entropy(torch.func.functional_call(model, params, image), label)

    optimizer = task.optimizer_of(model)
    attributor = DVEmbAttributor(AttributionTask(mean_loss, model, model.state_dict()), proj_dim=512)
    for step, rows in enumerate(task.batches):
        attributor.cache_gradients(0, task.batch(step), rows, task.lr)
        optimizer.zero_grad()
        loss(model, task.batch(step)).backward()
        optimizer.step()
    attributor.cache()
    loaders = [DataLoader(TensorDataset(*on), batch_size=500) for on in task.behaviors.values()]
    scores = [attributor.attribute(loader).mean(dim=1) for loader in loaders]
    # end of user code
    return torch.stack(scores)


def tracin(task: Task, folder: Path) -> Tensor:
    model = task.model()
    # user code
    from dattri.algorithm.tracin import TracInAttributor
    from dattri.task import AttributionTask

    def one_loss(params: dict[str, Tensor], data: tuple[Tensor, Tensor]) -> Tensor:
        image, label = (part.unsqueeze(0) for part in data)
        return nn.functional.cross_entropy(torch.func.functional_call(model, params, image), label)

    weights = torch.full((len(task.checkpoints),), task.lr / task.batch_size / len(task.checkpoints))
    attributor = TracInAttributor(AttributionTask(one_loss, model, task.checkpoints), weights, normalized_grad=False)
    train = DataLoader(TensorDataset(task.inputs, task.targets), batch_size=2500)
    loaders = [DataLoader(TensorDataset(*on), batch_size=500) for on in task.behaviors.values()]
    scores = [attributor.attribute(train, loader).mean(dim=1) for loader in loaders]
    # end of user code
    return torch.stack(scores)


def trak(task: Task, folder: Path) -> Tensor:
    model = task.model(-1)
    # user code
    from dattri.algorithm.trak import TRAKAttributor
    from dattri.task import AttributionTask

    def one_loss(params: dict[str, Tensor], data: tuple[Tensor, Tensor]) -> Tensor:
        image, label = (part.unsqueeze(0) for part in data)
        return nn.functional.cross_entropy(torch.func.functional_call(model, params, image), label)

    def log_odds(params: dict[str, Tensor], data: tuple[Tensor, Tensor]) -> Tensor:
        return -torch.log(torch.expm1(one_loss(params, data)))

    def probability(params: dict[str, Tensor], data: tuple[Tensor, Tensor]) -> Tensor:
        return torch.exp(-one_loss(params, data))

    described = AttributionTask(log_odds, model, task.states[-1])
    attributor = TRAKAttributor(described, probability, projector_kwargs={"proj_dim": 512}, regularization=1e-3)
    attributor.cache(DataLoader(TensorDataset(task.inputs, task.targets), batch_size=2500))
    loaders = [DataLoader(TensorDataset(*on), batch_size=500) for on in task.behaviors.values()]
    scores = [attributor.attribute(loader).mean(dim=1) for loader in loaders]
    # end of user code
    return torch.stack(scores)


METHODS = {
    "DVEmb": Method(dvemb, "zero_gradient", "along the training, gradients projected to 512 numbers", trains=True),
    "TracIn": Method(tracin, "zero_gradient", "five checkpoints, gradients projected to 512 numbers, its default"),
    "TRAK": Method(trak, "zero_gradient", "the last checkpoint, 512 numbers", nats=False),
}

if __name__ == "__main__":
    main(METHODS)
