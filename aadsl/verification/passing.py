"""Comparing stored states on the way: whatever replays a stretch may say where the replay ended."""

from __future__ import annotations

from collections.abc import Callable, Container

from aadsl.propagation.layout import FlatState
from aadsl.replayed.history import History
from aadsl.verification.findings import Judge
from aadsl.verification.report import Compared
from aadsl.verification.stretch import Stretch

Reached = Callable[[int, int, FlatState], None]
"""``reached(start, stop, end)``: a replay of the steps between two stored states ended in ``end``."""


class DiffersError(Exception):
    """A replay ended elsewhere than the run.

    Attributes:
        stretch: the steps that were replayed, ``start`` and ``stop``.
    """

    def __init__(self, start: int, stop: int) -> None:
        super().__init__(f"steps {start} … {stop - 1}")
        self.stretch = start, stop


class Passing:
    """Compares the ends of what is replayed with what is stored.

    Args:
        history: the run.
        known: stretches that need not be compared again.

    Attributes:
        compared: what was compared.
    """

    def __init__(self, history: History, known: Container[tuple[int, int]]) -> None:
        self._history, self._known, self._judge = history, known, Judge(history)

    @property
    def compared(self) -> list[Compared]:
        """What was compared, and ends where the run did or as near as rounding decides."""
        return self._judge.near + self._judge.blurred

    def __call__(self, start: int, stop: int, end: FlatState) -> None:
        """Compare the end of a replay.

        Raises:
            DiffersError: it is elsewhere than the run.
        """
        if (start, stop) in self._known:
            return
        stretch = Stretch(self._history, start, stop, self._judge.tolerance)
        stretch.outcome = end
        self._judge.add(stretch)
        if self._judge.wrong:
            raise DiffersError(start, stop)
