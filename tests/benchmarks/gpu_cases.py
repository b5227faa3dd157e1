"""What ``tests.benchmarks.gpu`` trains: the networks of the paper's Tables 3 and 4, and others beside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial

import torch
import torch.nn.functional as F  # noqa: N812
import xarray as xr
from torch import Tensor, nn

from aadsl import datasets
from tests.benchmarks import models
from tests.benchmarks.recording import LowRank

Examples = tuple[Tensor, Tensor]
HELD = 2048  # examples held in memory at most; a longer run meets them again
LENGTHS = (2, 4, 8)  # thousands of examples of the tables' columns
RANK = 8  # that has the paper's numbers of trained parameters


@dataclass(frozen=True)
class Case:
    """A training run.

    Attributes:
        title: what it is called in tables.
        model: makes the network, frozen where it is not trained.
        examples: makes so many examples, on the CPU.
        batch, rate, steps: size of a batch, learning rate, length of the run.
        guess: milliseconds that a step may take on a large GPU.
        brief: whether only what the paper's tables show is measured.
    """

    title: str
    model: Callable[[], nn.Module]
    examples: Callable[[int], Examples]
    batch: int
    rate: float
    steps: int
    guess: float
    brief: bool = False

    def data(self) -> Examples:
        return self.examples(min(HELD, self.steps * self.batch))

    def network(self, device: torch.device) -> nn.Module:
        """Return the network as it is before training: the same one each time."""
        torch.manual_seed(0)
        with device:
            return self.model()


def cases(toy: bool = False) -> dict[str, Case]:
    """Return what is measured, the most telling first; with ``toy`` all of it small enough for a CPU."""
    side, width, few, many = (16, 4, 2, 4) if toy else (112, 64, 2, 64)
    text = 4 if toy else 50
    images = partial(digits, side)

    def resnet(*blocks: int) -> Callable[[], nn.Module]:
        return partial(models.resnet, "relu", "batch", width, blocks, 4)

    found = {
        "mlp": Case("MLP 784–128–10, batch 100", models.mlp, partial(digits, 28), 100, 1e-3, 1000, 1),
        "resnet18": Case("ResNet18, batch 2", resnet(2, 2, 2, 2), images, few, 5e-4, 100, 10),
        "pythia-70m": Case("Pythia-70M, LoRA, batch 50", partial(pythia, "70m", toy), tokens, text, 1e-4, 40, 20),
        "resnet34": Case("ResNet34, batch 2", resnet(3, 4, 6, 3), images, few, 5e-4, 80, 13),
        "resnet18-64": Case("ResNet18, batch 64", resnet(2, 2, 2, 2), images, many, 5e-4, 40, 10),
        "pythia-160m": Case("Pythia-160M, LoRA, batch 50", partial(pythia, "160m", toy), tokens, text, 1e-4, 40, 70),
        "pythia-410m": Case("Pythia-410M, LoRA, batch 50", partial(pythia, "410m", toy), tokens, text, 1e-4, 10, 200),
    }
    if toy:
        found = {key: replace(case, steps=2, guess=0) for key, case in found.items()}
    return found


def table_cases(toy: bool = False) -> dict[str, Case]:
    """Return the runs of the tables in full length, the shortest first; those measured anyway are left out."""
    found = {
        f"{key}-{length}k": replace(case, steps=3 if toy else 1000 * length // case.batch, brief=True)
        for key, case in cases(toy).items()
        for length in (LENGTHS[:1] if toy else LENGTHS)
        if key in PAPER and 1000 * length // case.batch != case.steps
    }
    return dict(sorted(found.items(), key=lambda item: item[1].steps * item[1].guess))


@dataclass(frozen=True)
class Paper:
    """Seconds of training, of logging and of attribution at 2K, 4K and 8K examples; peak memory in MB."""

    training: tuple[int, int, int]
    logging: tuple[int, int, int]
    attribution: tuple[int, int, int]
    peak: float
    peak_attribution: float


# The paper's Tables 3 and 4, on an A100.
PAPER = {
    "resnet18": Paper((288, 460, 824), (905, 1582, 2903), (208, 406, 820), 350, 1100),
    "resnet34": Paper((299, 503, 907), (1442, 2908, 5538), (466, 850, 1610), 512, 2000),
    "pythia-70m": Paper((31, 55, 104), (36, 66, 120), (44, 101, 181), 875, 1300),
    "pythia-160m": Paper((88, 164, 312), (101, 183, 346), (129, 248, 448), 2400, 2400),
    "pythia-410m": Paper((271, 511, 979), (297, 547, 1049), (447, 873, 1497), 6400, 6400),
}


@cache
def digits(side: int, count: int) -> Examples:
    """Return the first digits, drawn with ``side`` by ``side`` pixels."""
    data = all_digits()
    images = torch.tensor(data.image.values[:count])[:, None]
    return F.interpolate(images, (side, side), mode="bilinear"), torch.tensor(data.label.values[:count])


@cache
def all_digits() -> xr.Dataset:
    return datasets.mnist10k()


@cache
def tokens(count: int) -> Examples:
    """Return texts of 128 random tokens, each of one of two classes."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(64, (count, 128), generator=generator), torch.randint(2, (count,), generator=generator)


SIZES = {"70m": (512, 6, 8), "160m": (768, 12, 12), "410m": (1024, 24, 16)}  # width, layers, heads


class Pythia(nn.Module):
    """A GPT-NeoX of random weights that classifies texts; corrections of rank 8 and the head are trained."""

    def __init__(self, width: int, layers: int, heads: int, vocabulary: int = 50304) -> None:
        super().__init__()
        from transformers import GPTNeoXConfig, GPTNeoXModel  # an extra, which takes seconds to import

        config = GPTNeoXConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=4 * width,
            use_cache=False,
        )
        self.base = GPTNeoXModel(config).requires_grad_(False)
        for layer in self.base.layers:
            layer.attention.query_key_value = LowRank(layer.attention.query_key_value, RANK)
        self.score = nn.Linear(width, 2, bias=False)

    def forward(self, texts: Tensor) -> Tensor:
        return self.score(self.base(texts).last_hidden_state[:, -1])


def pythia(size: str, toy: bool = False) -> nn.Module:
    return Pythia(16, 1, 2, 64) if toy else Pythia(*SIZES[size])
