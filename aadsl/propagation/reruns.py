"""Counterfactual runs, exactly: each is forked from the observed run at its first change and carried on to its end.

ζ_{t+1} = Ψ_t(ζ_t) from ζ_f = ξ_f on, with f the first step at which Ψ differs from Φ. The way before that is walked
once for all runs, from the first change of one to that of the next.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import torch

from aadsl.core.errors import AadslError
from aadsl.core.progress import Progress, silent
from aadsl.propagation.layout import FlatState
from aadsl.propagation.replay import Variation, walk
from aadsl.propagation.step import Run, Step
from aadsl.propagation.step_map import StepMap


class End(NamedTuple):
    """Where a counterfactual run ended.

    Attributes:
        position: which of the runs that were asked for.
        state: ζ_T.
        control: the end of the control run that ζ was forked from: a replay in which nothing changed and that was
            never set right by a stored state. None where ζ was forked from the observed run itself.
    """

    position: int
    state: FlatState
    control: FlatState | None


def reruns(
    run: Run,
    step_map: StepMap,
    varied: Sequence[Variation],
    firsts: Sequence[int],
    *,
    control: bool = False,
    progress: Progress = silent,
) -> Iterator[End]:
    """Yield the end of each counterfactual run, one after the other, in the order of their first changes.

    Without a control run they fork from the recorded run as a replay gives it, stored states taken wherever there are
    some: their ends have the bits of a training that changes the same steps. With one, they fork from a replay that
    begins at the stored state at or before the smallest first change. It is walked to its end, and once more from
    fork to fork: that costs at most one more run, and three states of memory, however many runs there are.

    Args:
        run: the observed run.
        step_map: how a step changes the state.
        varied: the counterfactual steps Ψ_t of each run.
        firsts: the first step at which each differs; before it, ``varied`` gives the observed steps.
        control: whether a control run goes with them.
        progress: told how many of the applied steps of all runs, and of the way to them, are done.

    Raises:
        AadslError: after all others were yielded, where a counterfactual run left the finite numbers.
    """
    return finite(_reruns(run, step_map, varied, firsts, control, progress))


def _reruns(
    run: Run, step_map: StepMap, varied: Sequence[Variation], firsts: Sequence[int], control: bool, progress: Progress
) -> Iterator[End]:
    order = in_order(firsts)
    if not order:
        return
    kept = run.checkpoints
    smallest, largest = firsts[order[0]], firsts[order[-1]]
    start = stored_before(kept, smallest)
    before = run.length - start + largest - smallest if control else steps_to_forks(kept, firsts)
    stepped = Stepped(progress, run, varied, firsts, before)
    position, state, end = start, run.state(start), None
    if control:
        position, state = smallest, walk(run, step_map, state, start, smallest, stepped=stepped)
        end = walk(run, step_map, state, smallest, run.length, stepped=stepped)
    for i in order:
        nearest = stored_before(kept, firsts[i])
        if not control and nearest > position:
            position, state = nearest, run.state(nearest)
        state = walk(run, step_map, state, position, firsts[i], stepped=stepped)
        position = firsts[i]
        yield End(i, walk(run, step_map, state, position, run.length, varied[i], stepped), end)


def applied_steps(run: Run, varied: Variation, first: int) -> int:
    """Return how many steps of a counterfactual run are applied from its first change on: its cost in gradients.

    Whether a step is applied is taken to follow from its place alone, so only one step of the run is looked at.
    """
    if first >= run.length:
        return 0
    step = run.step(first)
    return sum(varied(replace(step, index=t)).applied for t in range(first, run.length))


class Stepped:
    """Counts the applied steps of many runs as one task; the total is found where anybody is told of it."""

    def __init__(
        self, progress: Progress, run: Run, varied: Sequence[Variation], firsts: Sequence[int], way: int
    ) -> None:
        self._progress, self._done, self._total = progress, 0, way
        if progress is not silent:
            self._total += sum(applied_steps(run, own, first) for own, first in zip(varied, firsts, strict=True))

    def __call__(self, *steps: Step) -> None:
        """Count those of ``steps`` that were applied."""
        applied = sum(step.applied for step in steps)
        self._done += applied
        if applied:
            self._progress("retraining", self._done, self._total)


def finite(ends: Iterable[End]) -> Iterator[End]:
    """Yield the ends whose parameters are finite, and raise at last if any were not.

    Raises:
        AadslError: a counterfactual run left the finite numbers.
    """
    diverged = False
    for end in ends:
        if bool(torch.isfinite(end.state.parameters).all()):
            yield end
        else:
            diverged = True
    if diverged:
        raise AadslError(
            "training without this stage diverges: the retrained parameters are not finite",
            hint="the exact effect is not a number; look at the loss of the observed run around the stage",
        )


def in_order(firsts: Sequence[int]) -> list[int]:
    """Return the positions of runs in the order of their first changes."""
    return sorted(range(len(firsts)), key=firsts.__getitem__)


def stored_before(kept: Sequence[int], step: int) -> int:
    """Return the last of the ``kept`` steps, ascending, up to ``step``."""
    return kept[bisect_right(kept, step) - 1]


def steps_to_forks(kept: Sequence[int], firsts: Sequence[int]) -> int:
    """Return the number of steps that are replayed on the way from fork to fork."""
    starts = [0, *sorted(firsts)]
    return sum(first - max(before, stored_before(kept, first)) for before, first in pairwise(starts))
