"""A learning rate that falls where the loss no longer does: without a stage it falls elsewhere, in a rerun, too."""

import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

import aadsl

digits = aadsl.datasets.mnist10k()
images, labels = torch.tensor(digits.image.values[:800]), torch.tensor(digits.label.values[:800])
DATA = (images, labels)


def loss_fn(model, batch):
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def scheduler(optimizer):
    return ReduceLROnPlateau(optimizer, patience=0, threshold=0.3, factor=0.3)


def held_out(model):
    with torch.no_grad():
        return loss_fn(model, (images[600:], labels[600:])).item()


RERUN = {"scheduler": scheduler, "metric": held_out}  # in a cell: … under rerun(scheduler=scheduler, metric=held_out)


def train(path, epochs=4, left_out=()):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.ReLU(), nn.Linear(16, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    schedule = scheduler(optimizer)
    with aadsl.Recorder(path, model, optimizer, data=DATA, overwrite=True) as recorder:
        for step in range(12 * epochs):
            rows = torch.randperm(600, generator=torch.Generator().manual_seed(step))[:50]
            if step not in left_out:  # for the test: what happens without them
                recorder.batch(indices=rows, epoch=step // 12)
                optimizer.zero_grad()
                loss_fn(model, (images[rows], labels[rows])).backward()
                optimizer.step()
            if step % 12 == 11:
                schedule.step(held_out(model))
    return model
