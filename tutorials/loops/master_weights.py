"""A model in bfloat16 whose optimizer keeps its weights in float32: a copy of it takes the steps again."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import aadsl

digits = aadsl.datasets.mnist10k()
DATA = TensorDataset(torch.tensor(digits.image.values[:600]), torch.tensor(digits.label.values[:600]))


class Masters(torch.optim.Optimizer):
    """SGD on float32 copies of the weights, which are a part of its state."""

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for weight in group["params"]:
                master = self.state[weight].setdefault("master", weight.float())
                master.sub_(group["lr"] * weight.grad.float())
                weight.copy_(master)


class Network(nn.Sequential):
    def forward(self, images):
        return super().forward(images.flatten(1).bfloat16()).float()


ASKED = {"optimizer": lambda params: Masters(params, {"lr": 0.05})}  # in a cell: load … with …, optimizer=make


def loss_fn(model, batch):
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def train(path, epochs=2):
    torch.manual_seed(0)
    model = Network(nn.Linear(784, 16), nn.ReLU(), nn.Linear(16, 10)).bfloat16()
    optimizer = Masters(model.parameters(), {"lr": 0.05})
    loader = DataLoader(DATA, batch_size=50, shuffle=True)
    with aadsl.Recorder(path, model, optimizer, data=DATA, overwrite=True) as recorder:
        for epoch in range(epochs):
            for batch in recorder.batches(loader, epoch=epoch):  # instead of: for batch in loader:
                optimizer.zero_grad()
                loss_fn(model, batch).backward()
                optimizer.step()
    return model
