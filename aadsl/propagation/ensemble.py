"""Counterfactual runs that advance together: one gradient of stacked parameters instead of many of single ones.

Replica 0 is the control run: nothing is changed in it. Others are forked from it when their first change comes. A
gradient over stacked parameters rounds otherwise than one alone, so effects are differences to the control run.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch

from aadsl.core.errors import AadslError
from aadsl.core.progress import Progress, silent
from aadsl.propagation.layout import FlatState, difference
from aadsl.propagation.replay import Variation
from aadsl.propagation.replicas import Replicas
from aadsl.propagation.reruns import End, divergence
from aadsl.propagation.stacked import StackedObjective, advance
from aadsl.propagation.step import Run, Step
from aadsl.propagation.step_map import StepMap

REPEATS = 3


class CannotAdvanceTogetherError(AadslError):
    """Something in the model or the loss works for one set of parameters at a time only."""


def ensemble(
    run: Run,
    step_map: StepMap,
    varied: Sequence[Variation],
    firsts: Sequence[int],
    *,
    size: int,
    progress: Progress = silent,
) -> Iterator[End]:
    """Yield the end of each counterfactual run, ``size`` of them and a control run at a time.

    Args:
        run: the observed run.
        step_map: how a step changes the state.
        varied: for each run its steps Ψ_t, equal to the observed ones before its first change.
        firsts: the first step at which each differs; runs that differ at about the same time advance together.
        size: how many at once, besides the control run.
        progress: called after each step.

    Raises:
        CannotAdvanceTogetherError: the model or the loss refuses stacked parameters.
        AadslError: a run leaves the finite numbers; the others were yielded before.
    """
    order = sorted(range(len(firsts)), key=lambda i: firsts[i])
    parts = [order[a : a + size] for a in range(0, len(order), size)]
    starts = [max(t for t in run.checkpoints if t <= firsts[part[0]]) for part in parts]
    done, total, diverged = 0, sum(run.length - start for start in starts), False
    for part, start in zip(parts, starts, strict=True):
        replicas = Replicas(run.state(start), len(part) + 1)
        objective = StackedObjective(step_map.objective)
        waiting = {t: list(positions) for t, positions in groupby(part, key=lambda i: firsts[i])}
        riding: list[int] = []
        for t in range(start, run.length):
            for position in waiting.get(t, ()):
                replicas.fork()
                riding.append(position)
            step = run.step(t)
            _advance(step_map, objective, replicas, [step, *(varied[position](step) for position in riding)])
            done += 1
            progress("retraining", done, total)
        control = replicas.state(0)
        for row, position in enumerate(riding, 1):
            state = replicas.state(row)
            if bool(torch.isfinite(state.parameters).all()):
                yield End(position, state, control)
            else:
                diverged = True
    if diverged:
        raise divergence()


@dataclass(frozen=True)
class Rehearsed:
    """One observed step, taken alone and by replicas together.

    Attributes:
        seconds_alone: what it takes a run alone.
        seconds_together: what it takes all replicas.
        size: how many those are.
        agrees: whether both end at the same state, as near as rounding lets them.
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
    """Take step ``t`` from its last stored state alone, and as an ensemble of ``size`` equal replicas."""
    start = max(c for c in run.checkpoints if c <= t and c < run.length)
    state, step = run.state(start), run.step(start)
    after = step_map(state, step)
    alone = _timed(lambda: step_map(state, step), state.parameters.device)
    objective = StackedObjective(step_map.objective)
    replicas = Replicas(state, size)
    for _ in range(size - 1):
        replicas.fork()
    try:
        _advance(step_map, objective, replicas, [step] * size)
    except CannotAdvanceTogetherError as error:
        return Rehearsed(alone, float("inf"), size, False, error.problems[0].message)
    agrees = all(_near(replicas.state(row), after, state) for row in (0, size - 1))
    together = _timed(lambda: _advance(step_map, objective, replicas, [step] * size), state.parameters.device)
    return Rehearsed(alone, together, size, agrees, "" if agrees else "its random numbers are others in an ensemble")


def _advance(step_map: StepMap, objective: StackedObjective, replicas: Replicas, steps: Sequence[Step]) -> None:
    """Advance every replica by its step; what the model or the loss refuses is said in words."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="There is a performance drop")
            advance(step_map, objective, replicas, steps)
    except AadslError:
        raise
    except RuntimeError as error:
        raise CannotAdvanceTogetherError(
            f"the model or the loss takes one set of parameters at a time: {_in_words(error)}",
            hint="runs are then trained one after the other",
        ) from error


def _in_words(error: RuntimeError) -> str:
    text = str(error)
    if ".item()" in text or "data-dependent" in text:
        return "it looks at its values (.item(), or an if over a tensor)"
    return text.strip().split("\n")[0][:160]


def _near(found: FlatState, wanted: FlatState, before: FlatState) -> bool:
    """Return whether two ends of a step differ by rounding alone, beside how far the step moved the parameters."""
    moved = difference(wanted, before).parameters.double().norm()
    off = difference(found, wanted).parameters.double().norm()
    precision = torch.finfo(wanted.parameters.dtype).eps
    return bool(off <= precision**0.75 * moved + 8 * precision * wanted.parameters.double().norm())


def _timed(work: Callable[[], object], device: torch.device) -> float:
    """Return the shortest of a few calls."""
    taken = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - started)
    return min(taken)
