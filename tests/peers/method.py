"""What runs in a peer's own environment: one method on one task, in a process of its own, which needs no aadsl.

``python -m tests.peers.NAME FOLDER METHOD OUT`` reads the task in FOLDER, trains plainly for comparison, lets the
method answer, and writes to OUT, as JSON, what it scored and what that took. A method's code is what a user would
write, between two comments; its lines are counted.
"""

from __future__ import annotations

import gc
import inspect
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tests.benchmarks.memory import peak_bytes
from tests.peers.task import Task

BEGIN, END = "# user code", "# end of user code"
TWICE_BELOW = 2.0
"""Seconds: who is faster is run twice, and the second time counts: the first use of a thing is nobody's price."""


@dataclass(frozen=True)
class Method:
    """One way of a library to answer.

    Attributes:
        act: takes the task and an empty folder; returns (behaviors, examples or steps) scores.
        truth: which truth it claims to estimate, ``skip`` or ``zero_gradient``.
        how: what of it was used, in a few words.
        trains: whether it trains on its own; else the training, whose checkpoints it reads, is added to its cost.
        nats: whether a score has a unit and a scale; else only its correlations say something.
        written: the function whose lines a user writes, where it is not ``act``.
    """

    act: Callable[[Task, Path], Tensor]
    truth: str
    how: str
    trains: bool = False
    nats: bool = True
    written: Callable[..., Tensor] | None = None

    @property
    def lines(self) -> int:
        """How many lines a user writes."""
        source = inspect.getsource(self.written or self.act)
        own = source.split(BEGIN, 1)[1].split(END, 1)[0].splitlines()
        return sum(bool(line.strip()) and not line.strip().startswith("#") for line in own)


def main(methods: dict[str, Method]) -> None:
    folder, name, out = sys.argv[1:]
    torch.set_num_threads(1)
    Path(out).write_text(json.dumps(measured(methods[name], Task.read(Path(folder)))))


def measured(method: Method, task: Task) -> dict[str, object]:
    """Return the scores of the steps, CPU seconds and the peak of memory, of plain training and of the method."""
    plain = min(cpu_seconds(lambda: retrained(task)) for _ in range(3))
    before = peak_bytes()
    taken, scores = answered(method, task)
    memory = peak_bytes()
    if taken < TWICE_BELOW:
        taken, scores = answered(method, task)
    return {
        "scores": task.per_step(scores).double().tolist(),
        "plain_seconds": plain,
        "seconds": taken + (0.0 if method.trains else plain),
        "plain_memory": before,
        "memory": memory,
    }


def retrained(task: Task) -> None:
    """Train plainly; the end must be the task's."""
    model = task.model()
    task.train(model)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, task.states[-1][name], msg=f"trained here, {name} ends elsewhere")


def answered(method: Method, task: Task) -> tuple[float, Tensor]:
    """Return the seconds that a method takes, and its scores."""
    found: list[Tensor] = []
    with tempfile.TemporaryDirectory() as folder:
        taken = cpu_seconds(lambda: found.append(method.act(task, Path(folder))))
    return taken, found[0].detach()


def cpu_seconds(act: Callable[[], object]) -> float:
    """Return the processor's seconds, those of processes that were started and have ended included."""
    gc.collect()
    before = spent()
    act()
    return spent() - before


def spent() -> float:
    return time.process_time() + os.times().children_user + os.times().children_system
