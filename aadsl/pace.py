"""How long an answer will take on this machine and how much memory, measured on one step of the run."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from aadsl.estimators import Cost, Estimator, Question
from aadsl.estimators.defaults import curvature_for
from aadsl.history import History
from aadsl.propagation import Point

REPEATS = 3


@dataclass(frozen=True)
class Pace:
    """What the parts of an answer cost here.

    Attributes:
        gradient: seconds for one gradient of a batch.
        product: seconds for one Hessian-vector product.
        moment: bytes of one state with its gradient, of which a sweep holds a few.
    """

    gradient: float
    product: float
    moment: int

    def seconds(self, cost: Cost) -> float:
        """Return how long ``cost`` takes: it counts a product as two gradients, which it need not be here."""
        return max(0.0, cost.gradients - 2 * cost.products) * self.gradient + cost.products * self.product


def pace_of(history: History, method: Estimator) -> Pace:
    """Time one gradient and, where ``method`` needs a curvature, one product, on the first step of the run."""
    state, step = history.state(0), history.step(0)
    objective = history.objective
    found = objective.evaluate(state, step)
    gradient = _timed(lambda: objective.evaluate(state, step), history)
    product = 2 * gradient
    if hasattr(method, "curvature"):
        curvature = curvature_for(history, method.curvature, None)
        length = float(found.gradient.norm()) * float(step.hyper[0]["lr"])
        direction = [(found.gradient / found.gradient.norm().clamp_min(1e-12), None)]
        point = Point(state, step, found, length)
        product = _timed(lambda: curvature.pullback(objective, point, direction), history)
    return Pace(gradient, product, state.nbytes + found.gradient.nbytes)


def memory_of(history: History, question: Question, cost: Cost, pace: Pace) -> int:
    """Return about how many bytes a sweep holds at once: states, and a vector for each behavior or stage."""
    carried = len(question.behaviors) if cost.direction == "adjoint" else len(question.members)
    return pace.moment * (2 * history.limit + carried)


def _timed(function: Callable[[], Any], history: History) -> float:
    """Return the shortest of a few calls after one that warms up."""
    function()
    taken = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        function()
        if history.device.type == "cuda":
            torch.cuda.synchronize(history.device)
        taken.append(time.perf_counter() - started)
    return min(taken)
