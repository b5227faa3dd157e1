"""States between the stored ones that a replay passes, kept for who wants them again soon."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from aadsl.propagation import FlatState

HELD_BYTES = 1 << 28  # what they may take


class Waypoints:
    """States of the recorded run where others fork from it: seen by a control run, they need no replay of their own.

    Attributes:
        states: those that were passed, by step.
    """

    def __init__(self) -> None:
        self._wanted: frozenset[int] = frozenset()
        self.states: dict[int, FlatState] = {}

    @contextmanager
    def wanted(self, steps: Iterable[int]) -> Iterator[None]:
        """Inside the block keep the states before ``steps``, as many as memory allows."""
        self._wanted = frozenset(steps)
        try:
            yield
        finally:
            self._wanted, self.states = frozenset(), {}

    def within(self, start: int, stop: int) -> list[int]:
        """Return the steps of ``start`` … ``stop`` − 1 before which the state is wanted, ascending."""
        return sorted(step for step in self._wanted if start <= step < stop)

    def passed(self, step: int, state: FlatState) -> None:
        """Keep the wanted state before a step, where memory allows."""
        if (len(self.states) + 1) * state.nbytes <= HELD_BYTES:
            self.states[step] = state
