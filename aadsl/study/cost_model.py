"""How long an answer will take on this machine and how much memory, measured on one step of the run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from statistics import median
from typing import Any

import torch

from aadsl.data.examples import CHUNK, nbytes
from aadsl.estimators import Behavior, Cost, Estimator, Query
from aadsl.propagation import (
    Curvature,
    Evaluation,
    FlatState,
    ObservedStep,
    Readout,
    Step,
    carried_back,
    difference,
    observed,
)
from aadsl.replayed.history import History
from aadsl.study.peak_memory import peak_of

REPEATS = 3
MANY = 16  # cotangents that are carried together; more of them take as long each


@dataclass(frozen=True)
class CostModel:
    """What the parts of an answer cost here.

    Attributes:
        gradient: seconds for one gradient of a batch, with the optimizer's step.
        product: seconds for one Hessian-vector product, with the optimizer's derivative and what a sweep reads off it.
    """

    gradient: float
    product: float

    def seconds(self, cost: Cost) -> float:
        """Return how long ``cost`` takes: it counts a product as two gradients, which it need not be here."""
        return max(0.0, cost.gradients - 2 * cost.products) * self.gradient + cost.products * self.product


class Rehearsal:
    """One step of a sweep, done on the first step of the run to see what it costs."""

    def __init__(self, history: History, method: Estimator, direction: str) -> None:
        self.history, self.direction, self._read = history, direction, 0
        state, step = history.state(0), history.step(0)
        after, evaluation = history.step_map.advance(state, step)
        assert evaluation is not None  # recorded steps were applied
        self.taken = ObservedStep(step, state, after, evaluation)
        self.vector = difference(after, state)
        self.curvature = method.products(history)

    def advance(self) -> tuple[FlatState, Evaluation | None]:
        """Compute the gradient of another step each time, which is read for it, and apply it."""
        self._read = (self._read + 1) % self.history.length
        return self.history.step_map.advance(self.taken.state, self.history.step(self._read))

    def carry(self, vectors: int = 1) -> Sequence[FlatState]:
        """Carry so many cotangents, or tangents, over the step; nothing where the estimator carries none."""
        if self.curvature is None:
            return []
        step_map, carried = self.history.step_map, [self.vector] * vectors
        if self.direction == "tangent":
            return step_map.pushforward(self.taken.here, carried, self.curvature)
        taken = replace(self.taken)  # which forgets its change: each step of a sweep computes its own
        return carried_back(step_map, taken, carried, self.curvature, observed, [_skipped])[0]


def _skipped(step: Step) -> Step:
    return replace(step, applied=False)


def measured(rehearsal: Rehearsal, vectors: int = 1) -> CostModel:
    """Time one gradient and, where the estimator computes products, one of so many that are computed together."""
    gradient = _timed(rehearsal.advance, rehearsal.history.device)
    if rehearsal.curvature is None:
        return CostModel(gradient, 2 * gradient)
    return CostModel(gradient, _timed(partial(rehearsal.carry, vectors), rehearsal.history.device) / vectors)


class Costs:
    """How long answers about one run take here; each part is timed when it is first asked about."""

    def __init__(self, history: History) -> None:
        self.history = history
        self._known: dict[tuple[Curvature | None, str, int], CostModel] = {}

    def seconds(self, method: Estimator, cost: Cost) -> float:
        """Return how long ``cost`` of an estimator takes."""
        together = 1 if cost.direction == "tangent" else max(1, min(MANY, cost.products // self.history.length))
        return self.model(method, cost.direction, together).seconds(cost)

    def model(self, method: Estimator, direction: str, vectors: int = 1) -> CostModel:
        """Return what the parts of an estimator's answers cost that carries so many vectors together, measured once."""
        asked = method.products(self.history), direction, vectors
        if asked not in self._known:
            self._known[asked] = measured(Rehearsal(self.history, method, direction), vectors)
        return self._known[asked]


def memory_of(rehearsal: Rehearsal, query: Query, cost: Cost) -> int:
    """Return about how many bytes of tensors an answer holds at its peak, beside the model and the training data.

    What a step of the sweep and the reading of a behavior hold is measured; the states and vectors that are kept
    meanwhile are counted.
    """
    history, state = rehearsal.history, rehearsal.taken.state
    of_step = rehearsal.taken.after.nbytes + rehearsal.taken.evaluation.gradient.nbytes
    vectors = 0 if rehearsal.curvature is None else _vectors(query, rehearsal.direction)
    if vectors and rehearsal.direction == "adjoint":
        vectors = max(vectors, cost.products // history.length)  # those that a sweep carries besides the behaviors'
    # The states before and after a step, the final one, and a stored one while it is read and flattened.
    kept = 5 * state.nbytes + vectors * rehearsal.vector.nbytes
    kept += min(history.batches.kept, history.length) * nbytes(history.batches.at(0))
    kept += sum(part.items.foretold(len(part)) for part in history.data.distinct if not part.tensors)
    if rehearsal.direction == "adjoint":
        gap = max(b - a for a, b in pairwise((*history.checkpoints, history.length)))
        kept += -(-gap // history.limit) * state.nbytes + min(gap, history.limit) * of_step
    return kept + max(_working(rehearsal, vectors), _reading(history, query.behaviors, state))


def _vectors(query: Query, direction: str) -> int:
    """Return how many cotangents or tangents are carried at once."""
    each = any(behavior.per_example for behavior in query.behaviors)
    tangents = len(query.members) if direction == "tangent" or each else 0
    return max(tangents, len(query.behaviors) if direction == "adjoint" else 0)


def _working(rehearsal: Rehearsal, vectors: int) -> int:
    """Return the peak of one step; that of many vectors follows from the peaks of one and of two."""
    device = rehearsal.history.device
    peaks = [peak_of(partial(rehearsal.carry, count), device) for count in (1, 2) if count <= vectors]
    more = (vectors - 1) * (peaks[-1] - peaks[0]) if vectors > 1 else 0
    return max([peak_of(rehearsal.advance, device), *(peak + more for peak in peaks[:1])])


def _reading(history: History, behaviors: Sequence[Behavior], state: FlatState) -> int:
    """Return the peak of reading behaviors off a state: all their examples are held, one portion is at work."""
    largest = max(behaviors, key=lambda behavior: len(behavior.examples))
    portion = next(largest.examples.chunks(history.device))
    readout = Readout(history.objective, largest.metric, [portion], largest.name)
    peak = peak_of(lambda: (readout.cotangent if largest.differentiable else readout.values)(state), history.device)
    portions = sum(len(behavior.examples) for behavior in behaviors) / min(CHUNK, len(largest.examples))
    return peak + round(nbytes(portion) * portions)


def _timed(function: Callable[[], Any], device: torch.device) -> float:
    """Return the median of a few calls after one that warms up."""
    function()
    taken = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        function()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - started)
    return median(taken)
