"""What recording and attribution cost, as ratios to plain training in the same run: ``make figures PART=cost``.

Every round trains plainly, trains recorded, sweeps back twice and trains once more without a step, one after the
other, so that a busy machine slows all of them alike. A ratio is taken within its round; the table shows medians.
Recording includes making the folder, and everything on disk by the time of ``close()``. A sweep is the one that
gives the effects of all steps on one behavior. Peak memory is that of a process of its own for each activity.
"""

from __future__ import annotations

import argparse
import gc
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

import aadsl
from aadsl.estimators import ESTIMATORS
from aadsl.propagation import CURVATURES
from tests.benchmarks import models
from tests.benchmarks.memory import peak_bytes
from tests.benchmarks.report import ROOT, stamp, write_section

REPORT = Path(__file__).with_suffix(".md")
TITLE = "What recording and attribution cost, as ratios to plain training in the same run"
Batch = tuple[Tensor, Tensor, Tensor]

PROBES = 500  # digits that the behavior is evaluated on


@dataclass(frozen=True)
class Case:
    """A training run: which model, with which learning rate, how many steps, on batches of how many digits."""

    title: str
    model: Callable[[], nn.Module]
    rate: float
    steps: int
    batch: int = 100


CASES = {
    "mlp": Case("MLP 784–128–10 (E.2.2)", models.mlp, 0.001, 1000),
    "resnet": Case("ResNet, 7 convolutions, BatchNorm", models.resnet, 0.01, 60),
}


def loss_fn(model: nn.Module, batch: Sequence[Tensor]) -> Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def digits() -> tuple[Tensor, Tensor]:
    data = aadsl.datasets.mnist10k()
    return torch.tensor(data.image.values)[:, None], torch.tensor(data.label.values)


def train(case: Case, data: tuple[Tensor, Tensor], steps: int, folder: Path | None = None) -> nn.Module:
    """Train with momentum 0.9; recorded into ``folder`` where one is given."""

    def batch(step: int) -> Batch:
        rows = torch.arange(case.batch * step, case.batch * (step + 1)) % len(data[1])
        return rows, data[0][rows], data[1][rows]

    torch.manual_seed(0)
    net = case.model()
    fit(net, case.rate, batch, steps, folder, data)
    return net


def fit(
    net: nn.Module,
    rate: float,
    batch: Callable[[int], Batch],
    steps: int,
    folder: Path | None,
    data: Any = None,
    states: str | int = "auto",
) -> None:
    """Train what of ``net`` is not frozen on ``batch(step)``: indices into ``data``, inputs and targets."""
    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=rate, momentum=0.9)
    recorder = None if folder is None else aadsl.Recorder(folder, net, optimizer, data=data, states=states)
    for step in range(steps):
        indices, *examples = batch(step)
        optimizer.zero_grad()
        loss = loss_fn(net, examples)
        loss.backward()
        if recorder is not None:
            recorder.batch(indices=indices, tag="clean", loss=loss)
        optimizer.step()
    if recorder is not None:
        recorder.close()


def opened(case: Case, data: tuple[Tensor, Tensor], folder: Path) -> aadsl.Study:
    study = aadsl.Study(aadsl.open_trajectory(folder), model=case.model(), loss=loss_fn, data=data)
    study.stage("first", [0])
    study.behavior("digits", "log_likelihood", on=tuple(part[:PROBES] for part in data))
    return study


def sweep(case: Case, data: tuple[Tensor, Tensor], folder: Path, curvature: str) -> None:
    method = ESTIMATORS["first_order"](curvature=CURVATURES[curvature]())
    opened(case, data, folder).step_effects(["digits"], estimator=method)


def retrain(case: Case, data: tuple[Tensor, Tensor], folder: Path) -> None:
    opened(case, data, folder).score(["first"], ["digits"], estimator="retraining")


def activities(
    case: Case, data: tuple[Tensor, Tensor], steps: int, folder: Path, fresh: Path
) -> dict[str, Callable[[], object]]:
    """Return what is measured; sweeps read the run in ``folder``, recording makes one in ``fresh``."""
    return {
        "plain training": lambda: train(case, data, steps),
        "recorded training": lambda: train(case, data, steps, fresh),
        "adjoint sweep, central_difference": lambda: sweep(case, data, folder, "central_difference"),
        "adjoint sweep, exact": lambda: sweep(case, data, folder, "exact"),
        "one retraining": lambda: retrain(case, data, folder),
    }


