"""A schedule-free optimizer: it is told when training and evaluation begin, and answers are about what it evaluates."""

import schedulefree
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import aadsl

digits = aadsl.datasets.mnist10k()
DATA = TensorDataset(torch.tensor(digits.image.values[:600]), torch.tensor(digits.label.values[:600]))
HELD_OUT = torch.tensor(digits.image.values[9900:]), torch.tensor(digits.label.values[9900:])


def loss_fn(model, batch):
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def train(path, epochs=2):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.ReLU(), nn.Linear(16, 10))
    optimizer = schedulefree.AdamWScheduleFree(model.parameters(), lr=0.005)
    loader = DataLoader(DATA, batch_size=50, shuffle=True)
    with aadsl.Recorder(path, model, optimizer, data=DATA, overwrite=True) as recorder:
        for epoch in range(epochs):
            optimizer.train()
            for batch in recorder.batches(loader, epoch=epoch):  # instead of: for batch in loader:
                optimizer.zero_grad()
                loss_fn(model, batch).backward()
                optimizer.step()
            optimizer.eval()
            with torch.no_grad():
                print(f"epoch {epoch}: {loss_fn(model, HELD_OUT):.3f} on held-out digits")
    return model
