"""CelebA and a ResNet-18, as the paper has them (appendices D and E.3), from torchvision."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import torch
from torch import nn

from tests.paper.runs import Development
from tests.paper.settings import NotAtHandError, Scale, Setting, drawn, stacked, staged, wanted

SIDE = 64  # pixels; the paper does not tell its own
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, which the weights were trained on


def faces(folder: Path, seed: int, scale: Scale) -> Development:
    """Is she, or he, blond? Three stages of other faces; the test set has as many of each sex and color of hair."""
    draw, train, stages = np.random.default_rng(seed), split(folder, "train"), ("stage 1", "stage 2", "stage 3")
    blond = attribute(train, "Blond_Hair")
    rows = drawn(draw, np.arange(len(blond)), 3 * scale.examples, "faces to train on").reshape(3, -1)
    data = {name: stacked(train, own, first, blond) for name, own in zip(stages, rows, strict=True)}
    test = split(folder, "test")
    asked, male = attribute(test, "Blond_Hair"), attribute(test, "Male")
    groups = [np.flatnonzero((asked == hair) & (male == sex)) for hair in (0, 1) for sex in (0, 1)]
    rows = np.concatenate([drawn(draw, group, scale.tests // 4, "test faces of a group") for group in groups])
    tests = {"balanced": stacked(test, rows, first, asked)}
    model = pretrained("resnet18")
    torch.manual_seed(seed)
    model.fc = nn.Linear(model.fc.in_features, 2)
    return staged(model, data, tests, scale)


def split(folder: Path, name: str) -> Any:
    """Return a part of CelebA: images of three channels as the network wants them, and forty attributes of each."""
    vision = wanted("torchvision")
    shape = vision.transforms
    steps = [shape.CenterCrop(178), shape.Resize(SIDE), shape.ToTensor(), shape.Normalize(MEAN, DEVIATION)]
    try:
        return vision.datasets.CelebA(folder, split=name, transform=shape.Compose(steps))
    except RuntimeError as error:
        raise NotAtHandError("`celeba/`, or some of it, or files are not those that torchvision knows") from error


def attribute(faces: Any, name: str) -> np.ndarray:
    """Return one of the attributes, 0 or 1 for each face."""
    return faces.attr[:, faces.attr_names.index(name)].numpy()


def first(item: Any) -> Any:
    return item[0]


def pretrained(name: str) -> Any:
    """Return a network of torchvision with the weights of ImageNet, which it downloads once."""
    try:
        return getattr(wanted("torchvision").models, name)(weights="IMAGENET1K_V1")
    except URLError as error:
        raise NotAtHandError(f"the weights of `{name}`, neither in PyTorch's cache nor to be downloaded") from error


SETTING = Setting(
    "CelebA, a ResNet-18",
    "Blond or not, 64 × 64 pixels (the paper does not say), weights of ImageNet and a new last layer, all of it"
    " trained. The test set has 100 faces of each sex and color of hair.",
    faces,
    Scale(examples=1000, batch=2, tests=400, rate=0.0005),
    {"DVEmb": (0.4406, 0.6304, 0.4203), "AA-Score": (0.5524, 0.6953, 0.8436)},
    "`celeba/` as torchvision has it: `img_align_celeba/` with the images, and the files of attributes,"
    " partition, identities, boxes and landmarks",
)
