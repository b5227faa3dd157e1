"""Counterfactual runs, trained to their end one after the other; they share their way as long as nothing differs."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch

from aadsl.core.errors import AadslError
from aadsl.core.progress import Progress, silent
from aadsl.propagation.layout import FlatState
from aadsl.propagation.replay import Variation, observed, steps_of
from aadsl.propagation.step import Run, Step
from aadsl.propagation.step_map import StepMap


class End(NamedTuple):
    """Where a counterfactual run ended.

    Attributes:
        position: which of the runs asked for.
        state: ζ_T.
        controls: the ends of runs without any change, to which it is compared; none where that is ξ_T.
    """

    position: int
    state: FlatState
    controls: tuple[FlatState, ...]


def reruns(
    run: Run,
    step_map: StepMap,
    varied: Sequence[Variation],
    firsts: Sequence[int],
    *,
    controls: Sequence[Variation] = (),
    at_hand: Mapping[int, FlatState] | None = None,
    progress: Progress = silent,
) -> Iterator[End]:
    """Yield the end of each counterfactual run; two states are held at a time, and those of the controls.

    Args:
        run: the observed run.
        step_map: how a step changes the state.
        varied: for each run its steps Ψ_t, equal to the observed ones before its first change.
        firsts: the first step at which each differs. Up to it the way is walked once for all of them, from stored state
            to stored state, so ends have the bits of training as recorded.
        controls: runs without any change, which go to the end, too. Where there are some, the others fork from one
            whose states stored ones do not replace: where a replay rounds otherwise than the recorded run, all of them
            round alike.
        at_hand: states that a replay passed from stored state to stored state, by step.
        progress: called after each step.

    Raises:
        AadslError: a run leaves the finite numbers; the others were yielded before.
    """
    order = sorted(range(len(firsts)), key=lambda i: firsts[i])
    walk = _Walk(run, jumps=not controls, at_hand=at_hand)
    start = walk.begin(firsts[order[0]])
    done, total = 0, sum(run.length - first for first in firsts) + walk.length([firsts[i] for i in order])
    total += len(controls) * (run.length - start)

    def stepped() -> None:
        nonlocal done
        done += 1
        progress("retraining", done, total)

    def to_the_end(state: FlatState, first: int, variation: Variation) -> FlatState:
        return step_map.through(state, _steps(run, first, run.length, variation, stepped))

    unchanged = tuple(to_the_end(run.state(start), start, control) for control in controls)
    diverged = None
    for position in order:
        state = to_the_end(walk.to(firsts[position], step_map, stepped), firsts[position], varied[position])
        if bool(torch.isfinite(state.parameters).all()):
            yield End(position, state, unchanged)
        else:
            diverged = divergence()
    if diverged is not None:
        raise diverged


def _steps(run: Run, start: int, stop: int, variation: Variation, stepped: Callable[[], None]) -> Iterator[Step]:
    """Yield the varied steps ``start`` … ``stop`` − 1; ``stepped`` is called after each."""
    for step in steps_of(run, start, stop):
        yield variation(step)
        stepped()


def divergence() -> AadslError:
    """Return what is said of a counterfactual run that left the finite numbers."""
    return AadslError(
        "training without this stage diverges: the retrained parameters are not finite",
        hint="the exact effect is not a number; look at the loss of the observed run around the stage",
    )


def way_to(run: Run, firsts: Sequence[int]) -> int:
    """Return how many steps are replayed before the runs that differ from ``firsts`` on can fork."""
    return _Walk(run, jumps=True).length(sorted(firsts))


class _Walk:
    """The way along which runs are forked; with ``jumps`` stored states are taken wherever there is one."""

    def __init__(self, run: Run, *, jumps: bool, at_hand: Mapping[int, FlatState] | None = None) -> None:
        self._run, self._jumps = run, jumps
        self._at_hand = at_hand or {}
        self._places: list[int] = sorted({*run.checkpoints, *(self._at_hand if jumps else ())})
        self._at: tuple[int, FlatState] | None = None

    def begin(self, first: int) -> int:
        """Return the step of the last state up to ``first`` that is stored, or at hand."""
        return self._places[bisect_right(self._places, first) - 1]

    def length(self, firsts: Sequence[int]) -> int:
        """Return how many steps the way to all of ``firsts``, ascending, takes."""
        steps, place = 0, self.begin(firsts[0])
        for first in firsts:
            place = max(place, self.begin(first)) if self._jumps else place
            steps, place = steps + first - place, first
        return steps

    def to(self, first: int, step_map: StepMap, stepped: Callable[[], None]) -> FlatState:
        """Return the state before step ``first``, which is not before the one asked for last."""
        stored = self.begin(first)
        if self._at is None or (self._jumps and stored > self._at[0]):
            self._at = stored, self._at_hand.get(stored) or self._run.state(stored)
        place, state = self._at
        state = step_map.through(state, _steps(self._run, place, first, observed, stepped))
        self._at = first, state
        return state
