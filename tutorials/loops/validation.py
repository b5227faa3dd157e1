"""A schedule, validation, the best weights kept, a moving average beside: nothing of it has to be announced."""

import copy

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import aadsl

digits = aadsl.datasets.mnist10k()
images, labels = torch.tensor(digits.image.values[:800]), torch.tensor(digits.label.values[:800])
DATA = TensorDataset(images[:600], labels[:600])
HELD_OUT = (images[600:], labels[600:])


def loss_fn(model, batch):
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def train(path, epochs=2):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 24)
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))
    best, weights = float("inf"), None
    loader = DataLoader(DATA, batch_size=50, shuffle=True)
    with aadsl.Recorder(path, model, optimizer, data=DATA, overwrite=True) as recorder:
        for epoch in range(epochs):
            for batch in recorder.batches(loader, epoch=epoch):  # instead of: for batch in loader:
                optimizer.zero_grad()
                loss_fn(model, batch).backward()
                optimizer.step()
                schedule.step()
                average.update_parameters(model)
            model.eval()
            with torch.no_grad():
                held_out = float(loss_fn(model, HELD_OUT))
            model.train()
            if held_out < best:
                best, weights = held_out, copy.deepcopy(model.state_dict())
    assert weights is not None
    return model
