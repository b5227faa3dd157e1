"""Text of three sources and a small Transformer: the protocol of Table 2 on texts that come with Python."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import logging
import unicodedata
from collections.abc import Callable
from functools import cache
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from tests.paper.runs import Batch, Development
from tests.paper.settings import Scale, Setting, staged

LENGTH = 32  # characters of an example
WIDTH = 32


@cache
def texts() -> dict[str, Tensor]:
    """Return texts that come with Python, as characters (n, LENGTH): its manual, its sources, Unicode's names."""
    kinds = {
        "manual": "\n".join(topics[name] for name in sorted(topics)),
        "sources": "\n".join(inspect.getsource(module) for module in (argparse, dataclasses, logging)),
        "names": "\n".join(unicodedata.name(chr(code), "") for code in range(0x20, 0x3000)),
    }
    tokens = {name: torch.tensor([*text.encode("ascii", "replace")]) for name, text in kinds.items()}
    return {name: row[: len(row) // LENGTH * LENGTH].reshape(-1, LENGTH) for name, row in tokens.items()}


class Reader(nn.Module):
    """A small causal Transformer: scores of the next character (n, length, 128) for characters (n, length)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.characters, self.places = nn.Embedding(128, width), nn.Embedding(LENGTH, width)
        layer = nn.TransformerEncoderLayer(width, 2, 2 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.scores = nn.Linear(width, 128)

    def forward(self, tokens: Tensor) -> Tensor:
        length = tokens.shape[1]
        later = torch.ones(length, length, dtype=torch.bool).triu(1)
        return self.scores(self.layers(self.characters(tokens) + self.places.weight[:length], mask=later))


def next_character(model: Callable[..., Tensor], batch: Batch) -> Tensor:
    """Return the mean −log p of the characters of each example but the first, (B,)."""
    (tokens,) = batch
    return F.cross_entropy(model(tokens)[:, :-1].transpose(1, 2), tokens[:, 1:], reduction="none").mean(1)


def writings(folder: Path, seed: int, scale: Scale) -> Development:
    """A Transformer and text of three sources; test pieces, and those it was pretrained on, are in no stage."""
    draw, train, tests, rest = np.random.default_rng(seed), {}, {}, []
    torch.manual_seed(seed)
    model = Reader(WIDTH)
    for name, pieces in texts().items():
        shuffled = pieces[torch.as_tensor(draw.permutation(len(pieces)))]
        own, asked, left = shuffled.tensor_split((scale.examples, scale.examples + scale.tests))
        train[name], tests[name] = (own,), (asked,)
        rest.append(left)
    pretrain(model, torch.cat(rest), draw, scale)
    return staged(model, train, tests, scale, losses=next_character, metric="token_log_likelihood")


def pretrain(model: nn.Module, pieces: Tensor, draw: np.random.Generator, scale: Scale) -> None:
    """Train on pieces of all sources mixed, with Adam, as many steps as the scale says."""
    optimizer = torch.optim.Adam(model.parameters(), 0.003)
    for _ in range(scale.pretraining):
        rows = torch.as_tensor(draw.choice(len(pieces), scale.batch))
        optimizer.zero_grad()
        next_character(model, (pieces[rows],)).mean().backward()
        optimizer.step()


ABOUT = """Python's manual, three of its modules' sources, Unicode's names of characters; pieces of 32 characters, width
32, two layers. Effects are nats a character."""
SCALE = Scale(examples=1000, batch=50, tests=200, rate=0.1, seeds=2)
FROM_SCRATCH = Setting(
    "Text of three sources, a Transformer", f"{ABOUT} From random weights, as none of the paper's.", writings, SCALE
)
PRETRAINED = Setting(
    "Text of three sources, a pretrained Transformer",
    f"{ABOUT} Pretrained with Adam on other pieces of all three sources, 1,000 steps of 50; as in the paper the rate of"
    " the stages is then a lower one.",
    writings,
    SCALE._replace(rate=0.01, pretraining=1000, seeds=1),
)
