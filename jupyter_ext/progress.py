"""Progress of long work: one line a task with the time left, drawn without widgets, so it survives saving."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aadsl.core.texts import told
from jupyter_ext.html import escaped

REFRESH = 0.15
"""Seconds between two drawings."""
PATIENCE = 0.4
"""Seconds of work before anything is drawn: what is done sooner needs no bar."""


@dataclass
class Task:
    """One stretch of work: ``done`` of ``total`` pieces since ``started`` (seconds of a monotonic clock)."""

    label: str
    started: float
    now: float
    done: int = 0
    total: int = 0

    def words(self, stopped: bool = False) -> str:
        """Say how far the task is, how long it took or, unless it was ``stopped``, how long it will still take."""
        spent = self.now - self.started
        if self.total == 1:
            return f"{self.label}: {duration(spent)}" if self.done else self.label
        if self.done >= self.total:
            return f"{self.label}: {self.total:,} in {duration(spent)}"
        left = f", {duration(spent / self.done * (self.total - self.done))} left" if self.done and not stopped else ""
        return f"{self.label}: {self.done:,} of {self.total:,}{left}"


def duration(seconds: float) -> str:
    """Return a time span as people say it: ``0.4 s``, ``12 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


@dataclass
class ProgressBars:
    """Called as ``progress(label, done, total)`` by whatever computes; draws itself in the output of the cell."""

    show: Callable[..., Any]
    """``IPython.display.display`` or a stand-in."""
    clock: Callable[[], float] = time.monotonic
    tasks: dict[str, Task] = field(default_factory=dict)
    stopped: str = ""
    _handle: Any = None
    _drawn: float = 0.0

    def __post_init__(self) -> None:
        self._born = self.clock()

    def __call__(self, label: str, done: int, total: int) -> None:
        """Note that ``done`` of ``total`` pieces of the task ``label`` are finished; cheap when called often."""
        now = self.clock()
        task = self.tasks.get(label)
        if task is None or done < task.done:
            task = self.tasks[label] = Task(label, now, now)
        task.done, task.total, task.now = done, total, now
        if now - self._born >= PATIENCE and now - self._drawn >= REFRESH:
            self._draw(now)

    def close(self, stopped: str = "") -> None:
        """Draw the last state, and where the work was ``stopped``, say so. Nothing is drawn for quick work."""
        self.stopped = stopped
        if self._handle is not None or (stopped and self.tasks):
            self._draw(self.clock())

    def _draw(self, now: float) -> None:
        self._drawn = now
        if self._handle is None:
            self._handle = self.show(self, display_id=True)
        elif self._handle:
            self._handle.update(self)

    def __repr__(self) -> str:
        lines = [task.words(bool(self.stopped)) for task in self.tasks.values()]
        return told("\n".join([*lines, self.stopped] if self.stopped else lines))

    def _repr_html_(self) -> str:
        lines = [_bar(task, bool(self.stopped)) for task in self.tasks.values()]
        if self.stopped:
            lines.append(f"<div>{escaped(self.stopped)}</div>")
        return f'<div role="status" style="font-size: 90%">{"".join(lines)}</div>'


def _bar(task: Task, stopped: bool) -> str:
    words = escaped(task.words(stopped))
    if task.done >= task.total or stopped:
        return f"<div>{words}</div>"
    bar = f'<progress value="{task.done}" max="{task.total}" style="width: 16em" aria-label="{words}"></progress>'
    return f"<div>{bar} {words}</div>"
