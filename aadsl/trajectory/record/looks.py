"""Looks at random generators: where batches are announced, where forward passes begin, and what these drew."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from aadsl.core.generators import NUMPY, OWN, PYTHON, Generator, OwnGenerator, state_of
from aadsl.trajectory.record.matching import ForwardPass
from aadsl.trajectory.record.rows import NOTHING

# A look at Python's and NumPy's takes ten times as much as one at PyTorch's: after a few passes that drew nothing from
# them, one of so many is looked at. (What begins to draw later is not reproduced until then, which verification finds
# out.)
_FEW, _RARELY = 16, 64


class Looks:
    """Remembers the states of generators.

    Args:
        devices: those of PyTorch's global ones.
        own: the program's own.
    """

    def __init__(self, devices: Iterable[str], own: Sequence[OwnGenerator]) -> None:
        self._generators: dict[str, Generator] = {device: device for device in devices}
        self._generators |= {f"{OWN}{number}": one for number, one in enumerate(own)}
        self._quiet = 0  # passes since Python's or NumPy's generators were last drawn from
        self._announced: Mapping[str, bytes] = NOTHING

    def states(self) -> dict[str, bytes]:
        """Return the present states of PyTorch's and of the program's own."""
        return {name: state_of(generator) for name, generator in self._generators.items()}

    def _others(self) -> Mapping[str, bytes]:
        looked_at = self._quiet < _FEW or not self._quiet % _RARELY
        return {name: state_of(name) for name in (PYTHON, NUMPY)} if looked_at else NOTHING

    def announce(self, *, wary: bool) -> None:
        """Remember where the generators are, for the pass that comes next; ``wary``: all of them."""
        others = self._others()
        self._announced = {**self.states(), **others} if wary else others

    def begin(self, one: ForwardPass, *, announced: bool) -> None:
        """Note where a pass begins, and where its batch was ``announced`` just before."""
        one.others = self._others()
        if announced:  # the batch may pass several times
            one.early = self._announced

    def end(self, one: ForwardPass) -> None:
        """Keep of a pass what was drawn in it, and between it and its announcement."""
        if one.early:
            begun = {**one.states, **one.others}
            one.early = {name: state for name, state in one.early.items() if begun.get(name, state) != state}
        if one.others:
            one.others = {name: state for name, state in one.others.items() if state_of(name) != state}
        drew = one.others or not one.early.keys().isdisjoint((PYTHON, NUMPY))
        self._quiet = 0 if drew else self._quiet + 1
