"""The least that a sweep over the MLP costs, as ratios to plain training: ``python -m tests.benchmarks.floor``.

A sweep written by hand for this one network: SGD with momentum, the effect of skipping every step, no files, no checks,
no other optimizer, intervention, buffer or generator, every vector in memory of its own that is used again. Its scores
are compared with the engine's, so that it is known to do the work.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aadsl.estimators import ESTIMATORS
from aadsl.propagation import CURVATURES, Layout
from tests.benchmarks.attribution import CASES, PROBES, seconds
from tests.benchmarks.cost import Case, digits, loss_fn, opened, scratch, train

MOMENTUM = 0.9
HELD = 64  # steps whose states are held at a time


class ByHand:
    """The sweep, from ξ_0 alone: every stretch of steps is replayed from the state in which the one before it ended."""

    def __init__(self, case: Case, data: tuple[Tensor, Tensor]) -> None:
        torch.manual_seed(0)
        self.case, self.data, self.net = case, data, case.model()
        self.leaves = list(self.net.parameters())
        self.layout = Layout.of({str(i): leaf.shape for i, leaf in enumerate(self.leaves)})
        self.start = self.layout.flatten([leaf.detach() for leaf in self.leaves], self.leaves[0].detach())
        self.place = self.start.clone()
        for leaf, view in zip(self.leaves, self.layout.views(self.place), strict=True):
            leaf.data = view
        self.ahead, self.behind, self.pulled, self.moved, self.gained = (torch.zeros_like(self.start) for _ in range(5))
        self.theta, self.v = ([torch.zeros_like(self.start) for _ in range(HELD + 1)] for _ in range(2))

    def batch(self, t: int) -> tuple[Tensor, ...]:
        rows = torch.arange(100 * t, 100 * t + 100) % len(self.data[1])
        return tuple(part.index_select(0, rows) for part in self.data)

    def gradient(self, batch: tuple[Tensor, ...], into: Tensor) -> Tensor:
        found = torch.autograd.grad(loss_fn(self.net, batch), self.leaves)
        for view, leaf in zip(self.layout.views(into), found, strict=True):
            view.copy_(leaf)
        return into

    def sweep(self, central: bool) -> NDArray[np.float64]:
        """Return ⟨u_{t+1}, ξ_{t+1} − ξ_t⟩ of every step, u_T the gradient of the mean log-likelihood of the probes."""
        rests = [(self.start.clone(), torch.zeros_like(self.start))]
        starts = range(0, self.case.steps, HELD)
        for start in starts:  # stands for the states that recording kept; not timed
            rests.append(self.replay(start, rests[-1]))
        self.place.copy_(rests.pop()[0])
        u = -self.gradient(tuple(part[:PROBES] for part in self.data), self.ahead)
        w, scores = torch.zeros_like(u), np.zeros(self.case.steps)

        def backward() -> None:
            for start in reversed(starts):
                self.replay(start, rests.pop())
                for i in reversed(range(min(HELD, self.case.steps - start))):
                    scores[start + i] = self.step_back(start + i, i, u, w, central)

        self.spent = seconds(backward)
        return scores

    def replay(self, start: int, rest: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Fill ``theta`` and ``v`` from the state ``rest`` before step ``start`` on; return the last state."""
        theta, v, count = self.theta, self.v, min(HELD, self.case.steps - start)
        theta[0].copy_(rest[0])
        v[0].copy_(rest[1])
        for i in range(count):
            self.place.copy_(theta[i])
            torch.mul(v[i], MOMENTUM, out=v[i + 1]).add_(self.gradient(self.batch(start + i), self.ahead))
            torch.add(theta[i], v[i + 1], alpha=-self.case.rate, out=theta[i + 1])
        return theta[count].clone(), v[count].clone()

    def step_back(self, t: int, i: int, u: Tensor, w: Tensor, central: bool) -> float:
        """Return the score of step t, the ``i``-th of its stretch; carry (u, w), of θ and v, to before it, in place."""
        torch.sub(self.theta[i + 1], self.theta[i], out=self.moved)
        torch.sub(self.v[i + 1], self.v[i], out=self.gained)
        score = float(torch.dot(u, self.moved)) + float(torch.dot(w, self.gained))
        torch.add(w, u, alpha=-self.case.rate, out=self.pulled)
        torch.mul(self.pulled, MOMENTUM, out=w)
        if central:
            batch, h = self.batch(t), float(self.moved.norm()) / float(self.pulled.norm())
            torch.add(self.theta[i], self.pulled, alpha=h, out=self.place)
            self.gradient(batch, self.ahead)
            torch.add(self.theta[i], self.pulled, alpha=-h, out=self.place)
            u.add_(self.ahead.sub_(self.gradient(batch, self.behind)), alpha=1 / (2 * h))
        return score


def engine(case: Case, data: tuple[Tensor, Tensor], run: Path, curvature: str) -> NDArray[np.float64]:
    """Return the same scores from the engine, from the states that recording kept."""
    shutil.rmtree(run.with_name("run.effects"), ignore_errors=True)
    study = opened(case, data, run)
    study.behavior("probes", "log_likelihood", on=tuple(part[:PROBES] for part in data))
    method = ESTIMATORS["first_order"](curvature=CURVATURES[curvature]())
    return study.step_effects(["probes"], estimator=method).values[:, 0]


def compare(case: Case, data: tuple[Tensor, Tensor], curvature: str, rounds: int) -> str:
    by_hand, ratios, others = ByHand(case, data), [], []
    with scratch() as root:
        train(case, data, case.steps, root / "run")
        truth = engine(case, data, root / "run", curvature)
        for _ in range(rounds):
            before = seconds(lambda: train(case, data, case.steps))
            found = by_hand.sweep(curvature == "central_difference")
            taken = seconds(lambda: engine(case, data, root / "run", curvature))
            after = seconds(lambda: train(case, data, case.steps))
            ratios.append(2 * by_hand.spent / (before + after))
            others.append(2 * taken / (before + after))
    error = np.linalg.norm(found - truth) / np.linalg.norm(truth)
    return f"{curvature}: by hand {median(ratios):.2f} x, the engine {median(others):.2f} x; they differ by {error:.1e}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for curvature in ("zero", "central_difference"):
        print(compare(CASES["mlp"], digits(), curvature, options.rounds), flush=True)


if __name__ == "__main__":
    main()
