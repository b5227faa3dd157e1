"""The recordings of this process: closed when it ends, and left to it by the processes that it forks."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol

from aadsl.core.errors import AadslError


class Recording(Protocol):
    """What runs until it is closed."""

    @property
    def path(self) -> Path:
        """The folder it writes."""

    def superseded(self) -> None:
        """Say, from now on, that another recording took its folder over."""

    def close(self) -> None:
        """Finish it. Raises AadslError where that fails."""

    def leave_to_parent(self) -> None:
        """Forget it, in a forked process."""


_running: dict[Recording, Callable[[], None]] = {}


def begun(recording: Recording) -> None:
    """Say that a recording began: it is closed where the program ends without doing so."""
    _running[recording] = atexit.register(partial(_close, recording))


def ended(recording: Recording) -> None:
    """Say that it ended, or never began."""
    if close := _running.pop(recording, None):
        atexit.unregister(close)


def take_over(folder: Path) -> None:
    """Close what this process still records into a folder: a cell of a notebook was interrupted, and is run again."""
    for recording in [known for known in _running if known.path.resolve() == folder.resolve()]:
        _close(recording)
        recording.superseded()


def _close(recording: Recording) -> None:
    try:
        recording.close()
    except AadslError as error:
        sys.stderr.write(f"aadsl: {error}\n")


def _leave_all_to_parent() -> None:
    for recording in list(_running):
        ended(recording)
        recording.leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_all_to_parent)
