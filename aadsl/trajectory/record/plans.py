"""Which states a recorder keeps: a plan is asked before each step, and may later give stored states up.

A stored state saves replaying the steps before it; everything between two of them is recomputed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Protocol, runtime_checkable

from aadsl.core.arguments import checked
from aadsl.core.errors import AadslError
from aadsl.core.units import bytes_of


@runtime_checkable
class StatePlan(Protocol):
    """Chooses states. ξ_0 and the final state are stored in any case."""

    def due(self, step: int) -> bool:
        """Return whether ξ_step is to be stored."""

    def surplus(self, stored: Sequence[int], state_bytes: int) -> list[int]:
        """Return which of the ``stored`` states (ascending) to delete again, given the size of one."""


@dataclass(frozen=True)
class SquareRoot:
    """The state after the first step, and twice the squares: 0, 1, 2, 8, 18, 32 … Gaps grow with √t.

    So the run's length need not be known: T steps have about √(T/2) states, and the longest gap has four times as many
    steps. Each state costs the training: one of 0.8 MB takes 2 ms to write, as long as two steps of the MLP that it is
    of. Gaps of one step are those from which verification can best tell the cause of a mismatch.
    """

    def due(self, step: int) -> bool:
        """Return whether ``step`` is 1 or twice a square."""
        return step == 1 or (step % 2 == 0 and isqrt(step // 2) ** 2 == step // 2)

    def surplus(self, stored: Sequence[int], state_bytes: int) -> list[int]:
        """Return nothing: every state is kept."""
        return []


@dataclass(frozen=True)
class Elastic(SquareRoot):
    """The same states, each as soon as training can afford it: a large network, or a slow disk, keeps fewer."""


@dataclass(frozen=True)
class Every:
    """Every ``interval``-th state."""

    interval: int

    def due(self, step: int) -> bool:
        """Return whether ``interval`` divides ``step``."""
        return step % self.interval == 0

    def surplus(self, stored: Sequence[int], state_bytes: int) -> list[int]:
        """Return nothing: every state is kept."""
        return []


@dataclass
class Budget:
    """As many evenly spaced states as fit into ``limit`` bytes; each time they do not, every second one goes."""

    limit: int
    interval: int = 1

    def due(self, step: int) -> bool:
        """Return whether the present interval divides ``step``."""
        return step % self.interval == 0

    def surplus(self, stored: Sequence[int], state_bytes: int) -> list[int]:
        """Double the interval until the states on it, and one final state, fit; return those that are off it."""
        room = self.limit // max(1, state_bytes) - 1
        if room < 2:
            raise AadslError(
                f"the state budget of {self.limit:,} bytes does not hold three states of {state_bytes:,} bytes",
                hint='give a larger budget, or states="sqrt"',
            )
        kept = [step for step in stored if step % self.interval == 0]
        while len(kept) > room:
            self.interval *= 2
            kept = [step for step in kept if step % self.interval == 0]
        return sorted(set(stored) - set(kept))


@checked
def every(interval: int) -> Every:
    """Return the plan that keeps every ``interval``-th state.

    >>> [t for t in range(10) if every(4).due(t)]
    [0, 4, 8]
    """
    if interval < 1:
        raise AadslError(f"every({interval!r}): the interval is a whole number of steps, at least 1")
    return Every(int(interval))


@checked
def budget(size: float | str) -> Budget:
    """Return the plan that keeps as many states as fit into ``size`` bytes (a number, ``"500MB"``, ``"2GiB"``).

    >>> budget("2KiB").limit
    2048
    """
    return Budget(bytes_of(size))


def plan_of(states: str | int | StatePlan) -> StatePlan:
    """Return the plan that the recorder's ``states=`` means: a word, k for every k-th, or the plan itself."""
    if states == "auto":
        return Elastic()
    if states == "sqrt":
        return SquareRoot()
    if states == "all":
        return Every(1)
    if isinstance(states, StatePlan):
        return states
    if not isinstance(states, str):
        return every(states)
    raise AadslError(
        f"states={states!r} is not a plan",
        hint='say "auto", "sqrt", "all", a number k for every k-th state, or budget("2GiB")',
    )
