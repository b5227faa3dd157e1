"""Room on the disk that is held back, so that a recording whose disk fills can be finished."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

NAME = ".reserve"
# The steps of two seconds and the header: some hundred bytes a step.
SIZE = 1 << 20


class Reserve:
    """A file of ``SIZE`` bytes in ``folder`` that stands for nothing; where there is no room for one, there is none."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        try:
            with self._path.open("wb") as file:
                file.write(bytes(SIZE))  # zeros that were written take room on every file system
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            self.release()

    def release(self) -> bool:
        """Give the room back; return whether there was any."""
        with suppress(OSError):
            self._path.unlink()
            return True
        return False
