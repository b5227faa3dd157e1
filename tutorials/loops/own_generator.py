"""Noise from a generator of one's own: the recorder, and the study that replays, are told of it."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import aadsl

digits = aadsl.datasets.mnist10k()
DATA = TensorDataset(torch.tensor(digits.image.values[:600]), torch.tensor(digits.label.values[:600]))
noise = torch.Generator()  # or numpy.random.default_rng(), random.Random()
ASKED = {"generators": [noise]}  # aadsl.Study(…, generators=[noise]): the loss draws from it


def loss_fn(model, batch):
    noisy = batch[0] + 0.5 * torch.randn(batch[0].shape, generator=noise)
    return nn.functional.cross_entropy(model(noisy), batch[1])


def train(path, epochs=2):
    torch.manual_seed(0)
    noise.manual_seed(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.ReLU(), nn.Linear(16, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    loader = DataLoader(DATA, batch_size=50, shuffle=True)
    with aadsl.Recorder(path, model, optimizer, data=DATA, overwrite=True, generators=[noise]) as recorder:
        for epoch in range(epochs):
            for batch in recorder.batches(loader, epoch=epoch):  # instead of: for batch in loader:
                optimizer.zero_grad()
                loss_fn(model, batch).backward()
                optimizer.step()
    return model
