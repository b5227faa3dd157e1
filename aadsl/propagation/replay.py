"""Recomputing the states between those that were kept."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

from torch import Tensor

from aadsl.core.progress import Progress, silent
from aadsl.propagation.curvature import Point
from aadsl.propagation.layout import FlatState, difference
from aadsl.propagation.objective import Evaluation
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
) -> Iterator[ObservedStep]:
    """Yield the observed steps ``stop`` − 1 (T − 1) … ``start`` in reverse, holding about 2·``limit`` states at most.

    A gap between kept states longer than ``limit`` is replayed once more, to keep every ``limit``-th of its states.
    A step is true until the next one is asked for: its memory is used again. The run is told where the replay of each
    gap ended, and ``progress`` of what is replayed before a step can be yielded, where that is long.
    """
    shelf = Shelf()
    stop = run.length if stop is None else stop
    bounds = [t for t in run.checkpoints if t < run.length] + [run.length]
    bounds = bounds[: bisect_left(bounds, stop) + 1]
    end_state = run.state(bounds[-1]) if bounds[-1] in run.checkpoints else None
    for first, last in reversed(list(pairwise(bounds))):
        if last <= start:
            return
        resting = {first: run.state(first)}
        first_state = resting[first]
        state, end = resting[first], first + (last - first - 1) // limit * limit
        for t in range(first, end):
            state = step_map(state, run.step(t))
            _tell(progress, t + 1 - first, end - first)
            if (t + 1 - first) % limit == 0:
                resting[t + 1] = state
        for rest in sorted(resting, reverse=True):
            end = min(rest + limit, last)
            stretch = _stretch(run, step_map, resting.pop(rest), rest, end, shelf, progress)
            if end == last and end_state is not None:
                run.reached(first, last, stretch[-1].after)
                stretch[-1] = replace(stretch[-1], after=end_state)
            while stretch:
                taken = stretch.pop()
                if start <= taken.step.index < stop:
                    yield taken
        end_state = first_state


class Shelf:
    """Memory in which the states of one stretch after the other are kept.

    The system hands fresh memory over page by page, zeroed: on a CPU that takes ten times as long as writing to it.
    """

    def __init__(self) -> None:
        self._places: dict[int, list[Tensor]] = {}

    def keep(self, place: int, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return ``tensors``, copied to where those of this place were kept before."""
        if tensors[0].device.type != "cpu":
            return list(tensors)
        if place not in self._places:
            self._places[place] = [t.clone() for t in tensors]
        else:
            for own, t in zip(self._places[place], tensors, strict=True):
                own.copy_(t)
        return self._places[place]


def _stretch(
    run: Run, step_map: StepMap, state: FlatState, start: int, stop: int, shelf: Shelf, progress: Progress
) -> list[ObservedStep]:
    """Return the steps ``start`` … ``stop`` − 1."""
    taken_steps: list[ObservedStep] = []
    for begin in range(start, stop, QUIET):
        # Read together they take less time than one between two replays.
        for step in [run.step(t) for t in range(begin, min(begin + QUIET, stop))]:
            after, evaluation = step_map.advance(state, step)
            assert evaluation is not None
            *kept, gradient = shelf.keep(len(taken_steps), [*after.tensors(), evaluation.gradient])
            after, evaluation = after.with_tensors(kept), evaluation._replace(gradient=gradient)
            taken_steps.append(ObservedStep(step, state, after, evaluation))
            state = after
            _tell(progress, len(taken_steps), stop - start)
    return taken_steps


def _tell(progress: Progress, done: int, total: int) -> None:
    """Say how far a replay is that others wait for, now and then."""
    if done % QUIET == 0:
        progress("replay", done, total)


def final_state(run: Run, step_map: StepMap, progress: Progress = silent) -> FlatState:
    """Return ξ_T, replayed where the run ended without keeping it."""
    return carried_on(run, step_map, run.checkpoints[-1], progress)


def carried_on(run: Run, step_map: StepMap, start: int, progress: Progress = silent) -> FlatState:
    """Return where the run ends that begins at the stored state ``start``; later ones do not replace its own."""
    state = run.state(start)
    for t in range(start, run.length):
        state = step_map(state, run.step(t))
        progress("replay", t + 1 - start, run.length - start)
    return state
