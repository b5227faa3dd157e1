"""What exact answers cost and whether they come by default: ``python -m tests.benchmarks.exact [parts]``.

Ratios to plain training in the same process, CPU time (wall time beside it): what a first question about three stages
takes (verifying and the one control run among it), one about other stages, one about another behavior on the same; what
single steps take on average; and whether the default answers of the networks of ``fidelity`` are exact. Written to
exact.md beside this file, each part in the place of what it found before.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

import aadsl
from aadsl.propagation import rehearse
from tests.benchmarks import models
from tests.benchmarks.fidelity import SETTINGS, digits, loss, poisoned_study, trained
from tests.benchmarks.report import rows_of, when, write_section

REPORT = Path(__file__).with_suffix(".md")
TITLE = "Exact answers: whether they come by default, and what they cost"
SEEDS = (0, 1, 2)


class Network(NamedTuple):
    """What is trained, and for how long."""

    make: Callable[[], nn.Module]
    batch: int
    steps: int
    singles: int


NETWORKS = {
    "MLP 784–128–10": Network(models.mlp, 100, 1000, 100),
    "ResNet-18, width 16": Network(models.resnet18, 32, 300, 20),
    "Transformer, 4 layers of 64": Network(lambda: models.Transformer(width=64, layers=4), 32, 300, 20),
}


class Taken(NamedTuple):
    """Seconds of the processor and of the clock."""

    cpu: float
    wall: float


def seconds(act: Callable[[], object]) -> Taken:
    cpu, wall = time.process_time(), time.perf_counter()
    act()
    return Taken(time.process_time() - cpu, time.perf_counter() - wall)


def optimizer_of(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)


def plain(network: Network, data: tuple[Tensor, Tensor], batches: list) -> None:
    torch.manual_seed(0)
    model = network.make()
    optimizer = optimizer_of(model)
    for rows in batches:
        optimizer.zero_grad()
        loss(model, (data[0][rows], data[1][rows])).backward()
        optimizer.step()


def costs(folder: Path, options: argparse.Namespace) -> Iterator[str]:
    """Three stages are the thirds of the run, the other stages three more of that length; behaviors on 200 digits.

    First: opening, verifying, the control run, three runs. Single steps are spread over the run. Medians; networks that
    a call does not ask about keep their rows.
    """
    yield "| network | plain | first question | other stages | another behavior | a single step | together | asked |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | --- | --- |"
    before = rows_of(REPORT, "costs")
    for name, network in NETWORKS.items():
        if name in options.networks:
            yield f"| {name} | {cost_of(network, folder / name, options.rounds)} |"
        elif name in before:
            yield before[name]


def cost_of(network: Network, folder: Path, rounds: int) -> str:
    """Return the cells of a network's row: medians of the ratios to plain training, of CPU time and wall time."""
    data = digits()
    batches = [np.arange(t * network.batch, (t + 1) * network.batch) % 10_000 for t in range(network.steps)]
    torch.manual_seed(0)
    model = network.make()
    path = trained(folder, model, optimizer_of(model), data, batches)
    found: list[list[Taken]] = []
    plain(network, data, batches[:50])
    for _ in range(rounds):
        shutil.rmtree(f"{path}.effects", ignore_errors=True)
        found.append(asked(path, network, model, data, batches))
    ratios = [
        [median(getattr(row[k], clock) / getattr(row[0], clock) for row in found) for clock in Taken._fields]
        for k in range(1, 5)
    ]
    study = opened(path, model, data)
    together = rehearse(study.history, study.history.step_map, 0, 16)
    return " | ".join(
        [
            f"{median(row[0].wall for row in found):.2f} s, {network.steps} steps",
            *(f"{cpu:.2f} × ({wall:.2f})" for cpu, wall in ratios),
            f"16 at once: {together.gain:.2f} × as fast",
            when(rounds),
        ]
    )


def opened(path: Path, model: nn.Module, data: tuple[Tensor, Tensor]) -> aadsl.Study:
    study = aadsl.Study(aadsl.open_trajectory(path), model=model, loss=loss, data=data, device="cpu", within="1 h")
    study.behavior("digits", "log_likelihood", on=(data[0][:200], data[1][:200]))
    study.behavior("margin", "margin", on=(data[0][200:400], data[1][200:400]))
    study.behavior("right", "accuracy", on=(data[0][:200], data[1][:200]))
    return study


