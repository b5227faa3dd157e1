"""Half precision with a ``GradScaler``: it skips steps whose gradients overflow, and the recording has none of them."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import aadsl

digits = aadsl.datasets.mnist10k()
DATA = TensorDataset(torch.tensor(digits.image.values[:600]), torch.tensor(digits.label.values[:600]))


def loss_fn(model, batch):
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def train(path, epochs=2):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.ReLU(), nn.Linear(16, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.003, fused=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**20)
    loader = DataLoader(DATA, batch_size=50, shuffle=True)
    with aadsl.Recorder(path, model, optimizer, data=DATA, overwrite=True) as recorder:
        for epoch in range(epochs):
            for batch in recorder.batches(loader, epoch=epoch):  # instead of: for batch in loader:
                optimizer.zero_grad()
                with torch.autocast("cpu", torch.float16):
                    loss = loss_fn(model, batch)
                scaler.scale(loss).backward()
                scaler.step(optimizer)
                scaler.update()
    return model
