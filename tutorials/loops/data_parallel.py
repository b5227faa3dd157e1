"""Several processes that train one model: ``torchrun --nproc-per-node 2 data_parallel.py``; a recorder in each."""

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

import aadsl

digits = aadsl.datasets.mnist10k()
DATA = TensorDataset(torch.tensor(digits.image.values[:600]), torch.tensor(digits.label.values[:600]))


def loss_fn(model, batch):
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def train(path, epochs=2):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10))
    model = DistributedDataParallel(net)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.003)
    sampler = DistributedSampler(DATA)
    loader = DataLoader(DATA, batch_size=25, sampler=sampler)
    with aadsl.Recorder(path, model, optimizer, data=DATA, overwrite=True) as recorder:  # that of rank 0 writes
        for epoch in range(epochs):
            sampler.set_epoch(epoch)
            for batch in recorder.batches(loader, epoch=epoch):  # instead of: for batch in loader:
                optimizer.zero_grad()
                loss_fn(model, batch).backward()
                optimizer.step()
    return net


if __name__ == "__main__":
    distributed.init_process_group()  # gloo on CPUs, nccl on GPUs
    train("runs/together")
    distributed.destroy_process_group()
