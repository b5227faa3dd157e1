"""One computation at a time in one process.

A study computes on one private copy of its model, and all studies share PyTorch's random generators and its choice of
attention kernels. Two threads on them would give wrong numbers without a word, so one waits for the other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

WAITING = "waiting for another computation"
WAKE = 0.1
"""Seconds between two calls of ``progress`` while waiting, which may raise to give up."""

P = ParamSpec("P")
R = TypeVar("R")
_turn = threading.RLock()


@contextmanager
def turn(progress: Callable[[str, int, int], None]) -> Iterator[None]:
    """Compute alone; whoever computes already may go on. Waiting ends where ``progress`` or an interrupt raises."""
    waited = False
    while not _turn.acquire(timeout=WAKE):
        waited = True
        progress(WAITING, 0, 1)
    try:
        if waited:
            progress(WAITING, 1, 1)
        yield
    finally:
        _turn.release()


def one_at_a_time(compute: Callable[P, R]) -> Callable[P, R]:
    """Let a function that may be given ``progress=`` compute alone."""

    @wraps(compute)
    def alone(*args: P.args, **options: P.kwargs) -> R:
        progress: Any = options.get("progress")
        with turn(progress or (lambda *_: None)):
            return compute(*args, **options)

    return alone
