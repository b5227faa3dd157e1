"""Nobody recorded, but checkpoints were kept, and batches can be drawn again: the run is trained again between them."""

import copy

import torch
from torch import nn
from torch.utils.data import TensorDataset

import aadsl

digits = aadsl.datasets.mnist10k()
DATA = TensorDataset(torch.tensor(digits.image.values[:600]), torch.tensor(digits.label.values[:600]))


def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.ReLU(), nn.Linear(16, 10))


def make(params):
    return torch.optim.AdamW(params, lr=0.003)


def loss_fn(model, batch):
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def rows(step):  # the batch of a step, as the seeded loader had it: 12 of them are an epoch
    order = torch.randperm(600, generator=torch.Generator().manual_seed(step // 12))
    return order[50 * (step % 12) :][:50]


def train(path, epochs=2):
    model, checkpoints = build(), {}
    optimizer = make(model.parameters())
    for step in range(12 * epochs + 1):
        if step % 12 == 0:  # as a rule into a file, torch.save(kept, f"{step}.pt"), and the file is given below
            kept = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            checkpoints[step] = copy.deepcopy(kept)
        if step < 12 * epochs:
            optimizer.zero_grad()
            loss_fn(model, DATA[rows(step)]).backward()
            optimizer.step()
    # Later, of nothing but the checkpoints; what it prints says how near each stretch comes to the next of them.
    told = {"model": build(), "loss": loss_fn, "optimizer": make, "data": DATA, "batches": rows}
    print(aadsl.reconstruct(checkpoints, path=path, **told, metadata=lambda step: {"epoch": step // 12}))
    return model
