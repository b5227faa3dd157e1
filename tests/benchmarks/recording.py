"""Cost of recording, as ratios to plain training in the same run: ``python -m tests.benchmarks.recording [names]``.

Every round trains plainly, recorded and plainly again, so that a machine that grows slower meets both alike. Recording
includes making the folder, and everything on disk by the time of ``close()``. What a round recorded is deleted before
the next. With ``--disk 1`` states go to a disk of 1 MB/s; then what ``close()`` takes is told apart. Runs that are
measured as they are get their rows in recording.md beside this file; the others, and what else is noted there, stay.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from aadsl import datasets
from aadsl.trajectory import Recorder
from aadsl.trajectory.store.states import StateWriter
from aadsl.trajectory.store.tensors import Packed
from tests.benchmarks import models
from tests.benchmarks.cost import Batch, fit
from tests.benchmarks.memory import peak_bytes
from tests.benchmarks.report import rows_of, stamp, when, write_section

REPORT, TITLE = Path(__file__).with_suffix(".md"), "What recording costs, as ratios to plain training in the same run"
HEAD = """\
| run | plain | recorded, median (rounds) | processor time | peak memory | states | disk | asked |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |"""


@dataclass(frozen=True)
class Case:
    """A training run: model, batches (indices, inputs, targets of a step), learning rate, how many steps."""

    title: str
    model: Callable[[], nn.Module]
    batch: Callable[[int], Batch]
    rate: float
    steps: int
    target: float

    def row(self, steps: int) -> str:
        """Return what a row of the table is called."""
        return f"{self.title}, {steps:,} steps"


class LowRank(nn.Module):
    """A frozen linear layer with a trainable correction of rank 8."""

    def __init__(self, base: nn.Linear, rank: int = 8) -> None:
        super().__init__()
        self.base = base
        self.down = nn.Parameter(torch.randn(rank, base.in_features) / base.in_features**0.5)
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + F.linear(F.linear(x, self.down), self.up)


class Transformer(nn.Module):
    """23 M parameters, 6 layers; only the low-rank corrections of the feed-forward layers are trained."""

    def __init__(self, vocabulary: int = 8000, width: int = 512) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        layer = nn.TransformerEncoderLayer(width, 8, 4 * width, batch_first=True, dropout=0.1)
        self.layers = nn.TransformerEncoder(layer, 6, enable_nested_tensor=False)
        self.head = nn.Linear(width, 10)
        self.requires_grad_(False)
        for block in self.layers.layers:
            block.linear1, block.linear2 = LowRank(block.linear1), LowRank(block.linear2)
        self.head.requires_grad_(True)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.layers(self.embed(tokens)).mean(1))


def digits(size: int) -> Callable[[int], Batch]:
    data = datasets.mnist10k()
    images = torch.from_numpy(data["image"].values).float().div(255).unsqueeze(1)
    labels = torch.from_numpy(data["label"].values).long()

    def batch(step: int) -> Batch:
        indices = torch.arange(step * size, (step + 1) * size) % len(labels)
        return indices, images[indices], labels[indices]

    return batch


def text(step: int) -> Batch:
    generator = torch.Generator().manual_seed(step)
    indices = torch.arange(8 * step, 8 * step + 8)
    return indices, torch.randint(8000, (8, 64), generator=generator), torch.randint(10, (8,), generator=generator)


def cases() -> dict[str, Case]:
    return {
        "mlp": Case("MLP 784–128–10", models.mlp, digits(100), 0.01, 8000, 1.15),
        "resnet18": Case("ResNet-18, width 64", lambda: models.resnet18(64), digits(64), 0.001, 150, 1.05),
        "lora": Case("Transformer of 23 M parameters with low-rank adapters", Transformer, text, 0.01, 150, 1.05),
        "large": Case("MLP of 10 M parameters", wide_mlp, digits(100), 0.001, 200, 1.05),
    }


def wide_mlp() -> nn.Module:
    """10 M parameters: states of 80 MB."""
    sizes = [784, 3000, 2500, 10]
    layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *layers[:-1])


def train(case: Case, steps: int, folder: Path | None) -> tuple[float, float]:
    """Train, recorded into ``folder`` if there is one; return seconds and seconds of processor time, all included."""
    torch.manual_seed(0)
    model = case.model()
    start, cpu = time.perf_counter(), time.process_time()
    fit(model, case.rate, case.batch, steps, folder)
    return time.perf_counter() - start, time.process_time() - cpu


def slow_disk(rate: float) -> list[float]:
    """Let states be written at ``rate`` MB/s; return where the seconds are added that each ``close()`` takes."""
    write, close, closing = StateWriter.write, Recorder.close, []

    def slowly(writer: StateWriter, step: int, packed: Packed) -> None:
        time.sleep(packed.nbytes / (1e6 * rate))
        write(writer, step, packed)

    def timed(recorder: Recorder) -> None:
        begun = time.perf_counter()
        close(recorder)
        closing.append(time.perf_counter() - begun)

    StateWriter.write, Recorder.close = slowly, timed
    return closing


@dataclass
class Measured:
    """What a case took: milliseconds a plain step, ratios of each round, bytes of states and of all files."""

    case: Case
    steps: int
    plain: float
    ratios: list[float]
    cpu_ratios: list[float]
    states: list[int]
    disk: int

    def line(self, memory: float) -> str:
        """Return it as a row of the table, with the peak memory as a ratio to plain training."""
        each = ", ".join(f"{ratio:.3f}" for ratio in self.ratios)
        cells = (
            self.case.row(self.steps),
            f"{self.plain:.3g} ms a step",
            f"{median(self.ratios):.3f} × ({each})",
            f"{median(self.cpu_ratios):.2f} ×",
            f"{memory:.2f} ×",
            f"{len(self.states)}",
            f"{self.disk / 1e6:,.1f} MB",
            when(len(self.ratios)),
        )
        return f"| {' | '.join(cells)} |"


def measure(case: Case, steps: int, rounds: int, closing: list[float] | None = None) -> Measured:
    with tempfile.TemporaryDirectory(prefix="aadsl-bench-") as root:
        train(case, max(5, steps // 20), None)  # warm up
        plain, ratios, cpu_ratios = [], [], []
        folder = Path(root) / "run"
        for _ in range(rounds):
            shutil.rmtree(folder, ignore_errors=True)
            before, recorded, after = (train(case, steps, to) for to in (None, folder, None))
            plain += [before[0], after[0]]
            apart = closing[-1] if closing else 0.0
            ratios.append(2 * (recorded[0] - apart) / (before[0] + after[0]))
            cpu_ratios.append(2 * recorded[1] / (before[1] + after[1]))
        disk = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
        states = [file.stat().st_size for file in folder.glob("state-*.nc")]
    return Measured(case, steps, 1e3 * median(plain) / steps, ratios, cpu_ratios, states, disk)


def peak(name: str, recorded: bool) -> int:
    """Train a few blocks in a process of its own; return its peak memory in bytes."""
    arguments = [
        sys.executable,
        "-m",
        "tests.benchmarks.recording",
        name,
        "--peak",
        "recorded" if recorded else "plain",
    ]
    return int(subprocess.run(arguments, capture_output=True, text=True, check=True).stdout)


def train_for_peak(case: Case, recorded: bool) -> int:
    with tempfile.TemporaryDirectory(prefix="aadsl-bench-") as root:
        train(case, min(60, case.steps // 10), Path(root) / "run" if recorded else None)
    return peak_bytes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(cases()))
    parser.add_argument("--steps", type=int, help="instead of each case's own number")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch")
    parser.add_argument("--disk", type=float, help="MB/s at which states are written")
    parser.add_argument("--peak", choices=["plain", "recorded"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak:
        print(train_for_peak(cases()[arguments.names[0]], arguments.peak == "recorded"))
        return
    torch.set_num_threads(arguments.threads)
    print(f"{stamp()}\n\n{HEAD}", flush=True)
    closing = slow_disk(arguments.disk) if arguments.disk else None
    rows = rows_of(REPORT, "ratios")
    for name in arguments.names:
        case = cases()[name]
        found = measure(case, arguments.steps or case.steps, arguments.rounds, closing)
        row = case.row(found.steps)
        rows[row] = found.line(peak(name, True) / peak(name, False))
        wanted = f"target {case.target}, at most {2 * sqrt(found.steps) + 2:.0f} states"
        print(rows[row], wanted, f"close(): {median(closing):.1f} s" if closing else "", flush=True)
    if not arguments.steps and not arguments.disk:
        about = "Medians of rounds, each of which trains plainly, recorded, and plainly again."
        names = [case.row(case.steps) for case in cases().values()]
        write_section(REPORT, TITLE, "ratios", about, [HEAD, *(rows[name] for name in names if name in rows)])


if __name__ == "__main__":
    main()
