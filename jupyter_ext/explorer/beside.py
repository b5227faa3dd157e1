"""Work beside the notebook: one piece at a time in a thread of its own, the newest that was asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass, field


class Cancelled(BaseException):
    """Ends work that nobody waits for any more; no error, so nothing on the way may hold it up."""


@dataclass(frozen=True)
class Work:
    """What to do, given a function that raises ``Cancelled`` once it is no longer wanted.

    Attributes:
        key: what it is about; the same is not begun twice.
        asked: whether somebody asked for it by hand. That is never given up for what follows by itself.
    """

    key: str
    work: Callable[[Callable[[], None]], None]
    asked: bool = False


@dataclass
class Beside:
    """Does the newest job; what it replaces is stopped first. ``ended`` hears of every job that was cancelled."""

    ended: Callable[[], None] = lambda: None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _thread: threading.Thread | None = None
    _now: Work | None = None
    _next: Work | None = None
    _stop: threading.Event = field(default_factory=threading.Event)

    def ask(self, job: Work) -> None:
        """Do ``job``, now or when the one before it has stopped; nothing happens where that one is not given up."""
        with self._lock:
            if self._now is None:
                self._start(job)
            elif not self._now.asked and (job.asked or job.key != self._now.key or self._stop.is_set()):
                self._next = job
                self._stop.set()

    def cancel(self, by_hand: bool = True) -> None:
        """Ask what is being done to end; not what somebody asked for, unless this is ``by_hand``, too."""
        with self._lock:
            self._next = None
            if self._now is not None and (by_hand or not self._now.asked):
                self._stop.set()

    def wait(self, seconds: float | None = None) -> None:
        """Wait until nothing is being done, for each job at most so long."""
        while (thread := self._thread) is not None and thread.is_alive():
            thread.join(seconds)
            if thread.is_alive():
                return

    def _start(self, job: Work) -> None:
        self._now, self._stop = job, threading.Event()
        # In the context of the message that asked: the kernel then hears "cancel" also while a cell runs.
        self._thread = threading.Thread(target=copy_context().run, args=(self._do, job, self._stop), daemon=True)
        self._thread.start()

    def _do(self, job: Work, stop: threading.Event) -> None:
        def check() -> None:
            if stop.is_set():
                raise Cancelled

        cancelled = False
        try:
            job.work(check)
        except Cancelled:
            cancelled = True
        with self._lock:
            following, self._next, self._now = self._next, None, None
            if following is not None:
                self._start(following)
        if cancelled and following is None:
            self.ended()
