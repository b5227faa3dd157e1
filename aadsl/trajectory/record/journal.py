"""The recorder's hand on the disk: commits states and segments in the background, thins states by plan."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from aadsl.core.errors import AadslError
from aadsl.trajectory.record.pace import Pace
from aadsl.trajectory.record.plans import StatePlan
from aadsl.trajectory.record.reserve import Reserve
from aadsl.trajectory.record.rows import Row, batch_columns, step_columns
from aadsl.trajectory.record.writer import Writer
from aadsl.trajectory.store.header import Header, write_header
from aadsl.trajectory.store.segments import (
    Segment,
    append,
    merge_steps,
    state_name,
    states_in,
)
from aadsl.trajectory.store.states import StateWriter
from aadsl.trajectory.store.tensors import Packed

# Steps are committed this often: what a killed process loses.
FLUSH_SECONDS = 2.0
FLUSH_BYTES = 16 << 20


class Waiting(NamedTuple):
    """Steps that wait to be written: the number of the first, and all of them."""

    first: int
    rows: list[Row]


class Tally:
    """What is known of a run that another process writes: its ``header``, and how many steps there are (``first``)."""

    def __init__(self, header: Header, first: int) -> None:
        self.header = header
        self._counted = first

    @property
    def step(self) -> int:
        """Number of the next step."""
        return self._counted

    @property
    def is_full(self) -> bool:
        """Whether the steps that wait are many enough, or have waited long enough, to be committed."""
        return False

    def due(self, step: int) -> bool:
        """Return whether ξ_step is to be kept."""
        return False

    def copying(self) -> AbstractContextManager[None]:
        """Count the time that the training's thread takes for a state."""
        return nullcontext()

    def problem(self) -> AadslError | None:
        """Return what went wrong in the background, if anything did."""
        return None

    def state(self, step: int, packed: Packed) -> None:
        """Take ξ_step."""

    def tell(self, **known: Any) -> None:
        """Say what else the header of a run that ends knows."""

    def add(self, row: Row) -> None:
        """Add a step that was taken. Whatever interrupts this call, the step is added or it is not."""
        self._counted += 1

    def commit(self) -> None:
        """Let what waits be written."""

    def flush(self) -> None:
        """Wait until everything is on disk, or failed."""

    def close(self) -> None:
        """Finish."""


class Journal(Tally):
    """Writes one run into ``folder``, which holds ``header`` and the steps before ``first`` already.

    Errors wait for :meth:`problem`.
    """

    def __init__(self, folder: Path, plan: StatePlan, header: Header, first: int) -> None:
        super().__init__(header, first)
        self.folder = folder
        self._plan = plan
        self._waiting = Waiting(first, [])
        self._held = 0  # bytes of batches in rows that wait
        self._sizes: dict[str, int] = {}  # of segments, in memory
        self._busy = 0.0  # seconds that committing the last stretch of steps took
        self._commit_at = time.monotonic() + FLUSH_SECONDS
        self._stored = states_in(path.name for path in folder.iterdir())
        self._states = StateWriter(folder, header.attributes)
        self._writer = Writer()
        self._pace = Pace(plan, self._writer, first)
        self._reserve = Reserve(folder)
        self._diverged: AadslError | None = None
        self._refused: OSError | None = None  # what the disk refused, while steps can still be written

    def problem(self) -> AadslError | None:
        """Return what went wrong in the background, if anything did."""
        error = self._writer.error or self._refused or self._diverged
        if error is None or isinstance(error, AadslError):
            return error
        return AadslError(
            f"recording into {self.folder} failed: {error}", hint="what was committed before stays readable"
        )

    def due(self, step: int) -> bool:
        """Return whether ξ_step is to be kept, and training can afford it."""
        return self._pace.due(step)

    def copying(self) -> AbstractContextManager[None]:
        """Count the time that the training's thread takes for a state."""
        return self._pace.copying()

    def state(self, step: int, packed: Packed) -> None:
        """Queue ξ_step."""
        self._writer.put(lambda: self._write_state(step, packed), packed.nbytes)

    def tell(self, **known: Any) -> None:
        """Say what else the header of a run that ends knows."""
        self.header = replace(self.header, **known)

    @property
    def step(self) -> int:
        """Number of the next step."""
        return self._waiting.first + len(self._waiting.rows)

    def add(self, row: Row) -> None:
        """Add a step that was taken. Whatever interrupts this call, the step is added or it is not."""
        self._waiting.rows.append(row)
        for batch in row.batches:
            self._held += batch.nbytes

    @property
    def is_full(self) -> bool:
        """Whether the steps that wait are many enough, or have waited long enough, to be committed."""
        return self._held > FLUSH_BYTES or time.monotonic() > self._commit_at

    def commit(self) -> None:
        """Queue the steps that wait."""
        first, rows = self._waiting
        if rows:
            self._writer.put(lambda: self._write_rows(first, rows), self._held)
        self._waiting, self._held = Waiting(first + len(rows), []), 0
        # Up to 15 times less often on a slow disk or a busy machine, so that committing takes a hundredth of the time.
        self._commit_at = time.monotonic() + FLUSH_SECONDS * min(max(1.0, self._busy / 0.02), 15.0)

    def flush(self) -> None:
        """Wait until everything queued is on disk, or failed."""
        self._writer.flush()

    def close(self) -> None:
        """Finish: join the segments of steps and note how many there are."""
        self.commit()
        length = self.step
        self._writer.put(lambda: self._finish(length))
        self._writer.close()

    def _write_state(self, step: int, packed: Packed) -> None:
        try:
            with self._pace.writing():
                self._states.write(step, packed)
        except AadslError as error:
            self._diverged = error  # no reason to lose the steps that led there
            return
        except OSError as error:
            self._refused = error  # nor is this: they are far smaller
            if self._stored or not self._reserve.release():
                return
            self._states.write(step, packed)  # but without a first state there would be nothing to read
        if step not in self._stored:
            self._stored.append(step)
        for surplus in self._plan.surplus(self._stored, packed.nbytes):
            if surplus != step:
                (self.folder / state_name(surplus)).unlink(missing_ok=True)
                self._stored.remove(surplus)

    def _write_rows(self, start: int, rows: Sequence[Row]) -> None:
        try:
            self._append(start, rows)
        except OSError as error:
            if not self._reserve.release():
                raise
            self._refused = error
            self._append(start, rows)

    def _append(self, start: int, rows: Sequence[Row]) -> None:
        begun = time.monotonic()
        stop = start + len(rows)
        attributes = self.header.attributes
        # Batches first: the segments of steps say how long the run is.
        append(self.folder, Segment("batches", start, stop), batch_columns(start, rows), attributes, self._sizes)
        append(self.folder, Segment("steps", start, stop), step_columns(start, rows), attributes)
        self._busy = time.monotonic() - begun

    def _finish(self, length: int) -> None:
        self._reserve.release()
        merge_steps(self.folder, self.header.attributes)
        known = {**self.header.provenance, "states": f"{len(self._stored)} kept; {self._pace}"}
        write_header(self.folder, replace(self.header, length=length, provenance=known))
