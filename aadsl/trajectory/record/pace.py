"""Which states training can afford to keep: a plan is the wish, a share of the time the law."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from aadsl.trajectory.record.plans import Elastic, StatePlan
from aadsl.trajectory.record.writer import Writer

# Of the time since recording began: copies in the training's thread, and the processor's time in the writer's. With
# what the steps themselves take, recording stays within a twentieth of the time of steps of some milliseconds.
SHARE = 0.03
FREE = 0.05  # seconds that nobody notices: short runs keep what is wished
EARLY = 1  # the state after the first step is kept whatever it costs: gaps of one step tell causes best
BUSY, DEAR = "the disk was busy with the one before", f"more would have taken over {SHARE:.0%} of the time"


class Pace:
    """Says before which steps the state is kept.

    Under an :class:`Elastic` plan a wish that cannot be afforded waits until it can, and is fulfilled at the step that
    comes then; training does not wait for the writer. Under any other plan each wish is fulfilled.

    Args:
        plan: what is wished for.
        writer: writes the states.
        first: the step at which recording begins.
        clock: returns seconds.
    """

    def __init__(
        self, plan: StatePlan, writer: Writer, first: int, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._plan, self._writer, self._first, self._clock = plan, writer, first, clock
        self._elastic = isinstance(plan, Elastic)
        self._begun = clock()
        self._copied = self._copy = 0.0  # seconds: of all states, of the last; this thread's alone
        self._written = self._write = 0.0  # the same of the writer's thread
        self._waiting = False
        self._wished = 0
        self._put_off: Counter[str] = Counter()

    def due(self, step: int) -> bool:
        """Return whether ξ_step is to be kept."""
        wished = self._plan.due(step)
        self._wished += wished
        self._waiting |= wished
        if not self._waiting:
            return False
        if self._elastic and step > self._first + EARLY and (why := self._unaffordable()):
            self._put_off[why] += wished
            return False
        self._waiting = False
        return True

    def _unaffordable(self) -> str:
        """Return why a state cannot be kept now; nothing where it can."""
        if not self._writer.idle:
            return BUSY
        expected = self._copied + self._copy + self._written + self._write
        return DEAR if expected > FREE + SHARE * (self._clock() - self._begun) else ""

    @contextmanager
    def copying(self) -> Iterator[None]:
        """Count the time that the training's thread takes for a state."""
        begun = self._clock()
        yield
        self._copy = self._clock() - begun
        self._copied += self._copy

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Count what the writer's thread takes of the processor: while it waits for the disk, training goes on."""
        begun = time.thread_time()
        yield
        self._write = time.thread_time() - begun
        self._written += self._write

    def __str__(self) -> str:
        late = ", ".join(f"{count} later because {why}" for why, count in self._put_off.items() if count)
        return f"{self._wished} wished for by the plan{f', {late}' if late else ''}"
