"""Examples that are augmented at random, by workers: what came out of the loader is stored, and you are told."""

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


DATA = None  # the recording holds the batches


def loss_fn(model, batch):
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def train(path, epochs=2):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.ReLU(), nn.Linear(16, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    loader = DataLoader(Shifted(), batch_size=50, shuffle=True, num_workers=2)
    with aadsl.Recorder(path, model, optimizer, overwrite=True) as recorder:
        for epoch in range(epochs):
            for batch in recorder.batches(loader, epoch=epoch):  # instead of: for batch in loader:
                optimizer.zero_grad()
                loss_fn(model, batch).backward()
                optimizer.step()
    return model
