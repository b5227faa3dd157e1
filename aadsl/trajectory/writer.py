"""A thread that does the recorder's disk work in order, with bounded memory."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

# States wait in memory up to this many bytes (or one state, if that is larger); then training waits.
PENDING_BYTES = 64 << 20


class Writer:
    """Runs jobs one after the other. The first exception stops it; it is kept in ``error``."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self._jobs: deque[tuple[Callable[[], None], int]] = deque()
        self._pending = 0
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="aadsl-writer", daemon=True)
        self._thread.start()

    def put(self, job: Callable[[], None], nbytes: int = 0) -> None:
        """Queue ``job``, which holds ``nbytes`` of memory; wait while too much is queued."""
        with self._changed:
            while self._pending and self._pending + nbytes > PENDING_BYTES and self.error is None:
                self._changed.wait()
            if self.error is None:
                self._jobs.append((job, nbytes))
                self._pending += nbytes
                self._changed.notify_all()

    def flush(self) -> None:
        """Wait until every job is done, or one failed."""
        with self._changed:
            while (self._jobs or self._pending) and self.error is None:
                self._changed.wait()

    def close(self) -> None:
        """Do what is queued, then end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._jobs and not self._closing:
                    self._changed.wait()
                if not self._jobs:
                    return
                job, nbytes = self._jobs[0]
            try:
                job()
            except BaseException as error:  # handed to the training thread, which decides what it means
                with self._changed:
                    self.error = error
                    self._jobs.clear()
                    self._pending = 0
                    self._changed.notify_all()
                return
            del job
            with self._changed:
                self._jobs.popleft()
                self._pending -= nbytes
                self._changed.notify_all()
