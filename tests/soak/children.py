"""Work in processes of its own, which are killed, or whose disk fills."""

from __future__ import annotations

import errno
import importlib
import os
import pickle
import random
import resource
import select
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from aadsl.errors import AadslError
from aadsl.replayed import checkpoints
from aadsl.study.installed import installed_as

PATIENCE = 300.0  # seconds after which a process hangs, also on a busy machine

Plant = Callable[[], None]
"""Breaks something in a process of the soak, on purpose."""


def nothing() -> None:
    """Break nothing."""


@dataclass(frozen=True)
class Blow:
    """What befalls a process.

    Attributes:
        what: ``"none"``; ``"killed"`` at an operation on the disk or a step, ``"killed late"`` after some seconds;
            ``"disk full"`` from an operation on, ``"file limit"``: no file may grow beyond some bytes.
        when: number of the operation, seconds or bytes.
    """

    what: str = "none"
    when: float = 0

    @classmethod
    def drawn(cls, dice: random.Random, fierce: bool = True) -> Blow:
        """Draw one."""
        what = dice.choice(["killed", "killed", "killed late", "disk full", "file limit"] if fierce else ["none"])
        highest = {"killed": 40, "killed late": 0.5, "disk full": 30, "file limit": 30_000}.get(what, 0)
        drawn = dice.uniform(0, highest)
        return cls(what, drawn if what == "killed late" else int(drawn))

    def arm(self) -> Callable[..., None]:
        """Let it befall this process; return what is to be called at every step of progress."""
        if self.what == "file limit":
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(self.when), resource.RLIM_INFINITY))
        left = int(self.when)

        def count(*_: Any) -> None:
            nonlocal left
            left -= 1
            if left < 0 and self.what == "killed":
                os.kill(os.getpid(), signal.SIGKILL)

        def counted(honest: Callable[..., Any]) -> Callable[..., Any]:
            def operation(*arguments: Any, **options: Any) -> Any:
                count()
                if left < 0 and self.what == "disk full":
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                return honest(*arguments, **options)

            return operation

        if self.what in ("killed", "disk full"):
            os.fsync = counted(os.fsync)
        if self.what == "killed":
            os.replace = counted(os.replace)  # type: ignore[assignment]
        return count


CALM = Blow()


@dataclass(frozen=True)
class Outcome:
    """How a process ended.

    Attributes:
        how: ``"done"``, ``"refused"`` by an error of ours, ``"killed"`` by the blow, ``"raw"``: anything else.
        value: what it returned; said: the error.
        told: bytes that it wrote meanwhile.
    """

    how: str
    value: Any = None
    said: str = ""
    told: bytes = b""


class Child:
    """A process that does ``work(told, step)``: ``told`` is where it writes, ``step`` what it calls as it goes on."""

    def __init__(self, work: Callable[[int, Any], Any], blow: Blow = CALM, plant: Plant = nothing) -> None:
        self._blow, self._began = blow, time.monotonic()
        self._told, told = os.pipe()
        self._result, result = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                warnings.simplefilter("ignore")
                plant()
                os.write(result, pickle.dumps(_done(work, told, blow)))
            finally:
                os._exit(0)
        os.close(told)
        os.close(result)

    def end(self) -> Outcome:
        """Wait for its end, or bring it about."""
        told, result = self._read_both()
        _, status = os.waitpid(self._pid, 0)
        if result:
            how, value, said = pickle.loads(result)
            return Outcome(how, value, said, told)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL and self._blow.what.startswith("killed"):
            return Outcome("killed", told=told)
        return Outcome("raw", None, f"the process died or hung: status {status}", told)

    def _read_both(self) -> tuple[bytes, bytes]:
        found = {self._told: b"", self._result: b""}
        open_ends = set(found)
        limit = self._blow.when if self._blow.what == "killed late" else PATIENCE
        killed = False
        while open_ends:
            left = self._began + limit - time.monotonic()
            ready, _, _ = select.select(list(open_ends), [], [], max(0.0, left) if not killed else None)
            if not ready and not killed:
                os.kill(self._pid, signal.SIGKILL)
                killed = True
            for end in ready:
                chunk = os.read(end, 1 << 16)
                found[end] += chunk
                if not chunk:
                    open_ends.remove(end)
        for end in found:
            os.close(end)
        return found[self._told], found[self._result]


def _done(work: Callable[[int, Any], Any], told: int, blow: Blow) -> tuple[str, Any, str]:
    """Do the work; return how it ended, what it gave and what was said."""
    try:
        return "done", work(told, blow.arm()), ""
    except AadslError as error:
        helpless = [problem.message for problem in error.problems if not problem.hint]
        return ("raw", None, f"no way out is said: {helpless}") if helpless else ("refused", None, str(error))
    except BaseException:
        return "raw", None, traceback.format_exc()


def alone(work: Callable[[int, Any], Any], blow: Blow = CALM, plant: Plant = nothing) -> Outcome:
    """Do work in a process, to its end."""
    return Child(work, blow, plant).end()


@cache
def ready(everything: Callable[[int, Any], Any]) -> None:
    """Import what ``everything`` imports, once and here: all processes are copies of this one, which computes nothing.

    What is installed is looked up here, too. Every step of a sweep is kept in them.
    """
    torch.set_num_threads(1)
    installed_as(torch.__name__)
    checkpoints.SECONDS, checkpoints.SHARE = 0.0, 1e9

    def imported(told: int, step: Any) -> list[str]:
        everything(told, step)
        return list(sys.modules)

    outcome = alone(imported)
    assert outcome.how == "done", outcome
    for name in outcome.value:
        with suppress(Exception):  # made up while it ran
            importlib.import_module(name)
