"""Whether counterfactual runs advance together or one after the other: measured on one step, not guessed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray

from aadsl.core.progress import Progress
from aadsl.interventions import Intervention, counterfactual, first_step
from aadsl.propagation import (
    CannotAdvanceTogetherError,
    End,
    FlatState,
    Rehearsed,
    difference,
    ensemble,
    rehearse,
    reruns,
)
from aadsl.replayed.history import History

GAIN = 1.3  # an ensemble rounds otherwise than the recorded run: on a CPU it has to be worth that
LARGEST = {"cpu": 16}  # replicas at once; where memory is read more slowly than it is computed with, more bring nothing
MANY = 64
FEWEST = {"cpu": 8}  # runs from which on an ensemble can gain
FEW = 2
WORTH = 10  # a rehearsal takes this share of the work at most
HELD_BYTES = 1 << 30  # what the rows of an ensemble may take
COPIES = 6  # of a state for each row: its own, gradient, slots on their way
FAR = 1e-3  # of the way from the start to the end, that rounding may have moved the control run

PROBED = 3  # steps that are replayed twice, to see whether that gives the same bits

_KNOWN: WeakKeyDictionary[History, dict[int, Rehearsed]] = WeakKeyDictionary()
_REPRODUCIBLE: WeakKeyDictionary[History, bool] = WeakKeyDictionary()


@dataclass(frozen=True)
class Way:
    """How runs are done: ``size`` of them together, 1 for one after the other; and why, in words."""

    size: int
    words: str


def way_of(history: History, members: NDArray[np.bool_], intervention: Intervention) -> Way:
    """Return how the runs without stages, (S, T) ``members``, are done."""
    firsts, kind = [first_step(intervention, member) for member in members], history.device.type
    if intervention.decides_anew:
        return Way(1, "one after the other: the model decides in each what it does next")
    if history.alone:
        return Way(1, f"one after the other: {history.alone}")
    if history.objective.runs:
        return Way(1, "one after the other: the runs have models or losses of their own")
    if history.average is not None:
        return Way(1, "one after the other: each keeps an average of its weights")
    affordable = HELD_BYTES // (COPIES * max(1, history.state(0).nbytes)) - 1
    size = min(len(firsts), LARGEST.get(kind, MANY), affordable)
    if size < FEWEST.get(kind, FEW) or sum(history.length - first for first in firsts) < WORTH * 4 * size:
        return Way(1, "one after the other")
    known = _KNOWN.setdefault(history, {})
    if size not in known:
        known[size] = rehearse(history, history.step_map, firsts[0], size)
    found = known[size]
    if found.why:
        return Way(1, f"one after the other: {found.why}")
    if found.gain < GAIN:
        return Way(1, f"one after the other ({size} together are {found.gain:.1f} times as fast)")
    return Way(size, f"{size} at a time, which is {found.gain:.1f} times as fast")


def trained(
    history: History,
    members: NDArray[np.bool_],
    intervention: Intervention,
    *,
    control: bool,
    progress: Progress,
) -> Iterator[End]:
    """Yield the end of the run without each stage, (S, T) ``members``, whichever way it is done.

    Its states are those of the model that is asked about. Where an ensemble refuses a later batch, or rounding alone
    carries its control run far away, the runs that are left are done one after the other. ``control``: a control run
    rides along those, too; or two of them, where no replay ends as another one, so that one is one draw. Where the
    model decides anew, one does in any case: it has to decide what was recorded.
    """
    varied = [counterfactual(intervention, member, strictly=not control) for member in members]
    firsts = [first_step(intervention, member) for member in members]
    way, left = way_of(history, members, intervention), set(range(len(firsts)))
    if way.size > 1:
        try:
            for end in ensemble(history, history.step_map, varied, firsts, size=way.size, progress=progress):
                if history.device.type == "cpu" and not _near_the_end(history, *end.controls):
                    break
                left.discard(end.position)
                yield end
        except CannotAdvanceTogetherError:
            pass
    rest = sorted(left)
    if not rest:
        return
    own = [varied[i] for i in rest], [firsts[i] for i in rest]
    at_hand = history.waypoints.states
    draws = int(intervention.decides_anew) if not control else 1 if reproducible(history) else 2
    none = np.zeros(history.length, dtype=bool)
    controls = [counterfactual(intervention, none, strictly=not control) for _ in range(draws)]
    beside: tuple[FlatState, ...] = ()
    for end in reruns(history, history.step_map, *own, controls=controls, at_hand=at_hand, progress=progress):
        beside = beside or tuple(map(history.shipped, end.controls))  # the same for all of them
        yield End(rest[end.position], history.shipped(end.state), beside)


def reproducible(history: History) -> bool:
    """Return whether replays of the same steps end in the same bits; a few of the first are looked at, once."""
    if history not in _REPRODUCIBLE:
        ends = []
        for _ in range(2):
            state = history.state(0)
            for t in range(min(PROBED, history.length)):
                state = history.step_map(state, history.step(t))
            ends.append(state)
        _REPRODUCIBLE[history] = all(map(torch.equal, *(end.tensors() for end in ends)))
    return _REPRODUCIBLE[history]


def _near_the_end(history: History, control: FlatState) -> bool:
    """Return whether a control run ended at ξ_T but for rounding, beside the way from ξ_0."""
    off = difference(control, history.final).parameters.double().norm()
    way = difference(history.final, history.state(0)).parameters.double().norm()
    return bool(torch.isfinite(off)) and bool(off <= FAR * way)
