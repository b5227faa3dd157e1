"""Recomputing the states between those that were kept."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import torch

from aadsl.core.progress import Progress, silent
from aadsl.propagation.curvature import Point
from aadsl.propagation.evaluation import Evaluation
from aadsl.propagation.layout import FlatState, difference
from aadsl.propagation.shelf import Shelf
from aadsl.propagation.step import Run, Step
from aadsl.propagation.step_map import StepMap

QUIET = 256  # steps that are replayed without a word

Variation = Callable[[Step], Step]
"""A counterfactual run: what happens instead of each observed step; the same object where nothing changes."""


def observed(step: Step) -> Step:
    """Change nothing."""
    return step


@dataclass(frozen=True)
class ObservedStep:
    """One observed step with all that it read and made.

    Attributes:
        step: Φ_t.
        state: ξ_t.
        after: ξ_{t+1}.
        evaluation: the loss and gradient g_t(θ_t) that the step used.
    """

    step: Step
    state: FlatState
    after: FlatState
    evaluation: Evaluation

    @cached_property
    def change(self) -> FlatState:
        """ξ_{t+1} − ξ_t."""
        return difference(self.after, self.state)

    @property
    def here(self) -> Point:
        """Where the observed step is differentiated."""
        return Point(self.state, self.step, self.evaluation, self.after.parameters)

    def point(self, step_map: StepMap, other: Step) -> Point | None:
        """Return where another step is differentiated; None for a step that is not applied."""
        evaluation = self.evaluation_for(step_map, other)
        return None if evaluation is None else self.here._replace(step=other, evaluation=evaluation)

    def evaluation_for(self, step_map: StepMap, other: Step) -> Evaluation | None:
        """Return loss and gradient of another step at θ_t: the observed ones where it reads the same data.

        None for a step that is not applied.
        """
        if not other.applied:
            return None
        alike = other.training == self.step.training and other.left_out == self.step.left_out
        if other.batches is self.step.batches and alike:
            return self.evaluation
        return step_map.evaluate(self.state, other)


def forward(
    run: Run, step_map: StepMap, start: int = 0, stop: int | None = None, progress: Progress = silent
) -> Iterator[ObservedStep]:
    """Yield the observed steps ``start`` … ``stop`` − 1 in order, recomputed from the last state kept before them.

    Kept states are taken as they are wherever there is one, so rounding errors of a replay on another machine
    cannot pile up; the run is told where the replay of each gap ended, and ``progress`` of a long way to ``start``.
    """
    stop = run.length if stop is None else stop
    kept = set(run.checkpoints)
    begin = first = max(t for t in run.checkpoints if t <= start)
    state = run.state(first)
    for t in range(first, stop):
        step = run.step(t)
        after, evaluation = step_map.advance(state, step)
        assert evaluation is not None
        if t + 1 in kept:
            run.reached(first, t + 1, after)
            first, after = t + 1, run.state(t + 1)
        if t >= start:
            yield ObservedStep(step, state, after, evaluation)
        else:
            _tell(progress, t + 1 - begin, start - begin)
        state = after


def backward(
    run: Run,
    step_map: StepMap,
    start: int = 0,
    stop: int | None = None,
    limit: int = 64,
    progress: Progress = silent,
    shelf: Shelf | None = None,
) -> Iterator[ObservedStep]:
    """Yield the observed steps ``stop`` − 1 (T − 1) … ``start`` in reverse, holding about 2·``limit`` states at most.

    A gap between kept states longer than ``limit`` is replayed once more, to keep every ``limit``-th of its states;
    where the memory does not hold so many, half as many are held from then on. They wait on ``shelf``, by default in
    the memory of the CPU, and come back while the step before is computed with. A step is true until the next one is
    asked for: its memory is used again. The run is told where the replay of each gap ended, and ``progress`` of what is
    replayed before a step can be yielded, where that is long.
    """
    stop = run.length if stop is None else stop
    bounds = [t for t in run.checkpoints if t < run.length] + [run.length]
    bounds = bounds[: bisect_left(bounds, stop) + 1]
    end_state = run.state(bounds[-1]) if bounds[-1] in run.checkpoints else None
    for first, last in reversed(list(pairwise(bounds))):
        if last <= start:
            return
        first_state = run.state(first)
        shelf = shelf or Shelf.beside(first_state.parameters.device)
        resting, end = {first: first_state}, last
        while end > first:
            try:
                rest = _rest_before(run, step_map, resting, first, end, limit, shelf, progress)
                stretch = _stretch(run, step_map, resting[rest], rest, end, shelf, progress)
            except torch.OutOfMemoryError:
                if limit == 1:
                    raise
                limit = (limit + 1) // 2
                shelf.clear()
                continue
            if end == last and end_state is not None:
                run.reached(first, last, _brought(stretch[-1].after, shelf))
                stretch[-1] = replace(stretch[-1], after=end_state)
            for taken in _in_reverse(stretch, shelf):
                if start <= taken.step.index < stop:
                    yield taken
            del resting[rest]
            end = rest
        end_state = first_state


def _rest_before(
    run: Run,
    step_map: StepMap,
    resting: dict[int, FlatState],
    first: int,
    end: int,
    limit: int,
    shelf: Shelf,
    progress: Progress,
) -> int:
    """Return the last step before ``end`` whose state rests; every ``limit``-th is laid down on the way there."""
    rest = max(resting)
    total = (end - rest - 1) // limit * limit
    if not total:
        return rest
    begin, state = rest, _brought(resting[rest], shelf)
    for t in range(begin, begin + total):
        state = step_map(state, run.step(t))
        _tell(progress, t + 1 - begin, total)
        if (t + 1 - begin) % limit == 0:
            rest = t + 1
            resting[rest] = state.with_tensors(shelf.keep(first - rest, state.tensors()))
    return rest


def _stretch(
    run: Run, step_map: StepMap, state: FlatState, start: int, stop: int, shelf: Shelf, progress: Progress
) -> list[ObservedStep]:
    """Return the steps ``start`` … ``stop`` − 1, as they wait on the shelf."""
    taken_steps: list[ObservedStep] = []
    waiting, state = state, _brought(state, shelf)
    for step in steps_of(run, start, stop):
        after, evaluation = step_map.advance(state, step)
        assert evaluation is not None
        *kept, gradient = shelf.keep(len(taken_steps), [*after.tensors(), evaluation.gradient])
        before, waiting = waiting, after.with_tensors(kept)
        taken_steps.append(ObservedStep(step, before, waiting, evaluation._replace(gradient=gradient)))
        state = waiting if shelf.near else after
        _tell(progress, len(taken_steps), stop - start)
    return taken_steps


def _in_reverse(stretch: list[ObservedStep], shelf: Shelf) -> Iterator[ObservedStep]:
    """Yield the steps of a stretch in reverse, brought back from the shelf one ahead; ``stretch`` is emptied."""
    if shelf.near:
        while stretch:
            yield stretch.pop()
        return
    after = _brought(stretch[-1].after, shelf)
    coming = shelf.bring([*stretch[-1].state.tensors(), stretch[-1].evaluation.gradient])
    while stretch:
        own = stretch.pop()
        *tensors, gradient = coming()
        if stretch:
            coming = shelf.bring([*stretch[-1].state.tensors(), stretch[-1].evaluation.gradient])
        state = own.state.with_tensors(tensors)
        yield ObservedStep(own.step, state, after, own.evaluation._replace(gradient=gradient))
        after = state


def _brought(state: FlatState, shelf: Shelf) -> FlatState:
    """Return a state that waits on a shelf as it can be computed with."""
    return state if shelf.near else state.with_tensors(shelf.bring(state.tensors())())


def steps_of(run: Run, start: int, stop: int) -> Iterator[Step]:
    """Yield Φ_t of the steps ``start`` … ``stop`` − 1.

    Made together they take a third of the time that one takes between two replays, which leave no cache as it was.
    """
    for begin in range(start, stop, QUIET):
        yield from [run.step(t) for t in range(begin, min(begin + QUIET, stop))]


def _tell(progress: Progress, done: int, total: int) -> None:
    """Say how far a replay is that others wait for, now and then."""
    if done % QUIET == 0 or (done == total and total > QUIET):
        progress("replay", done, total)


def final_state(run: Run, step_map: StepMap, progress: Progress = silent) -> FlatState:
    """Return ξ_T, replayed where the run ended without keeping it."""
    return carried_on(run, step_map, run.checkpoints[-1], progress)


def carried_on(run: Run, step_map: StepMap, start: int, progress: Progress = silent) -> FlatState:
    """Return where the run ends that begins at the stored state ``start``; later ones do not replace its own."""

    def steps() -> Iterator[Step]:
        for step in steps_of(run, start, run.length):
            yield step
            progress("replay", step.index + 1 - start, run.length - start)

    return step_map.through(run.state(start), steps())
