"""The least that recording can cost: facts noted by hand, for one MLP: ``python -m tests.benchmarks.bare_recording``.

Nothing is written, checked or matched; no other optimizer, model or loop would work. Each step notes what a recorder
has to ask PyTorch for: the state of the random generator and the modes before the forward pass, whether its output is
differentiated and in which backward pass gradients came, the loss, the versions of the parameters before and after the
step, a sample of them, the hyperparameters and a copy of the indices. Beside it the recorder, in the same rounds.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from aadsl.trajectory import Recorder
from tests.benchmarks import models
from tests.benchmarks.recording import REPORT, TITLE, digits
from tests.benchmarks.report import write_section

BATCH = digits(100)
TASK = torch._C._current_graph_task_id


class Bare:
    """Notes of every step what a recorder asks PyTorch for."""

    def __init__(self, model: nn.Module, optimizer: Optimizer) -> None:
        self.rows: list[Any] = []
        self.parameters = list(model.parameters())
        self.modules = list(model.modules())
        self.sample = min(self.parameters, key=Tensor.numel)
        self.keys = [key for key, value in optimizer.defaults.items() if isinstance(value, (bool, int, float))]
        self.row: list[Any] = []
        self.hooks = [
            model.register_forward_pre_hook(self.forward),
            model.register_forward_hook(self.output),
            self.sample.register_post_accumulate_grad_hook(self.gradient),  # type: ignore[no-untyped-call]
            register_optimizer_step_pre_hook(self.before),
            register_optimizer_step_post_hook(self.after),
        ]

    def batch(self, indices: Tensor) -> None:
        self.row = [indices.numpy().copy()]

    def forward(self, model: nn.Module, args: Any) -> None:
        state = torch.default_generator.get_state().numpy().tobytes()
        self.row += [state, model.training, [m.training for m in self.modules], torch.is_autocast_enabled("cpu")]

    def output(self, model: nn.Module, args: Any, output: Tensor) -> None:
        output.register_hook(self.differentiated)  # type: ignore[no-untyped-call]

    def differentiated(self, gradient: Tensor) -> None:
        self.row.append(TASK())

    def gradient(self, parameter: Tensor) -> None:
        self.row += [TASK(), parameter.grad._version]  # type: ignore[union-attr]

    def before(self, optimizer: Optimizer, *given: Any) -> None:
        group = optimizer.param_groups[0]
        self.row += [[p._version for p in self.parameters], [group[key] for key in self.keys]]

    def after(self, optimizer: Optimizer, *given: Any) -> None:
        self.row += [[p._version for p in self.parameters], self.sample.detach().clone(), time.monotonic()]
        self.rows.append(self.row)


@contextmanager
def losses_seen(bare: Bare | None) -> Iterator[None]:
    """Note what ``backward()`` is called on."""
    plain = torch.autograd.backward

    def seen(tensors: Any, *given: Any, **named: Any) -> None:
        assert bare is not None
        bare.row.append(tensors.item())
        plain(tensors, *given, **named)

    if bare is not None:
        torch.autograd.backward = seen
    try:
        yield
    finally:
        torch.autograd.backward = plain


def train(how: str, steps: int, folder: Path) -> float:
    """Return the seconds of the training's own thread, a step."""
    torch.manual_seed(0)
    model = models.mlp()
    optimizer = SGD(model.parameters(), lr=0.01, momentum=0.9)
    bare = Bare(model, optimizer) if how == "bare" else None
    recorder = Recorder(folder, model, optimizer) if how == "recorded" else None
    with losses_seen(bare):
        begun = time.thread_time()
        for step in range(steps):
            indices, inputs, targets = BATCH(step)
            if bare is not None:
                bare.batch(indices)
            if recorder is not None:
                recorder.batch(indices=indices)
            optimizer.zero_grad()
            cross_entropy(model(inputs), targets).backward()
            optimizer.step()
        seconds = time.thread_time() - begun
    for hook in bare.hooks if bare is not None else ():
        hook.remove()
    if recorder is not None:
        recorder.close()
    return seconds / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, list[float]] = {"bare": [], "recorded": []}
    plain = []
    with tempfile.TemporaryDirectory(prefix="aadsl-bench-") as root:
        folder = Path(root) / "run"
        train("plain", arguments.steps // 10, folder)
        for _ in range(arguments.rounds):
            for how, ratios in found.items():
                shutil.rmtree(folder, ignore_errors=True)
                before, own, after = (train(kind, arguments.steps, folder) for kind in ("plain", how, "plain"))
                plain += [before, after]
                ratios.append(2 * own / (before + after))
    lines = ["| | of plain training |\n| --- | ---: |"]
    for how, ratios in found.items():
        lines.append(f"| {how} | {median(ratios):.3f} × ({', '.join(f'{ratio:.3f}' for ratio in ratios)}) |")
    about = (
        f"The training's own thread, {arguments.steps:,} steps of {1e6 * median(plain):.0f} µs of an MLP. *Bare* notes "
        "by hand what a recorder has to ask PyTorch for, and nothing else: below that no recorder of these facts comes."
    )
    write_section(REPORT, TITLE, "bare", about, lines)
    print("\n".join([about, *lines]))


if __name__ == "__main__":
    main()
