"""The exact effect of the current selection, by training again without it: beside the notebook, and cancellable."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aadsl.errors import AadslError
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

    def start(self, selection: str, behaviors: list[str], intervention: str, study: Any, names: Any) -> None:
        """Train without ``selection`` and tell the effect on each behavior; nothing happens while one is running."""
        if self._thread is not None and self._thread.is_alive():
            return
        self._stop.clear()
        program = f"stage {NAME} = {selection}\nscore {NAME} on {', '.join(behaviors)} using retraining()"
        program += f" under {intervention}" if intervention else ""
        self._thread = threading.Thread(target=self._work, args=(program, selection, study, names), daemon=True)
        self._thread.start()

    def cancel(self) -> None:
        """Ask the running training to end; it does before its next step."""
        self._stop.set()

    def wait(self, seconds: float | None = None) -> None:
        """Wait until nothing is running."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _work(self, program: str, selection: str, study: Any, names: Any) -> None:
        import aadsl

        begun, shown = time.monotonic(), 0.0
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

        self.tell({"state": "running", "share": 0.0, "words": "starting"})
        before = dict(study.stages)
        try:
            # A session of its own: neither the stage nor the answer is left behind in the notebook's.
            result = aadsl.run(program, names, session=aadsl.Session(study=study), progress=progress)
        except Cancelled:
            self.tell({"state": "stopped", "words": "cancelled"})
        except AadslError as error:
            self.tell({"state": "stopped", "words": error.problems[0].message})
        except Exception as error:  # a thread's error would be seen by nobody
            self.tell({"state": "stopped", "words": f"failed: {error}"})
        else:
            assert result.dataset is not None  # the program asks a question
            effect = result.dataset["effect"].sel(stage=NAME)
            effects = {str(name): float(effect.sel(behavior=name)) for name in effect["behavior"].values}
            words = f"exact, by retraining in {duration(time.monotonic() - begun)}"
            self.tell({"state": "done", "key": selection, "effects": effects, "words": words})
        finally:
            study.stages.pop(NAME, None)
            study.stages.update({NAME: before[NAME]} if NAME in before else {})
