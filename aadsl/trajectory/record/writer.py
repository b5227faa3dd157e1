"""A thread that does the recorder's disk work in order, with bounded memory.

The training's thread takes no lock here: an interrupt at the wrong moment would leave it held, and both threads
waiting.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import SimpleQueue

# What waits in memory beside two states; with more of it training waits.
PENDING_BYTES = 64 << 20
# Seconds between two looks at whether the waiting is over.
_PATIENCE = 0.001


class Writer:
    """Runs jobs one after the other. The first exception stops it; it is kept in ``error``."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self._jobs: SimpleQueue[tuple[Callable[[], None], int] | None] = SimpleQueue()
        self._given = 0  # bytes; written by the training's thread alone
        self._done = 0  # bytes; written by the other alone
        self._largest = 0  # bytes of one job
        self._thread = threading.Thread(target=self._work, name="aadsl-writer", daemon=True)
        self._thread.start()

    @property
    def idle(self) -> bool:
        """Whether nothing that holds memory waits."""
        return self._given == self._done

    def put(self, job: Callable[[], None], nbytes: int = 0) -> None:
        """Queue ``job``, which holds ``nbytes`` of memory; wait while too much is queued."""
        self._largest = max(self._largest, nbytes)
        room = PENDING_BYTES + 2 * self._largest - nbytes
        while self.error is None and self._given - self._done > room:
            time.sleep(_PATIENCE)
        if self.error is None:
            self._jobs.put((job, nbytes))
            self._given += nbytes  # after it: an interrupt in between may let too much wait, but not the training

    def flush(self) -> None:
        """Wait until every job is done, or one failed."""
        done = threading.Event()
        self._jobs.put((done.set, 0))
        while self.error is None and not done.is_set():
            time.sleep(_PATIENCE)

    def close(self) -> None:
        """Do what is queued, then end the thread."""
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (given := self._jobs.get()) is not None:
            job, nbytes = given
            try:
                job()
            except BaseException as error:  # handed to the training thread, which decides what it means
                self.error = error
                return
            del job, given
            self._done += nbytes
