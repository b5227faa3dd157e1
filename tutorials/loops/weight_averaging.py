"""Weights are averaged after each epoch (SWA), and their statistics recomputed at the end, before they are shipped."""

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, update_bn
from torch.utils.data import DataLoader, TensorDataset

import aadsl

digits = aadsl.datasets.mnist10k()
DATA = TensorDataset(torch.tensor(digits.image.values[:600]), torch.tensor(digits.label.values[:600]))


def recalibrate(model):
    update_bn(DataLoader(DATA, batch_size=200), model)


ASKED = {"final": "averaged", "finish": recalibrate}  # aadsl.Study(…, final="averaged", finish=recalibrate)


def loss_fn(model, batch):
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def train(path, epochs=2):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    averaged = AveragedModel(model)
    loader = DataLoader(DATA, batch_size=50, shuffle=True)
    with aadsl.Recorder(path, model, optimizer, data=DATA, averaged=averaged, overwrite=True) as recorder:
        for epoch in range(epochs):
            for batch in recorder.batches(loader, epoch=epoch):
                optimizer.zero_grad()
                loss_fn(model, batch).backward()
                optimizer.step()
            averaged.update_parameters(model)
    recalibrate(averaged.module)  # after the recorder is closed: it is no part of the training
    return averaged.module
