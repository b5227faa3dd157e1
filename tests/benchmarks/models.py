"""The models that the benchmarks train: small, but each of a kind that people use."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU}


def mlp(activation: str = "relu", hidden: int = 128) -> nn.Module:
    """Return the two-layer network of the paper's MNIST experiments."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, hidden), ACTIVATIONS[activation](), nn.Linear(hidden, 10))


class Block(nn.Module):
    """Two 3×3 convolutions with normalization and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int, activation: str, norm: str) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList([_norm(norm, outputs), _norm(norm, outputs)])
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        self.activation = ACTIVATIONS[activation]()

    def forward(self, x: Tensor) -> Tensor:
        inner = self.activation(self.norms[0](self.first(x)))
        return self.activation(self.norms[1](self.second(inner)) + self.shortcut(x))


def resnet18(width: int = 16) -> nn.Module:
    """Return a ResNet-18 over one-channel images: four stages of two blocks, from ``width`` channels on."""
    return resnet("relu", "batch", width, blocks=2, stages=4)


def resnet(
    activation: str = "relu", norm: str = "batch", width: int = 8, blocks: int | Sequence[int] = 1, stages: int = 3
) -> nn.Module:
    """Return a residual network over one-channel images; each stage has twice the channels of the one before.

    ``blocks``: how many each stage has; (3, 4, 6, 3) of four stages make a ResNet-34.
    """
    counts = [blocks] * stages if isinstance(blocks, int) else blocks
    layers: list[nn.Module] = [nn.Conv2d(1, width, 3, 2, 1, bias=False), _norm(norm, width), ACTIVATIONS[activation]()]
    channels = width
    for stage, outputs in enumerate(width * 2**stage for stage in range(stages)):
        for position in range(counts[stage]):
            stride = 2 if stage and not position else 1
            layers.append(Block(channels, outputs, stride, activation, norm))
            channels = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


class Transformer(nn.Module):
    """A small vision transformer over 7×7 patches."""

    def __init__(self, activation: str = "gelu", width: int = 32, layers: int = 2) -> None:
        super().__init__()
        self.embed = nn.Linear(49, width)
        self.position = nn.Parameter(0.02 * torch.randn(16, width))
        layer = nn.TransformerEncoderLayer(
            width, 4, 4 * width, dropout=0.0, activation=activation, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, 10)

    def forward(self, images: Tensor) -> Tensor:
        patches = images.reshape(-1, 4, 7, 4, 7).transpose(2, 3).reshape(-1, 16, 49)
        return self.head(self.layers(self.embed(patches) + self.position).mean(dim=1))


def _norm(kind: str, channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels) if kind == "batch" else nn.GroupNorm(4, channels)
