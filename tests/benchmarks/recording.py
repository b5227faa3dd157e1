"""Cost of recording, as ratios to plain training in the same run: ``python -m tests.benchmarks.recording [names]``.

Two copies of a model train side by side, a block of plain steps, then a block of recorded steps, so that a noisy
machine meets both alike. After each recorded block the recorder is made to finish its background work, and that is
charged to recording; that is harsher than a real run, where it overlaps with the next steps.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from aadsl import Recorder, datasets
from tests.benchmarks import models
from tests.benchmarks.memory import peak_bytes


@dataclass(frozen=True)
class Case:
    """A training run: model, batches, and how many steps in blocks of how many."""

    model: Callable[[], nn.Module]
    batch: Callable[[int], tuple[Tensor, Tensor]]
    rate: float
    steps: int
    block: int
    target: float


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


def digits(size: int) -> Callable[[int], tuple[Tensor, Tensor]]:
    data = datasets.mnist10k()
    images = torch.from_numpy(data["image"].values).float().div(255).unsqueeze(1)
    labels = torch.from_numpy(data["label"].values).long()
    return lambda step: (images[torch.arange(step * size, (step + 1) * size) % 10_000],
                         labels[torch.arange(step * size, (step + 1) * size) % 10_000])  # fmt: skip


def text(step: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    return torch.randint(8000, (8, 64), generator=generator), torch.randint(10, (8,), generator=generator)


def cases() -> dict[str, Case]:
    return {
        "mlp": Case(models.mlp, digits(100), 0.01, 8000, 1000, 1.15),
        "resnet18": Case(lambda: models.resnet18(64), digits(64), 0.001, 200, 5, 1.05),
        "lora": Case(Transformer, text, 0.01, 120, 5, 1.05),
    }


class Training:
    """A model that takes blocks of steps, recorded or not."""

    def __init__(self, case: Case, folder: Path | None) -> None:
        torch.manual_seed(0)
        self.case, self.step, self.times, self.cpu = case, 0, [], 0.0
        self.model = case.model()
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.SGD(trained, lr=case.rate, momentum=0.9)
        start = time.perf_counter()
        self.recorder = None if folder is None else Recorder(folder, self.model, self.optimizer)
        self.overhead = time.perf_counter() - start

    def block(self, count: int) -> float:
        start, cpu = time.perf_counter(), time.process_time()
        for _ in range(count):
            inputs, targets = self.case.batch(self.step)
            self.optimizer.zero_grad()
            loss = F.cross_entropy(self.model(inputs), targets)
            loss.backward()
            if self.recorder is not None:
                indices = torch.arange(self.step * len(inputs), (self.step + 1) * len(inputs)) % 10_000
                self.recorder.batch(indices=indices, tag="clean", loss=loss)
            self.optimizer.step()
            self.step += 1
        if self.recorder is not None:
            self.recorder.flush()
        self.times.append(time.perf_counter() - start)
        self.cpu += time.process_time() - cpu
        return self.times[-1]


def measure(case: Case, steps: int) -> str:
    folder = Path(tempfile.mkdtemp(prefix="aadsl-bench-"))
    try:
        Training(case, None).block(min(20, case.block))  # warm up
        plain, recorded = Training(case, None), Training(case, folder / "run")
        for _ in range(steps // case.block):
            plain.block(case.block)
            recorded.block(case.block)
        start = time.perf_counter()
        recorded.recorder.close()
        closing = time.perf_counter() - start + recorded.overhead
        ratios = [after / before for before, after in zip(plain.times, recorded.times, strict=True)]
        stored = sum(1 for _ in (folder / "run").glob("state-*.nc"))
        size = sum(file.stat().st_size for file in (folder / "run").iterdir())
        state = max(file.stat().st_size for file in (folder / "run").glob("state-*.nc"))
        total = (sum(recorded.times) + closing) / sum(plain.times)
        return (
            f"{sum(plain.times) / steps * 1e3:8.2f} ms a step   recorded: {total:.3f} of all, median block"
            f" {median(ratios):.3f}, processor time {recorded.cpu / plain.cpu:.3f} (target {case.target})"
            f"   states: {stored} (bound {2 * sqrt(steps) + 2:.0f})"
            f"   disk: {size / 1e6:.1f} MB = {size / state:.1f} states"
        )
    finally:
        shutil.rmtree(folder)


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
    with tempfile.TemporaryDirectory(prefix="aadsl-bench-") as folder:
        training = Training(case, Path(folder) / "run" if recorded else None)
        training.block(min(60, 2 * case.block))
        if training.recorder is not None:
            training.recorder.close()
    return peak_bytes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(cases()))
    parser.add_argument("--steps", type=int, help="instead of each case's own number")
    parser.add_argument("--peak", choices=["plain", "recorded"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak:
        print(train_for_peak(cases()[arguments.names[0]], arguments.peak == "recorded"))
        return
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, torch {torch.__version__}", flush=True)
    for name in arguments.names:
        case = cases()[name]
        print(f"{name:9}", measure(case, arguments.steps or case.steps), flush=True)
        plain, recorded = peak(name, False), peak(name, True)
        print(f"{'':9} peak memory {plain / 1e6:.0f} MB, recorded {recorded / plain:.3f} of it", flush=True)


if __name__ == "__main__":
    main()
