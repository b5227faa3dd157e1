"""The protocol of the paper's Tables 2 and 6, three jobs of training, on data that are at hand."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import logging
import unicodedata
from collections.abc import Callable, Iterator
from functools import cache
from pydoc_data.topics import topics
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from tests.benchmarks.fidelity import digits, rotated
from tests.benchmarks.models import resnet
from tests.paper.agreement import AA_SCORE, TITLES, Agreement, compared
from tests.paper.keeping import Part, spread, table
from tests.paper.runs import Batch, Development, Job, in_order

LENGTH = 32  # characters of an example
ESTIMATES = (AA_SCORE, "blocks", "linearized")


class Scale(NamedTuple):
    """How large everything is."""

    seeds: int = 2
    steps: int = 20
    batch: int = 50
    tests: int = 200
    width: int = 8


SMALL = Scale(seeds=1, steps=2, batch=4, tests=8, width=4)


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


def development(model: nn.Module, train: dict, tests: dict, batches: list, rate: float, **more) -> Development:
    """Return jobs that follow on each other, each a stage, momentum 0.9 and weight decay 1e-5."""
    jobs = [Job(name, data, batches, rate) for name, data in train.items()]
    stages = {name: range(k * len(batches), (k + 1) * len(batches)) for k, name in enumerate(train)}
    return Development(model, jobs, stages, tests, **more)


def pictures(seed: int, scale: Scale) -> Development:
    """A ResNet and digits of three looks; each stage has digits of its own, and all the same test digits."""
    images, labels = digits()
    count, rows = scale.steps * scale.batch, np.random.default_rng(seed).permutation(len(labels))
    torch.manual_seed(seed)
    model = resnet("relu", "batch", scale.width)
    model[0] = nn.Conv2d(3, scale.width, 3, 2, 1, bias=False)
    train = {}
    for k, name in enumerate(("rotated", "colored", "blurred")):
        own = rows[k * count : (k + 1) * count]
        train[name] = (looks(images[own], seed)[name], labels[own])
    held_out = rows[-scale.tests :]
    tests = {name: (shown, labels[held_out]) for name, shown in looks(images[held_out], seed + 100).items()}
    return development(model, train, tests, in_order(count, scale.batch), 0.01)


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


def writings(seed: int, scale: Scale) -> Development:
    """A Transformer and text of three sources; the test pieces of each are in no stage."""
    count, draw = scale.steps * scale.batch, np.random.default_rng(seed)
    torch.manual_seed(seed)
    model, train, tests = Reader(4 * scale.width), {}, {}
    for name, pieces in texts().items():
        rows = torch.as_tensor(draw.permutation(len(pieces)))
        train[name], tests[name] = (pieces[rows[:count]],), pieces[rows[count : count + scale.tests]]
    options = {"losses": next_character, "metric": "token_log_likelihood"}
    return development(model, train, tests, in_order(count, scale.batch), 0.1, **options)


RUNS: dict[str, tuple[Callable[[int, Scale], Development], str]] = {
    "Digits rotated, colored and blurred, a ResNet with BatchNorm": (
        pictures,
        "Three blocks of two convolutions, 8 to 32 channels, learning rate 0.01, other digits in each stage.",
    ),
    "Text of three sources, a Transformer": (
        writings,
        "Python's manual, three of its modules' sources, Unicode's names of characters; pieces of 32 characters, width"
        " 32, two layers, not pretrained, learning rate 0.1. Effects are nats a character. The paper fine-tunes what is"
        " pretrained at 0.0001: that estimates are far off here says nothing of that.",
    ),
}


def run(part: Part) -> None:
    """Measure everything and write the page."""
    part.write("Tables 2 and 6: three stages", [*lines(part, SMALL if part.toy else Scale())])


def lines(part: Part, scale: Scale) -> Iterator[str]:
    """Yield the page."""
    yield from ABOUT.format(**scale._asdict()).splitlines()
    for title, (make, said) in RUNS.items():
        found = [
            part.measured(
                f"{make.__name__}, seed {seed}",
                lambda make=make, seed=seed: compared(make(seed, scale), "restart", ESTIMATES),
            )
            for seed in range(scale.seeds)
        ]
        stages = [*found[0]["exact"]]
        yield from ("", f"## {title}", "", said)
        for measure, name in TITLES.items():
            rows = [[method, *(spread(over_tests(found, method, s, measure)) for s in stages)] for method in ESTIMATES]
            yield from ("", f"{name}:", "", *table(["", *stages], rows))
        cells = [[[one["exact"][s][test][0] for one in found] for s in stages] for test in stages]
        rows = [[f"on {test}", *map(spread, row)] for test, row in zip(stages, cells, strict=True)]
        yield from ("", "Exact effects of the stages, means over test examples:", "", *table(["", *stages], rows))


def over_tests(found: list, method: str, stage: str, measure: str) -> list[float]:
    """Return a measure of agreement for each seed, its mean over the test sets."""
    return [float(np.mean([getattr(Agreement(*v), measure) for v in one[method][stage].values()])) for one in found]


ABOUT = """The paper has CelebA with a ResNet-18, CivilComments with Gemma-3 and Pythia, and three sets of chest X-rays;
**none of these was run here**. What follows is its protocol alone, on smaller networks and on data that come with this
package and with Python, so numbers are not to be set beside its Tables 2 and 6: three jobs follow on each other, a
stage each; a stage is left out, and the next begins with a fresh optimizer from where that one began (appendix E.1);
estimates are correlated with that over the examples of each test set, and averaged over the three test sets.

{steps} steps of {batch} a stage, one epoch; {tests} test examples of each kind; mean ± standard deviation of {seeds}
seeds (another start, other examples). Momentum 0.9 and weight decay 1e-5, as the paper has them."""
