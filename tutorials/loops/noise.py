"""Noise that the loss draws before it calls the model, as diffusion does: announced before it, a batch says where."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import aadsl

digits = aadsl.datasets.mnist10k()
DATA = TensorDataset(torch.tensor(digits.image.values[:600]), torch.tensor(digits.label.values[:600]))


def loss_fn(model, batch):
    noisy = batch[0] + 0.5 * torch.randn_like(batch[0])
    return nn.functional.cross_entropy(model(noisy), batch[1])


def train(path, epochs=2):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.ReLU(), nn.Linear(16, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    loader = DataLoader(DATA, batch_size=50, shuffle=True)
    with aadsl.Recorder(path, model, optimizer, data=DATA, overwrite=True) as recorder:
        for epoch in range(epochs):
            for batch in recorder.batches(loader, epoch=epoch):  # instead of: for batch in loader:
                optimizer.zero_grad()
                loss_fn(model, batch).backward()
                optimizer.step()
    return model
