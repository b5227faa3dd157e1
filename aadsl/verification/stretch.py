"""A stretch between two stored states, replayed, and how far the replay ends from what was stored."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import pairwise
from math import exp, inf, sqrt

import torch
from torch import Tensor

from aadsl.dynamics import OWN_SCALAR
from aadsl.propagation.layout import FlatState
from aadsl.propagation.replay import Variation, observed, steps_of
from aadsl.propagation.step import Step
from aadsl.replayed.history import History

# Rounding errors a step and element, in units of the dtype's precision.
_ROUNDINGS = 8.0
# Parameters × replayed steps that nobody minds waiting for.
_QUICK = 200_000_000


def affordable(history: History, share: int = 1) -> int:
    """Return how many steps a check may replay: one in ``share`` of the run's, or of what small networks do quickly."""
    return max(history.length, _QUICK // history.objective.parameters.size) // share


class SpentError(Exception):
    """So many steps were replayed as a check may replay."""


class Stretch:
    """Steps ``start <= t < stop`` between two stored states, which fit if the replay ends within ``tolerance``.

    The deviation of each part of the state (parameters, each optimizer slot, buffers) is taken relative to how far the
    stretch moved it, with an allowance for rounding. ``firm`` is 0 over numbers that are not compared.
    ``stepped`` is called after each step that is replayed. Where the history would have replayed more than ``most``
    steps, SpentError is raised.
    """

    def __init__(
        self,
        history: History,
        start: int,
        stop: int,
        tolerance: float,
        firm: FlatState | None = None,
        stepped: Callable[[], None] = lambda: None,
        most: float = inf,
    ) -> None:
        self.history, self.start, self.stop, self.tolerance = history, start, stop, tolerance
        self._firm, self._stepped, self.most = firm, stepped, most

    @property
    def firm(self) -> FlatState:
        """1 over the numbers that are compared."""
        everything = self.before.with_tensors(torch.ones_like(tensor) for tensor in self.before.tensors())
        return everything if self._firm is None else self._firm

    def only(self, firm: FlatState) -> Stretch:
        """Return this stretch compared where ``firm`` is 1; what was replayed is not replayed again."""
        rest = Stretch(self.history, self.start, self.stop, self.tolerance, firm, self._stepped, self.most)
        rest.before, rest.target, rest.outcome = self.before, self.target, self.outcome
        return rest

    def __len__(self) -> int:
        return self.stop - self.start

    @cached_property
    def before(self) -> FlatState:
        """The stored state at its start."""
        return self.history.state(self.start)

    @cached_property
    def target(self) -> FlatState:
        """The stored state at its end."""
        return self.history.state(self.stop)

    @cached_property
    def outcome(self) -> FlatState:
        """The replayed state at its end."""
        return self.replay(observed)

    def replay(self, varied: Variation, moved: Callable[[FlatState], FlatState] | None = None) -> FlatState:
        """Return where the stretch ends if its steps are ``varied``, and if states are ``moved`` before each."""
        if moved is not None:
            return deque(self.walk(varied, moved), maxlen=1).pop()
        state, waypoints = self.before, self.history.waypoints
        wanted = waypoints.within(self.start, self.stop) if varied is observed else []
        for start, stop in pairwise(sorted({self.start, *wanted, self.stop})):
            if start in wanted:
                waypoints.passed(start, state)
            state = self.history.step_map.through(state, self._steps(varied, start, stop))
        return state

    def walk(self, varied: Variation, moved: Callable[[FlatState], FlatState] | None = None) -> Iterator[FlatState]:
        """Yield the state after each of the steps of :meth:`replay`."""
        state = self.before
        for step in self._steps(varied, self.start, self.stop):
            state = self.history.step_map(moved(state) if moved else state, step)
            yield state

    def _steps(self, varied: Variation, start: int, stop: int) -> Iterator[Step]:
        for step in steps_of(self.history, start, stop):
            if self.history.replayed_steps >= self.most:
                raise SpentError
            self.history.replayed_steps += 1
            yield varied(step)
            self._stepped()

    @cached_property
    def restarts(self) -> frozenset[int]:
        """The parameter groups whose optimizer starts afresh at its end, so that their slots there are not compared."""
        ended = self.stop == self.history.trajectory.length
        return frozenset(() if ended else self.history.step(self.stop).restarted)

    def parts(self, state: FlatState) -> list[Tensor]:
        """Return what is compared: all of a state, but not slots that the next step starts afresh."""
        if self._firm is not None:
            state = state.with_tensors(t * firm for t, firm in zip(state.tensors(), self._firm.tensors(), strict=True))
        slots = ({} if group in self.restarts else own for group, own in enumerate(state.slots))
        told = ({name: t for name, t in own.items() if not name.startswith(OWN_SCALAR)} for own in slots)
        return state._replace(slots=tuple(told)).tensors()

    @cached_property
    def _scales(self) -> list[Tensor]:
        """For each part of the state, the distance that counts as 1: how far it moved, and what rounding may add."""
        scales = []
        for after, start in zip(self.parts(self.target), self.parts(self.before), strict=True):
            rounding = _ROUNDINGS * torch.finfo(after.dtype).eps * sqrt(len(self)) * after.double().norm()
            scales.append((after.double() - start.double()).norm() + rounding / self.tolerance + 1e-30)
        return scales

    def residual(self, state: FlatState) -> Tensor:
        """Return (n,) the difference from the stored end, each part in units of its scale."""
        parts = zip(self.parts(state), self.parts(self.target), self._scales, strict=True)
        return torch.cat([((own.double() - aim.double()) / scale).reshape(-1) for own, aim, scale in parts])

    def distances(self, one: FlatState, other: FlatState) -> list[float]:
        """Return the distance of each part of two states, in units of its scale; infinite where one is no number."""
        parts = zip(self.parts(one), self.parts(other), self._scales, strict=True)
        found = [float((a.double() - b.double()).norm() / scale) for a, b, scale in parts]
        return [value if value == value else inf for value in found]

    def deviation_of(self, state: FlatState) -> float:
        """Return the largest relative deviation of any part."""
        return max(self.distances(state, self.target))

    @cached_property
    def deviation(self) -> float:
        """The largest relative deviation of the replay."""
        return 0.0 if self.exact else self.deviation_of(self.outcome)

    @property
    def moves(self) -> bool:
        """Whether the run moved anything there; else any replay fits that moves nothing, whatever the loss."""
        pairs = zip(self.parts(self.target), self.parts(self.before), strict=True)
        return not all(torch.equal(after, before) for after, before in pairs)

    @property
    def fits(self) -> bool:
        """Whether the replay ends where the run did."""
        return self.deviation <= self.tolerance

    @cached_property
    def exact(self) -> bool:
        """Whether it does so bit by bit."""
        return all(torch.equal(a, b) for a, b in zip(self.parts(self.outcome), self.parts(self.target), strict=True))

    def solve(self, end: Callable[[float], FlatState], iterations: int = 16) -> tuple[float, float]:
        """Return the factor f for which ``end(f)`` comes closest to the stored end, and the deviation it leaves.

        The secant method, in the least-squares sense, on log f: exact after one step where the end is linear in f.
        """
        begin = end(1.0)
        best = (1.0, self.deviation_of(begin))
        place, residual = 0.0, self.residual(begin)
        probes = [(self.residual(end(exp(move))) - residual) / move for move in (-1e-3, 1e-3)]
        # Where a unit switches on or off between two points, their difference is a jump and not a slope.
        slope = min(probes, key=lambda probe: float(probe.norm()))
        for done in range(iterations):
            if done == 5 and best[1] > 0.5 * self.deviation:
                break  # this is not it
            length = float(slope @ slope)
            if not 0 < length < inf:
                break
            move = max(-1.5, min(1.5, -float(slope @ residual) / length))
            place += move
            if abs(move) < 1e-7 or abs(place) > 20:
                break
            here = end(exp(place))
            best = min(best, (exp(place), self.deviation_of(here)), key=lambda pair: pair[1])
            before, residual = residual, self.residual(here)
            secant = (residual - before) / move
            slope = secant if abs(move) > 1e-4 and float(secant.norm()) < 10 * float(slope.norm()) else slope
        return best
