"""A loop of Hugging Face Accelerate: model, optimizer and loader as ``prepare`` gives them."""

import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import aadsl

digits = aadsl.datasets.mnist10k()
DATA = TensorDataset(torch.tensor(digits.image.values[:600]), torch.tensor(digits.label.values[:600]))


def loss_fn(model, batch):
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def train(path, epochs=2):
    torch.manual_seed(0)
    accelerator = Accelerator(cpu=True)
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.ReLU(), nn.Linear(16, 10))
    adam = torch.optim.AdamW(network.parameters(), lr=0.003)
    model, optimizer, loader = accelerator.prepare(network, adam, DataLoader(DATA, batch_size=50, shuffle=True))
    with aadsl.Recorder(path, model, optimizer, data=DATA, overwrite=True) as recorder:
        for epoch in range(epochs):
            for batch in recorder.batches(loader, epoch=epoch):  # instead of: for batch in loader:
                optimizer.zero_grad()
                accelerator.backward(loss_fn(model, batch))
                optimizer.step()
    return network