def asked(path: Path, network: Network, model: nn.Module, data: tuple[Tensor, Tensor], batches: list) -> list[Taken]:
    """Return what plain training takes, and each question."""
    before = seconds(lambda: plain(network, data, batches))
    studies: list[aadsl.Study] = []

    def first() -> None:
        study = opened(path, model, data)
        studies.append(study)
        for part in range(3):
            study.stage(f"third {part}", slice(part * network.steps // 3, (part + 1) * network.steps // 3))
        answer = study.score([f"third {part}" for part in range(3)], ["digits", "margin"])
        assert answer.exact.values.all()

    def others() -> None:
        study = studies[0]
        for part in range(3):
            start = (2 + part) * network.steps // 12 if part < 2 else network.steps // 2
            study.stage(f"other {part}", slice(start, start + network.steps // 3))
        assert study.score([f"other {part}" for part in range(3)], ["digits", "margin"]).exact.values.all()

    def singles() -> None:
        study = studies[0]
        steps = np.linspace(0, network.steps - 1, network.singles).astype(int)
        study.family("step", {int(t): [int(t)] for t in steps})
        study.retrain(["step"], ["digits"])

    taken = [seconds(first), seconds(others)]
    taken.append(seconds(lambda: studies[0].score([f"third {part}" for part in range(3)], ["right"])))
    one = seconds(singles)
    taken.append(Taken(one.cpu / network.singles, one.wall / network.singles))
    after = seconds(lambda: plain(network, data, batches))
    return [Taken((before.cpu + after.cpu) / 2, (before.wall + after.wall) / 2), *taken]


def defaults(folder: Path, options: argparse.Namespace) -> Iterator[str]:
    """Default answers to three stages × two behaviors, thirds of 30 steps, on the networks of ``fidelity``."""
    exact = total = 0
    for seed in SEEDS:
        for number, setting in enumerate(SETTINGS):
            study = poisoned_study(folder / f"{seed}-{number}", setting, 30, seed)
            for part in range(3):
                study.stage(f"third {part}", slice(10 * part, 10 * part + 10))
            answer = study.score([f"third {part}" for part in range(3)], ["digits", "backdoor"])
            exact, total = exact + int(answer.exact.sum()), total + answer.exact.size
            shutil.rmtree(folder / f"{seed}-{number}", ignore_errors=True)
    yield f"{exact} of {total} default answers are exact ({len(SETTINGS)} networks, seeds {SEEDS[0]} to {SEEDS[-1]})."


def newcomer(folder: Path, options: argparse.Namespace) -> Iterator[str]:
    """90 steps on digits, SGD 0.05, momentum 0.9: 30 clean ones, 30 with labels shifted by one, 30 at a hundredth."""
    images, labels = (t.squeeze(1) if t.dim() == 4 else t for t in digits())
    shifted = labels.clone()
    shifted[3000:6000] = (shifted[3000:6000] + 1) % 10

    def run(
        skipped: range, recorder: aadsl.Recorder | None, model: nn.Module, optimizer: torch.optim.Optimizer
    ) -> None:
        for t in range(90):
            for group in optimizer.param_groups:
                group["lr"] = 0.05 if t < 60 else 0.0005
            if t not in skipped:
                rows = np.arange(100 * t, 100 * t + 100)
                optimizer.zero_grad()
                loss(model, (images[rows], shifted[rows])).backward()
                if recorder is not None:
                    recorder.batch(indices=rows, ph=("clean", "noisy", "low")[t // 30])
                optimizer.step()

    def fresh() -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        model = models.mlp("relu", 64)
        return model, torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)

    model, optimizer = fresh()
    with aadsl.Recorder(folder / "newcomer", model, optimizer, data=(images, shifted)) as recorder:
        run(range(0), recorder, model, optimizer)
    study = aadsl.Study(
        aadsl.open_trajectory(folder / "newcomer"), model=model, loss=loss, data=(images, shifted), device="cpu"
    )
    study.stage("noisy", study.steps["ph"] == "noisy")
    for digit in (2, 5):
        own = labels == digit
        study.behavior(f"digit[{digit}]", "log_likelihood", on=(images[own], labels[own]))
    answer = study.score(["noisy"], ["digit[2]", "digit[5]"])
    other, optimizer = fresh()
    run(range(30, 60), None, other, optimizer)
    yield "| noisy → | by default | plain loop by hand | first_order |"
    yield "| --- | ---: | ---: | ---: |"
    estimate = study.score(["noisy"], ["digit[2]", "digit[5]"], estimator="first_order")
    for digit in (2, 5):
        own = labels == digit
        with torch.no_grad():
            values = [torch.log_softmax(net(images[own]), 1)[:, digit].double().mean().item() for net in (model, other)]
        name = f"digit[{digit}]"
        numbers = (
            answer.effect.sel(behavior=name).item(),
            values[0] - values[1],
            estimate.effect.sel(behavior=name).item(),
        )
        yield f"| {name} | {numbers[0]:+.4f} | {numbers[1]:+.4f} | {numbers[2]:+.4f} |"


PARTS = {"costs": costs, "defaults": defaults, "newcomer": newcomer}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=list(PARTS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS), help="of the costs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.parts:
        lines = []
        with tempfile.TemporaryDirectory() as folder:
            for line in PARTS[name](Path(folder), options):
                sys.stdout.write(line + "\n")
                sys.stdout.flush()
                lines.append(line)
        write_section(REPORT, TITLE, name, PARTS[name].__doc__ or "", lines)


if __name__ == "__main__":
    main()
