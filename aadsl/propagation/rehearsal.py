"""Whether runs can advance together, and whether that is faster: seen on one step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from aadsl.propagation.ensemble import Replicas
from aadsl.propagation.layout import FlatState
from aadsl.propagation.reruns import stored_before
from aadsl.propagation.stacked import Stack, StackedObjective, VectorizationError
from aadsl.propagation.step import Run, Step
from aadsl.propagation.step_map import StepMap

REPEATS = 3

# How far the gradient of a run may be from the one that it has alone, as a part of it. In double precision the order of
# summation costs less than √ε. Within single precision a loss may round to the 8 bits of bfloat16 or the 11 bits of
# TensorFloat-32; of a sum of such terms, 6 are left. What is wrong, another noise say, is wrong by about 1. What
# rounding does to the end of a run is seen on the control run, which advances together with the others.
DOUBLE, SINGLE = 2.0**-26, 2.0**-6


@dataclass(frozen=True)
class Rehearsed:
    """One step of one run beside one step of many.

    Attributes:
        seconds_alone: for one step of one run.
        seconds_together: for one step of all of them.
        agrees: whether runs can advance together: each then has the gradient and statistics that it has alone.
        why: why they cannot, in words; empty where they can.
    """

    seconds_alone: float
    seconds_together: float
    agrees: bool
    why: str


def rehearse(run: Run, step_map: StepMap, t: int, size: int) -> Rehearsed:
    """Take an observed step alone and in ``size`` equal runs at once: the one at the stored state at or before ``t``.

    Gradients and statistics are compared before the optimizer's share, which makes large steps out of the rounding of
    gradients that are zero.
    """
    at = stored_before(run.checkpoints, min(t, run.length - 1))
    state, step = run.state(at), run.step(at)
    device = state.parameters.device
    alone = _timed(lambda: step_map(state, step), device)
    try:
        why = _disagreement(step_map, state, step, size)
        replicas = Replicas(step_map, state, size)
        together = math.inf if why else _timed(lambda: replicas.advance([step] * size), device)
    except VectorizationError as error:
        why, together = error.problems[0].message, math.inf
    return Rehearsed(alone, together, not why, why)


def _disagreement(step_map: StepMap, state: FlatState, step: Step, size: int) -> str:
    """Return what of one step of equal runs differs from that step alone; nothing where all agrees."""
    alone = step_map.evaluate(state, step)
    stack, rows = Stack(state, size), range(size)
    states = stack.read(rows)
    gradients = StackedObjective(step_map.objective).evaluate(states, step)
    for row in rows:
        found = step_map.layout.flatten([None if g is None else g[row] for g in gradients], state.parameters)
        if not _close(found, alone.gradient, alone.gradient):
            return (
                "the loss does not have the gradient in many runs at once that it has in one (its random numbers come "
                "in another order, or it mixes the runs), so runs cannot advance together"
            )
        own = states.buffers[row], *(t[row] for t in states.integers)
        pairs = zip(own, (alone.buffers, *alone.integers), (state.buffers, *state.integers), strict=True)
        if not all(_close(new, kept, kept - before) for new, kept, before in pairs):
            return "the model's statistics do not become those of one run, so runs cannot advance together"
    return ""


def _close(found: Tensor, expected: Tensor, size: Tensor) -> bool:
    """Return whether two vectors agree, as a part of ``size``, which they were made by adding to something."""
    if not expected.is_floating_point():
        return torch.equal(found, expected)
    part = DOUBLE if expected.dtype == torch.float64 else SINGLE
    rounding = torch.finfo(expected.dtype).eps * expected.norm()
    return bool((found - expected).norm() <= part * size.norm() + 4 * rounding)


def _timed(function: Callable[[], object], device: torch.device) -> float:
    """Return the shortest of a few calls after one that warms up, in seconds."""
    taken = []
    for _ in range(1 + REPEATS):
        begun = time.perf_counter()
        function()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - begun)
    return min(taken[1:])
