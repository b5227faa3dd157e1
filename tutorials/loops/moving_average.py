"""A moving average of the weights (EMA) is shipped: the recorder follows it, and the study asks about it."""

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, TensorDataset

import aadsl

digits = aadsl.datasets.mnist10k()
DATA = TensorDataset(torch.tensor(digits.image.values[:600]), torch.tensor(digits.label.values[:600]))
ASKED = {"final": "averaged"}  # aadsl.Study(…, final="averaged"), in a cell: load … with …, final="averaged"


def loss_fn(model, batch):
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def train(path, epochs=2):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.ReLU(), nn.Linear(16, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.003)
    ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))  # or a module or dict of your own
    loader = DataLoader(DATA, batch_size=50, shuffle=True)
    with aadsl.Recorder(path, model, optimizer, data=DATA, averaged=ema, overwrite=True) as recorder:
        for epoch in range(epochs):
            for batch in recorder.batches(loader, epoch=epoch):
                optimizer.zero_grad()
                loss_fn(model, batch).backward()
                optimizer.step()
                ema.update_parameters(model)
    return ema.module
