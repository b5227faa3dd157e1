"""Changes planted at a single step of a run: none may lead to a wrong number without a mark."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tests.situations.harness import Situation, Try, batch, cross_entropy, dropout, rows
from tests.situations.loops import smoothed

LENGTHS = 40, 300, 1000
KINDS = "weights", "data of weights", "optimizer", "batch", "loss", "gradient", "mode", "generator", "learning rate"


@dataclass(frozen=True)
class Plant:
    """One change.

    Attributes:
        kind: of ``KINDS``.
        step: where.
        length: of the run.
        stage: first of the four steps that the question is about.
        optimizer: ``"SGD"`` or ``"Adam"``.
    """

    kind: str
    step: int
    length: int
    stage: int
    optimizer: str

    @property
    def situation(self) -> Situation:
        """A run with this change."""
        return Situation(self.loop, skipped=range(self.stage, self.stage + 4), model=dropout)

    def loop(self, run: Try) -> nn.Module:
        """Train, with the change."""
        net = dropout()
        torch.manual_seed(7)
        kinds: dict[str, Callable[[], torch.optim.Optimizer]] = {
            "SGD": lambda: torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9),
            "Adam": lambda: torch.optim.Adam(net.parameters(), lr=0.003),
        }
        optimizer = kinds[self.optimizer]()
        recorder = run.recorder(net, optimizer)
        for step in range(self.length):
            here = self.kind if step == self.step else ""
            self._change(here, net, optimizer)
            optimizer.zero_grad()
            used = batch(step + (here == "batch"))
            loss: Tensor = 2 * smoothed(net, used) if here == "loss" else cross_entropy(net, used)
            loss.backward()
            recorder.batch(indices=rows(step))
            if here == "gradient":
                for parameter in net.parameters():
                    parameter.grad.mul_(-1)
            run.step(optimizer)
            net.train()
            optimizer.param_groups[0]["lr"] = {"SGD": 0.02, "Adam": 0.003}[self.optimizer]
        recorder.close()
        return net

    @staticmethod
    def _change(kind: str, net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        if kind == "weights":
            with torch.no_grad():
                net[0].weight.add_(0.3 * torch.randn(8, 6, generator=torch.Generator().manual_seed(1)))
        elif kind == "data of weights":
            net[0].weight.data *= 1.5
        elif kind == "optimizer":
            for slots in optimizer.state.values():
                for value in slots.values():
                    if isinstance(value, Tensor) and value.dim():
                        value.mul_(4)
        elif kind == "mode":
            net.eval()
        elif kind == "generator":
            torch.rand(3)
        elif kind == "learning rate":
            optimizer.param_groups[0]["lr"] *= 10


def plants(count: int, seed: int, lengths: tuple[int, ...] = LENGTHS) -> Iterator[Plant]:
    """Yield random changes; the kinds and lengths take turns."""
    draw = random.Random(seed)
    for number in range(count):
        length = lengths[number // len(KINDS) % len(lengths)]
        yield Plant(
            KINDS[number % len(KINDS)],
            draw.randrange(1, length),
            length,
            draw.randrange(0, length - 4),
            draw.choice(["SGD", "Adam"]),
        )
