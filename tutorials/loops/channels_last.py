"""Images whose channels lie last in memory, which is faster: the recorder keeps that, and replays have its bits."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import aadsl

digits = aadsl.datasets.mnist10k()
images = torch.tensor(digits.image.values[:200]).unsqueeze(1)
DATA = TensorDataset(images, torch.tensor(digits.label.values[:200]))


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 8, 5, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU())
        self.head = nn.Linear(8, 10)

    def forward(self, images):
        return self.head(self.body(images.reshape(-1, 1, 28, 28)).mean((2, 3)))


def loss_fn(model, batch):
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def train(path, epochs=2):
    torch.manual_seed(0)
    model = Network().to(memory_format=torch.channels_last)  # before the recorder is made
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    loader = DataLoader(DATA, batch_size=50, shuffle=True)
    with aadsl.Recorder(path, model, optimizer, data=DATA, overwrite=True) as recorder:
        for epoch in range(epochs):
            for images, labels in recorder.batches(loader, epoch=epoch):  # instead of: for images, labels in loader:
                optimizer.zero_grad()
                loss_fn(model, (images.to(memory_format=torch.channels_last), labels)).backward()
                optimizer.step()
    return model
