"""The best weights are loaded at the end: the study asks about them, and what came later has no effect."""

import copy

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import aadsl

digits = aadsl.datasets.mnist10k()
images, labels = torch.tensor(digits.image.values[:800]), torch.tensor(digits.label.values[:800])
DATA, HELD_OUT = TensorDataset(images[:600], labels[:600]), (images[600:], labels[600:])
ASKED = {"final": "given"}  # the weights of the model that is given; or the number of steps, which `load` tells


def loss_fn(model, batch):
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def train(path, epochs=3):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.ReLU(), nn.Linear(16, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    best, weights = float("inf"), model.state_dict()
    loader = DataLoader(DATA, batch_size=50, shuffle=True)
    with aadsl.Recorder(path, model, optimizer, data=DATA, overwrite=True) as recorder:
        for epoch in range(epochs):
            if epoch == 2:
                optimizer.param_groups[0]["lr"] = 5.0  # which goes wrong
            for batch in recorder.batches(loader, epoch=epoch):
                optimizer.zero_grad()
                loss_fn(model, batch).backward()
                optimizer.step()
            with torch.no_grad():
                held_out = float(loss_fn(model, HELD_OUT))
            if held_out < best:
                best, weights = held_out, copy.deepcopy(model.state_dict())
                recorder.flush(state=True)  # optional: keeps this state, whatever the plan
    model.load_state_dict(weights)
    return model
