"""One recorder a folder: a lock that the operating system drops when the process ends, however it ends."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from aadsl.core.errors import AadslError

LOCK_NAME = ".recording"
_held: set[int] = set()


class FolderLock:
    """Holds ``folder`` until :meth:`release`. Raises AadslError where another recorder holds it."""

    def __init__(self, folder: Path) -> None:
        self._handle = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _lock(self._handle)
        except OSError:
            os.close(self._handle)
            raise AadslError(
                f"{folder} is being recorded into by another recorder",
                hint="close that one, or record into another folder; where several processes train one model, each "
                "recorder is given it in DistributedDataParallel",
            ) from None
        _held.add(self._handle)

    def release(self) -> None:
        """Let go."""
        if self._handle in _held:
            _held.discard(self._handle)
            os.close(self._handle)


if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> None:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _forget_in_child() -> None:
        """A forked child (a data loader's worker) would keep the lock beyond its parent's death."""
        for handle in _held:
            os.close(handle)
        _held.clear()

    os.register_at_fork(after_in_child=_forget_in_child)
