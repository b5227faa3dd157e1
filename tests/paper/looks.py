"""Digits of three looks and a small ResNet: the protocol of Table 2 on data that this package ships."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from tests.benchmarks.fidelity import digits, rotated
from tests.benchmarks.models import resnet
from tests.paper.runs import Development
from tests.paper.settings import Scale, Setting, staged

WIDTH = 8


def dyed(images: Tensor, seed: int) -> Tensor:
    """Return images of three channels (n, 3, 28, 28), each in a color of its own."""
    return images * torch.rand(len(images), 3, 1, 1, generator=torch.Generator().manual_seed(seed))


def looks(images: Tensor, seed: int) -> dict[str, Tensor]:
    """Return the images of each stage, three channels: turned by 45 degrees, dyed, blurred over 5 by 5 pixels."""
    kinds = {
        "rotated": rotated(images, 45.0),
        "colored": dyed(images, seed),
        "blurred": F.avg_pool2d(images, 5, stride=1, padding=2),
    }
    return {name: kind.expand(-1, 3, -1, -1) for name, kind in kinds.items()}


def pictures(folder: Path, seed: int, scale: Scale) -> Development:
    """A ResNet and digits of three looks; each stage has digits of its own, and all the same test digits."""
    images, labels = digits()
    rows = np.random.default_rng(seed).permutation(len(labels))
    torch.manual_seed(seed)
    model = resnet("relu", "batch", WIDTH)
    model[0] = nn.Conv2d(3, WIDTH, 3, 2, 1, bias=False)
    train = {}
    for k, name in enumerate(("rotated", "colored", "blurred")):
        own = rows[k * scale.examples : (k + 1) * scale.examples]
        train[name] = (looks(images[own], seed)[name], labels[own])
    held_out = rows[-scale.tests :]
    tests = {name: (shown, labels[held_out]) for name, shown in looks(images[held_out], seed + 100).items()}
    return staged(model, train, tests, scale)


SETTING = Setting(
    "Digits rotated, colored and blurred, a ResNet with BatchNorm",
    "Three blocks of two convolutions, 8 to 32 channels, from random weights, other digits in each stage.",
    pictures,
    Scale(examples=1000, batch=50, tests=200, rate=0.01, seeds=2),
)
