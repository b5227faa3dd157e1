"""What sweeps cost, as ratios to plain training in the same run: ``python -m tests.benchmarks.attribution [names]``.

For each network and curvature: one behavior for all steps, from the states that recording keeps, the replay included;
each further behavior (a sweep for two, less one for one); the peak memory of a process that does it. In the end the
time in which a stage of a long run is defined anew and ``study.score`` answers, the sweep being done. Where all
networks are measured, both are written to attribution.md beside this file, and what is noted there besides stays.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from unittest.mock import patch

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

import aadsl
from aadsl.estimators import ESTIMATORS
from aadsl.estimators.additive import StepEffects
from aadsl.propagation import CURVATURES
from tests.benchmarks import models
from tests.benchmarks.cost import Case, digits, opened, scratch, train
from tests.benchmarks.memory import peak_bytes
from tests.benchmarks.report import ROOT, stamp, write_section

CASES = {
    "mlp": Case("MLP 784–128–10", models.mlp, 0.001, 4000),
    "resnet18": Case("ResNet-18, width 16", models.resnet18, 0.001, 49),
    "transformer": Case("Transformer, 4 layers", lambda: models.Transformer(width=64, layers=4), 0.001, 100),
}
PROBES = 100  # digits that a behavior is evaluated on: as much as one step
REPORT, TITLE = Path(__file__).with_suffix(".md"), "What sweeps cost, as ratios to plain training in the same run"
HEAD = "| network | curvature | first behavior | each further | peak memory |\n| --- | --- | ---: | ---: | ---: |"
CHOICES = ("zero", "one_sided_difference", "central_difference", "exact")


def sweep(case: Case, data: tuple[Tensor, Tensor], run: Path, curvature: str, behaviors: int) -> None:
    study = opened(case, data, run)
    for name, start in (("digits", 0), ("others", PROBES)):
        study.behavior(name, "log_likelihood", on=tuple(part[start : start + PROBES] for part in data))
    method = ESTIMATORS["first_order"](curvature=CURVATURES[curvature]())
    study.step_effects(["digits", "others"][:behaviors], estimator=method)


def seconds(act: Callable[[], object]) -> float:
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def measure(name: str, case: Case, rounds: int) -> list[str]:
    """Return the table's lines; every sweep is compared with plain training before and after it."""
    data = digits()
    ratios: dict[tuple[str, int], list[float]] = {(c, n): [] for c in CHOICES for n in (1, 2)}
    with scratch() as root:
        train(case, data, case.steps, root / "run")
        plain = [seconds(lambda: train(case, data, case.steps))]
        for _ in range(rounds):
            for curvature, count in ratios:
                # Effects are kept beside the run: they must not be found there.
                shutil.rmtree(root / "run.effects", ignore_errors=True)
                act = seconds(lambda c=curvature, n=count: sweep(case, data, root / "run", c, n))
                plain.append(seconds(lambda: train(case, data, case.steps)))
                ratios[curvature, count].append(2 * act / (plain[-2] + plain[-1]))
        baseline = peak(name, "plain", root)
        lines = []
        for curvature in CHOICES:
            one, two = ratios[curvature, 1], ratios[curvature, 2]
            further = median(b - a for a, b in zip(one, two, strict=True))
            shutil.rmtree(root / "run.effects", ignore_errors=True)
            memory = peak(name, curvature, root) / baseline
            lines.append(
                f"| {case.title}, {1e3 * median(plain) / case.steps:.2f} ms a step | {curvature} |"
                f" {median(one):.2f} × | {further:.2f} × | {memory:.2f} × |"
            )
    return lines


def peak(name: str, activity: str, root: Path) -> float:
    command = [sys.executable, "-m", "tests.benchmarks.attribution", "--peak", name, activity, str(root)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout)


def own_peak(name: str, activity: str, root: str) -> int:
    case = CASES[name]
    if activity == "plain":
        train(case, digits(), case.steps)
    else:
        sweep(case, digits(), Path(root) / "run", activity, 1)
    return peak_bytes()


def still(folder: Path, steps: int) -> aadsl.Study:
    """Return a study of a run of so many steps that moved nothing, so that it is quickly recorded, and verifies."""
    net, data = torch.nn.Linear(2, 1), (torch.randn(64, 2), torch.randn(64))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    with aadsl.Recorder(folder, net, optimizer, data=data) as recorder:
        for step in range(steps):
            recorder.batch(indices=[step % 64], tag="clean" if step % 2 else "noisy", loss=0.0)
            optimizer.step()

    def loss(model: torch.nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return 0.0 * model(batch[0]).sum()

    study = aadsl.Study(aadsl.open_trajectory(folder), model=net, loss=loss, data=data, device="cpu")
    study.behavior("outputs", lambda model, examples: model(examples[0])[:, 0], on=data)
    return study


def redefinition(steps: int, repeats: int = 20) -> float:
    """Return the milliseconds in which a stage is defined anew and scored, the sweep for its behavior being done."""
    own = np.random.default_rng(0).normal(size=(steps, 1))
    swept = StepEffects(own, np.zeros_like(own), np.ones(1))
    with scratch() as root:
        study = still(root / "run", steps)
        masks = [np.arange(steps) % part == 0 for part in range(3, 3 + repeats)]
        with patch.object(ESTIMATORS["first_order"], "step_effects", lambda *_: swept):
            redefined(study, masks[0])  # verifies the run, and keeps what the sweep gave
        taken = [seconds(lambda mask=mask: redefined(study, mask)) for mask in masks]
        answer = redefined(study, masks[0])
    np.testing.assert_allclose(answer.effect.item(), own[::3].sum())
    return 1e3 * median(taken)


def redefined(study: aadsl.Study, mask: NDArray[np.bool_]) -> xr.Dataset:
    study.stage("some", mask)
    return study.score(["some"], ["outputs"], estimator="first_order")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(CASES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=100_000, help="of the run whose stage is redefined")
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch")
    parser.add_argument("--peak", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.peak:
        print(own_peak(*options.peak))
        return
    print(f"{stamp()}\n\n{HEAD}")
    lines = [HEAD]
    for name in options.names:
        lines += measure(name, CASES[name], options.rounds)
        print("\n".join(lines[-len(CHOICES) :]), flush=True)
    took = f"a stage of a run of {options.steps:,} steps redefined and scored: {redefinition(options.steps):.1f} ms"
    print(f"\n{took}")
    if options.names == list(CASES):
        about = f"Medians of {options.rounds} rounds; the price of a further behavior is a difference of two sweeps."
        write_section(REPORT, TITLE, "sweeps", about, lines)
        about = "Its behavior's sweep being done; median of 20. Model and data are tiny."
        write_section(REPORT, TITLE, "redefinition", about, [took])


if __name__ == "__main__":
    main()
