"""Whether runs can advance together, and what they gain by it: seen on a few steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

import torch
from torch import Tensor

from aadsl.propagation.layout import FlatState
from aadsl.propagation.refusals import CannotAdvanceTogetherError, refusals
from aadsl.propagation.replicas import Replicas
from aadsl.propagation.stacked import StackedObjective, advance
from aadsl.propagation.step import Run, Step
from aadsl.propagation.step_map import StepMap

REPEATS = 4

# How far the gradient of a run may be from the one that it has alone, as a part of it. In double precision the order of
# summation costs less than √ε. Within single precision a loss may round to the 8 bits of bfloat16 or the 11 bits of
# TensorFloat-32; of a sum of such terms, 6 are left. What is wrong, another noise say, is wrong by about 1. What
# rounding does to the end of a run is seen on the control run, which advances together with the others.
DOUBLE, SINGLE = 2.0**-26, 2.0**-6


@dataclass(frozen=True)
class Rehearsed:
    """Observed steps, taken alone and by replicas together.

    Attributes:
        seconds_alone: what one takes a run alone.
        seconds_together: what one takes all replicas.
        size: how many those are.
        agrees: whether each then has the gradient and statistics that it has alone, as near as rounding lets them.
        why: why runs cannot advance together, in words; empty where they can.
    """

    seconds_alone: float
    seconds_together: float
    size: int
    agrees: bool
    why: str = ""

    @property
    def gain(self) -> float:
        """How many times faster a step of a run is in the ensemble; 0 where it cannot be used."""
        usable = self.agrees and not self.why
        return self.size * self.seconds_alone / self.seconds_together if usable else 0.0


def rehearse(run: Run, step_map: StepMap, t: int, size: int) -> Rehearsed:
    """Take steps from the last stored state up to ``t`` alone, and as an ensemble of ``size`` equal replicas.

    They are compared before the optimizer's share of the step, which makes large changes out of the rounding of
    gradients that are zero.
    """
    start = max(c for c in run.checkpoints if c <= t and c < run.length)
    state, step = run.state(start), run.step(start)
    device = state.parameters.device
    # Steps of their own for both, for reading their batches is a part of what they cost.
    places = [start + (1 + place) % (run.length - start) for place in range(2 * REPEATS)]
    alone = _timed([partial(step_map, state, run.step(place)) for place in places[:REPEATS]], device)
    objective, replicas = StackedObjective(step_map.objective), Replicas(state, size)
    for _ in range(size - 1):
        replicas.fork()
    try:
        with refusals():
            why = _disagreement(step_map, objective, replicas, state, step)
            if not why:
                stacked = partial(advance, step_map, objective, replicas)
                together = _timed([partial(stacked, [run.step(place)] * size) for place in places[REPEATS:]], device)
                return Rehearsed(alone, together, size, True)
    except CannotAdvanceTogetherError as error:
        why = error.problems[0].message
    return Rehearsed(alone, float("inf"), size, False, why)


def _disagreement(
    step_map: StepMap, objective: StackedObjective, replicas: Replicas, state: FlatState, step: Step
) -> str:
    """Return what of one step of equal replicas is not as in a run alone; nothing where all agrees."""
    alone = step_map.evaluate(state, step)
    found = objective.evaluate(replicas.parameters, replicas.buffers, replicas.integers, step)
    present = [gradient is not None for gradient in found.gradients]
    mask = step_map.layout.mask(present, state.parameters.device)
    same = bool(mask.all()) if alone.present is None else torch.equal(mask, alone.present)
    for row in range(replicas.count):
        gradient = step_map.layout.flatten([None if g is None else g[row] for g in found.gradients], state.parameters)
        if not same or not _close(gradient, alone.gradient, alone.gradient):
            return "its gradient is another in an ensemble: its random numbers come in another order, or runs are mixed"
        counted = all(torch.equal(a[row], b) for a, b in zip(found.integers, alone.integers, strict=True))
        if not counted or not _close(found.buffers[row], alone.buffers, alone.buffers - state.buffers):
            return "its statistics (running means) are others in an ensemble"
    return ""


def _close(found: Tensor, wanted: Tensor, added: Tensor) -> bool:
    """Return whether two vectors agree; ``added`` is what was computed of them, in the precision of the loss."""
    part = DOUBLE if wanted.dtype == torch.float64 else SINGLE
    precision = torch.finfo(wanted.dtype).eps
    return bool((found - wanted).norm() <= part * added.norm() + 4 * precision * wanted.norm())


def _timed(works: Sequence[Callable[[], object]], device: torch.device) -> float:
    """Return what one of several pieces of work of a kind takes: their median, the first one warming up."""
    taken = []
    for work in works:
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - started)
    return median(taken[1:])
