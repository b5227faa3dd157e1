"""Chest X-rays of three sources and a DenseNet-121, as the paper has them (appendices D and E.5)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests.paper.celeba import DEVIATION, MEAN, pretrained
from tests.paper.runs import Batch, Development
from tests.paper.settings import NotAtHandError, Scale, Setting, drawn, stacked, staged, wanted

SIDE = 224
SOURCES = {"ChestX-ray14": "NIH_Dataset", "PadChest": "PC_Dataset", "VinDr-CXR": "VinBrain_Dataset"}


def chests(folder: Path, seed: int, scale: Scale) -> Development:
    """Is the heart enlarged? Each stage has the X-rays of one source, and so has each test set."""
    draw = np.random.default_rng(seed)
    train: dict[str, Batch] = {}
    tests: dict[str, Batch] = {}
    for name in SOURCES:
        shots = source(folder, name)
        heart = shots.labels[:, list(shots.pathologies).index("Cardiomegaly")]
        rows = drawn(draw, np.flatnonzero(np.isfinite(heart)), scale.examples + scale.tests, f"X-rays of {name}")
        try:
            train[name] = stacked(shots, rows[: scale.examples], image, heart)
            tests[name] = stacked(shots, rows[scale.examples :], image, heart)
        except FileNotFoundError as error:
            raise NotAtHandError(f"an image of {name} ({error})".replace(f"{folder}/", "")) from error
    backbone = pretrained("densenet121").requires_grad_(False)
    torch.manual_seed(seed)
    backbone.classifier = nn.Linear(backbone.classifier.in_features, 2)
    return staged(nn.Sequential(Colored(), backbone), train, tests, scale)


def source(folder: Path, name: str) -> Any:
    """Return the X-rays of one source: images of one channel from −1024 to 1024, and a label for each pathology."""
    xrays, place = wanted("torchxrayvision"), folder / "xrays" / name
    if not place.is_dir():
        raise NotAtHandError(f"`xrays/{name}/`")
    sets = xrays.datasets
    shape = wanted("torchvision").transforms.Compose([sets.XRayCenterCrop(), sets.XRayResizer(SIDE)])
    return getattr(sets, SOURCES[name])(imgpath=str(place), transform=shape)


def image(item: Any) -> Any:
    return item["img"]


class Colored(nn.Module):
    """Makes of X-rays (n, 1, side, side) the colored images that a network of ImageNet wants."""

    def forward(self, shots: Tensor) -> Tensor:
        mean, deviation = (torch.tensor(values).to(shots).view(3, 1, 1) for values in (MEAN, DEVIATION))
        return ((shots / 1024 + 1) / 2 - mean) / deviation


SETTING = Setting(
    "Chest X-rays of three sources, a DenseNet-121",
    "An enlarged heart or not, 224 × 224 pixels, weights of ImageNet and a new last layer, which alone is trained;"
    " the statistics of BatchNorm follow the data.",
    chests,
    Scale(examples=1000, batch=50, tests=200, rate=0.01, epochs=2),
    {"DVEmb": (0.9628, 0.9487, 0.7025), "AA-Score": (0.9326, 0.9809, 0.7414)},
    "the images of each source as it gives them out, in `xrays/ChestX-ray14/`, `xrays/PadChest/` and"
    " `xrays/VinDr-CXR/` (this one's `.dicom` files of training); labels come with torchxrayvision",
)