@dataclass
class Measured:
    """Seconds and seconds of CPU of each activity, one number a round; peak memory in MB; what lies on disk."""

    seconds: dict[str, list[float]]
    cpu_seconds: dict[str, list[float]]
    memory: dict[str, float]
    states: int
    size: int
    state_size: int

    def ratios(self, name: str) -> tuple[float, float]:
        """Return the time and the CPU time of an activity, as ratios to plain training."""
        time_ratio, cpu_ratio = (
            median(one / base for one, base in zip(spent[name], spent["plain training"], strict=True))
            for spent in (self.seconds, self.cpu_seconds)
        )
        return time_ratio, cpu_ratio


def measure(case: Case, steps: int, rounds: int, memory: bool = True) -> Measured:
    data = digits()
    seconds: dict[str, list[float]] = {}
    cpu_seconds: dict[str, list[float]] = {}
    with scratch() as root:
        train(case, data, min(20, steps), root / "warm")
        for number in range(rounds):
            fresh = root / f"run{number}"
            for name, act in activities(case, data, steps, fresh, fresh).items():
                gc.collect()
                start, cpu_start = time.perf_counter(), time.process_time()
                act()
                cpu_seconds.setdefault(name, []).append(time.process_time() - cpu_start)
                seconds.setdefault(name, []).append(time.perf_counter() - start)
        files = list(fresh.iterdir())
        states = [file.stat().st_size for file in files if file.name.startswith("state-")]
        total = sum(file.stat().st_size for file in files if file.is_file())
        key = next((key for key, value in CASES.items() if value is case), "")
        peaks = {name: peak(key, name, steps, fresh) for name in seconds} if memory else {}
    return Measured(seconds, cpu_seconds, peaks, len(states), total, max(states))


@contextmanager
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="aadsl-bench-") as folder:
        yield Path(folder)


def peak(case: str, activity: str, steps: int, folder: Path) -> float:
    """Return the peak memory in MB of a process that does one activity."""
    command = [sys.executable, "-m", "tests.benchmarks.cost", "--peak", case, activity, str(steps), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return float(done.stdout)


def own_peak(case: str, activity: str, steps: str, folder: str) -> float:
    with scratch() as root:
        activities(CASES[case], digits(), int(steps), Path(folder), root / "run")[activity]()
    return peak_bytes() / 1e6


def table(found: dict[str, Measured], steps: dict[str, int]) -> str:
    """Return the results as a table in Markdown."""
    heads = [f"{CASES[key].title}, {steps[key]:,} steps" for key in found]
    rows = [["", *heads], ["---", *["---:"] * len(heads)]]
    for name in next(iter(found.values())).seconds:
        cells = []
        for one in found.values():
            time_each = median(one.seconds["plain training"])
            shown = (
                f"{time_each:.2f} s"
                if name == "plain training"
                else "{:.2f} × (CPU {:.2f} ×)".format(*one.ratios(name))
            )
            cells.append(f"{shown}, {one.memory[name]:.0f} MB" if one.memory else shown)
        rows.append([name, *cells])
    disk = [f"{one.size / 1e6:.1f} MB, {one.states} states of {one.state_size / 1e6:.2f} MB" for one in found.values()]
    rows.append(["on disk", *disk])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def about(rounds: int) -> str:
    return (
        f"Time (and CPU time, which other work on the machine disturbs less) as a ratio to plain training, medians of "
        f"{rounds} rounds; peak memory of the process."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", default=list(CASES), help=f"of {', '.join(CASES)}; kept where all are")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, help="instead of each case's own number")
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch; for small networks 1 is fastest")
    parser.add_argument("--peak", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.peak:
        print(own_peak(*options.peak))
        return
    steps = {key: options.steps or CASES[key].steps for key in options.cases}
    found = {key: measure(CASES[key], steps[key], options.rounds) for key in options.cases}
    lines = table(found, steps)
    print(f"{stamp()}\n\n{about(options.rounds)}\n\n{lines}")
    if options.steps is None and [*found] == [*CASES]:
        write_section(REPORT, TITLE, "costs", about(options.rounds), [lines])


if __name__ == "__main__":
    main()
