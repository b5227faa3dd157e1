"""Examples that are augmented at random, by workers: what was drawn is kept, and drawn again; no batch is stored."""

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import aadsl

digits = aadsl.datasets.mnist10k()


class Shifted(Dataset):
    """Digits, each moved to the side by up to two pixels."""

    def __len__(self):
        return 400

    def __getitem__(self, index):
        image = torch.tensor(digits.image.values[index])
        return image.roll(int(torch.randint(-2, 3, ())), -1), int(digits.label.values[index])


DATA = Shifted()


def loss_fn(model, batch):
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def train(path, epochs=2):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.ReLU(), nn.Linear(16, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    loader = DataLoader(DATA, batch_size=50, shuffle=True, num_workers=2)
    with aadsl.Recorder(path, model, optimizer, data=DATA, overwrite=True) as recorder:
        for epoch in range(epochs):
            for batch in recorder.batches(loader, store="seeds", epoch=epoch):  # instead of: for batch in loader:
                optimizer.zero_grad()
                loss_fn(model, batch).backward()
                optimizer.step()
    return model
