"""A real run of 24 steps, recorded once, with the names that the programs of grammar/README.md use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
import xarray as xr
from torch import nn

import aadsl

STEPS = 24


def record(folder: Path, seed: int = 0, bad: range = range(10, 13)) -> dict[str, Any]:
    """Record the run at ``folder/tiny`` and return what lives in the notebook."""
    torch.manual_seed(seed)
    inputs = torch.randn(48, 5)
    labels = (inputs @ torch.randn(5, 10)).argmax(1)
    labels[:6] = torch.tensor([4, 9, 4, 1, 9, 4])
    noise = np.arange(48) % 8 < 4
    train = xr.Dataset(
        {
            "image": (("sample", "pixel"), inputs.numpy()),
            "label": ("sample", labels.numpy()),
            "label_noise": ("sample", noise),
        }
    )
    net = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 10))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 8, 0.5)
    with aadsl.Recorder(folder / "tiny", net, optimizer) as recorder:
        for step in range(STEPS):
            chosen = torch.arange(step * 5, step * 5 + 5) % 48
            tag = "badnet" if step in bad else "clean"
            recorder.batch(indices=chosen, tag=tag, epoch=step // 8, flagged=step % 2 == 0)
            optimizer.zero_grad()
            loss_fn(net, (inputs[chosen], labels[chosen])).backward()
            optimizer.step()
            schedule.step()
    test = train.isel(sample=slice(0, 6)).assign(
        writer=("sample", np.array(["ann", "bob", "ann", "bob", "bob", "ann"], dtype=object))
    )
    return {
        "net": net,
        "loss_fn": loss_fn,
        "train": train,
        "test": test,
        "triggered": (inputs[6:12], labels[6:12]),
        "my_metric": lambda model, examples: model(examples[0])[:, 0],
        "threshold": 0.06,
        "chosen": [9, 10],
    }


def loss_fn(model: nn.Module, batch: Any) -> torch.Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])
