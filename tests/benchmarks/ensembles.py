"""What one step of one counterfactual run costs where many advance together: ``python -m tests.benchmarks.ensembles``.

Every round trains plainly, replays one run, and advances N runs together, one after the other, so that a busy machine
slows all of them alike. Milliseconds a step and run are medians; in brackets, as a ratio to one run alone of the same
round. On a GPU where there is one; on a CPU it is its time that counts, which other work disturbs less.

Of the MLP also the least that N runs can take, *by hand*: matrix products written for this one network, no autograd,
fused updates, no other optimizer, step or intervention. It is known to do the work: it ends where they end.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd

import aadsl
from aadsl.propagation.replicas import Replicas
from aadsl.propagation.stacked import StackedObjective, advance
from aadsl.replayed.history import History
from tests.benchmarks import models
from tests.benchmarks.cost import Batch, digits, fit, loss_fn, scratch

TOGETHER = (1, 4, 16, 64)
RATE = 0.001


@dataclass(frozen=True)
class Case:
    """Which model, on batches of how many digits, for how many steps."""

    title: str
    model: Callable[[], nn.Module]
    batch: int
    steps: int


CASES = {
    "mlp": Case("MLP 784–128–10, batch 100", models.mlp, 100, 20),
    "mlp1": Case("MLP 784–128–10, batch 1", models.mlp, 1, 20),
    "resnet": Case("ResNet-18, width 16, batch 32", models.resnet18, 32, 2),
    "transformer": Case("Transformer, 4 layers of 64, batch 32", partial(models.Transformer, "gelu", 64, 4), 32, 2),
}


def measure(case: Case, rounds: int, folder: Path, device: str) -> dict[str, list[float]]:
    """Return the milliseconds a step and run of each activity, one number a round."""
    images, labels = (part.to(device) for part in digits())

    def batch(step: int) -> Batch:
        rows = torch.arange(case.batch * step, case.batch * (step + 1), device=device)
        return rows, images[rows], labels[rows]

    def train(where: Path | None = None) -> None:
        torch.manual_seed(0)
        fit(case.model().to(device), RATE, batch, case.steps, where, (images, labels))

    train(folder)
    data = tuple(part.cpu() for part in (images, labels))
    trajectory = aadsl.open_trajectory(folder)
    history = History(trajectory, model=case.model(), loss=loss_fn, data=data, device=device)
    start = history.state(0)

    def together(count: int) -> None:
        replicas, objective = Replicas(start, count), StackedObjective(history.step_map.objective)
        for _ in range(count - 1):
            replicas.fork()
        for t in range(case.steps):
            advance(history.step_map, objective, replicas, [history.step(t)] * count)

    def alone() -> None:
        state = start
        for t in range(case.steps):
            state = history.step_map(state, history.step(t))

    acts: dict[str, tuple[int, Callable[[], object]]] = {
        "plain training": (1, train),
        "one run alone": (1, alone),
        **{f"{count} together": (count, partial(together, count)) for count in TOGETHER},
    }
    if case.model is models.mlp:
        batches = [batch(t)[1:] for t in range(case.steps)]
        begin, end = map(history.step_map.layout.views, (start.parameters, history.final.parameters))
        torch.testing.assert_close([leaf[1] for leaf in by_hand(begin, batches, 2)], end)
        acts |= {f"{count} by hand": (count, partial(by_hand, begin, batches, count)) for count in TOGETHER[1:]}
    found: dict[str, list[float]] = {name: [] for name in acts}
    clock = time.perf_counter if device == "cuda" else time.process_time
    for number in range(rounds + 1):
        for name, (count, act) in acts.items():
            begun = clock()
            act()
            if device == "cuda":
                torch.cuda.synchronize()
            if number:  # the first one warms up
                found[name].append((clock() - begun) * 1000 / (case.steps * count))
    return found


def by_hand(leaves: Sequence[Tensor], batches: Sequence[Sequence[Tensor]], count: int) -> list[Tensor]:
    """Return the parameters (count, …) of runs of the MLP that all take the same steps of SGD with momentum."""
    w1, b1, w2, b2 = own = [leaf.expand(count, *leaf.shape).clone() for leaf in leaves]
    velocities = [torch.zeros_like(leaf) for leaf in own]
    for images, labels in batches:
        x = images.flatten(1)
        inputs, rows, size = x.expand(count, *x.shape), torch.arange(len(x), device=x.device), len(x)
        hidden = torch.baddbmm(b1[:, None], inputs, w1.mT).relu_()
        back = torch.baddbmm(b2[:, None], hidden, w2.mT).softmax(-1)
        back[:, rows, labels] -= 1
        back /= size
        deep = torch.bmm(back, w2).mul_(hidden > 0)
        found = [torch.bmm(deep.mT, inputs), deep.sum(1), torch.bmm(back.mT, hidden), back.sum(1)]
        sgd(
            own, found, velocities, fused=True, lr=RATE, momentum=0.9, weight_decay=0.0, dampening=0.0,
            nesterov=False, maximize=False,
        )  # fmt: skip
    return own


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", default=list(CASES), help=f"of {', '.join(CASES)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    print(f"torch {torch.__version__}, {device}, medians of {options.rounds} rounds, ms a step and run\n")
    for key in options.cases:
        with scratch() as root:
            found = measure(CASES[key], options.rounds, root / "run", device)
        print(CASES[key].title)
        for name, spent in found.items():
            ratio = median(one / alone for one, alone in zip(spent, found["one run alone"], strict=True))
            print(f"  {name:16} {median(spent):8.3f}  ({ratio:.2f} ×)", flush=True)


if __name__ == "__main__":
    main()
