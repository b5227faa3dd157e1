"""The exact effect of the current selection, by training again without it: beside the notebook, and cancellable."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any

from aadsl.core.errors import AadslError
from jupyter_ext.progress import Task, duration

NAME = "explored_selection"
REFRESH = 0.1


class Cancelled(BaseException):
    """Ends the training that was asked for; no error, so nothing on the way may hold it up."""


@dataclass
class ExactAnswer:
    """One retraining at a time, in a thread of its own. ``tell`` receives what to show."""

    tell: Callable[[dict[str, Any]], None]
    _thread: threading.Thread | None = None
    _stop: threading.Event = field(default_factory=threading.Event)
    _free: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._free.set()

    def start(self, selection: str, behaviors: list[str], under: str, study: Any, names: Any) -> None:
        """Train without ``selection`` and tell the effect on each behavior; nothing happens while one is running.

        It waits while a cell computes, and cells that compute wait for it.
        """
        if not self._free.is_set():
            return
        self._free.clear()
        self._stop.clear()
        program = f"stage {NAME} = {selection}\nscore {NAME} on {', '.join(behaviors)} using retraining(){under}"
        # Neither the stage nor the answer is left behind in the notebook's study and session.
        given = program, selection, study.branch(), names
        # In the context of the message that asked: the kernel then hears "cancel" also while a cell runs.
        self._thread = threading.Thread(target=copy_context().run, args=(self._work, *given), daemon=True)
        self._thread.start()

    def cancel(self) -> None:
        """Ask the running training to end; it does before its next step."""
        self._stop.set()

    def wait(self, seconds: float | None = None) -> None:
        """Wait until nothing is running."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _work(self, program: str, selection: str, study: Any, names: Any) -> None:
        from aadsl.statements import Session, run

        begun = time.monotonic()
        self.tell({"state": "running", "share": 0.0, "words": "starting"})
        try:
            result = run(program, names, session=Session(study=study), progress=self._progress())
        except Cancelled:
            self._end("stopped", "cancelled")
        except AadslError as error:
            self._end("stopped", error.problems[0].message)
        except Exception as error:  # a thread's error would be seen by nobody
            self._end("stopped", f"failed: {error}")
        else:
            assert result.dataset is not None  # the program asks a question
            answer = result.dataset.sel(stage=NAME)
            one = {str(name): answer.sel(behavior=name) for name in answer["behavior"].values}
            effects = {name: float(found["effect"]) for name, found in one.items()}
            trust = {
                name: {"trust": found["trust"].item(), "reason": found["trust_reason"].item()}
                for name, found in one.items()
            }
            words = f"exact, by retraining in {duration(time.monotonic() - begun)}"
            self._end("done", words, key=selection, effects=effects, trust=trust)

    def _progress(self) -> Callable[[str, int, int], None]:
        shown = 0.0
        tasks: dict[str, Task] = {}

        def progress(label: str, done: int, total: int) -> None:
            nonlocal shown
            if self._stop.is_set():
                raise Cancelled
            now = time.monotonic()
            task = tasks.setdefault(label, Task(label, now, now))
            task.done, task.total, task.now = done, total, now
            if now - shown > REFRESH:
                shown = now
                self.tell({"state": "running", "share": done / max(total, 1), "words": task.words()})

        return progress

    def _end(self, state: str, words: str, **more: Any) -> None:
        self._free.set()  # first: who is told of the end may ask for more
        self.tell({"state": state, "words": words, **more})
