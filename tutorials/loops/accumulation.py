"""Gradients accumulated over four batches a step, the last group of an epoch shorter: each loss is divided by four."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import aadsl

digits = aadsl.datasets.mnist10k()
DATA = TensorDataset(torch.tensor(digits.image.values[:600]), torch.tensor(digits.label.values[:600]))
EACH = 4


def loss_fn(model, batch):
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def train(path, epochs=2):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.ReLU(), nn.Linear(16, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    loader = DataLoader(DATA, batch_size=40, shuffle=True)
    with aadsl.Recorder(path, model, optimizer, data=DATA, overwrite=True) as recorder:
        for epoch in range(epochs):
            for number, batch in enumerate(recorder.batches(loader, epoch=epoch), 1):  # not: enumerate(loader, 1)
                (loss_fn(model, batch) / EACH).backward()
                if number % EACH == 0 or number == len(loader):
                    nn.utils.clip_grad_norm_(model.parameters(), 10.0)  # so high that it never clips
                    optimizer.step()
                    optimizer.zero_grad()
    return model
