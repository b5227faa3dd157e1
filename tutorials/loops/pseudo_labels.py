"""Labels that the model gives itself: without a stage it would give others, and a rerun lets it."""

import torch
from torch import nn

import aadsl

digits = aadsl.datasets.mnist10k()
images, labels = torch.tensor(digits.image.values[:600]), torch.tensor(digits.label.values[:600])
DATA = None  # the recording holds the batches


def loss_fn(model, batch):
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def batch_fn(model, step):
    rows = torch.randperm(600, generator=torch.Generator().manual_seed(step))[:50]
    with torch.no_grad():
        own = model(images[rows]).argmax(1)
    return images[rows], torch.where(rows < 300, labels[rows], own)  # the first half of the digits has labels


RERUN = {
    "batch_fn": batch_fn
}  # study.score(…, intervention=Rerun(batch_fn)), in a cell: … under rerun(batch_fn=batch_fn)


def train(path, epochs=2, left_out=()):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.ReLU(), nn.Linear(16, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    with aadsl.Recorder(path, model, optimizer, adaptive=True, overwrite=True) as recorder:
        for step in range(12 * epochs):
            batch = batch_fn(model, step)
            if step in left_out:  # for the test: what happens without them
                continue
            recorder.batch(batch, epoch=step // 12)
            optimizer.zero_grad()
            loss_fn(model, batch).backward()
            optimizer.step()
    return model
