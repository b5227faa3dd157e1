"""The exact effect of a selection, by training again without it: beside the notebook, and cancellable."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aadsl.core.errors import AadslError
from jupyter_ext.explorer.beside import Beside, Work
from jupyter_ext.progress import Task, duration

NAME = "explored_selection"
REFRESH = 0.1
QUICK = 10.0
"""Seconds up to which the exact answer follows by itself."""


@dataclass(frozen=True)
class Asked:
    """What is asked: a selection and behaviors as the language writes them, and how the question ends.

    ``study`` is a branch of its own: neither the stage nor the answer is left behind in the notebook's.
    """

    selection: str
    behaviors: tuple[str, ...]
    under: str
    study: Any
    names: Any

    @property
    def program(self) -> str:
        """The question as a program."""
        ends = f"on {', '.join(self.behaviors)} using retraining(){self.under}"
        return f"stage {NAME} = {self.selection}\nscore {NAME} {ends}"


class ExactAnswer:
    """One retraining at a time. ``tell`` receives what to show; each time ``key`` says which selection it is about.

    ``state`` is running; at last done, cancelled, stopped by a mistake, or offered: it would take too long to follow
    by itself.
    """

    def __init__(self, tell: Callable[[dict[str, Any]], None]) -> None:
        self.tell = tell
        self._key = ""
        self._beside = Beside(lambda: self.tell({"state": "cancelled", "key": self._key, "words": "cancelled"}))
        self.cancel, self.wait = self._beside.cancel, self._beside.wait

    def start(self, asked: Asked, by_hand: bool = True) -> None:
        """Train without the selection and tell the effect on each behavior.

        Not ``by_hand``, only where that is quick, and the next selection ends it. It waits while a cell computes, and
        cells that compute wait for it.
        """
        self._beside.ask(Work(asked.selection, lambda check: self._work(asked, by_hand, check), by_hand))

    def _work(self, asked: Asked, by_hand: bool, check: Callable[[], None]) -> None:
        self._key = asked.selection
        begun = time.monotonic()
        if by_hand:
            self._tell("running", "starting", share=0.0)
        try:
            if not by_hand and (seconds := predicted(asked)) > QUICK:
                check()
                self._tell("offered", f"the exact answer would take about {duration(seconds)}")
                return
            check()
            dataset = self._answer(asked, check)
        except AadslError as error:
            self._tell("stopped", error.problems[0].message.replace(f'stage "{NAME}"', "the selection"))
        except Exception as error:  # a thread's error would be seen by nobody
            self._tell("stopped", f"failed: {error}")
        else:
            one = {str(name): dataset.sel(behavior=name) for name in dataset["behavior"].values}
            effects = {name: float(found["effect"]) for name, found in one.items()}
            trust = {
                name: {"trust": found["trust"].item(), "reason": found["trust_reason"].item()}
                for name, found in one.items()
            }
            words = f"exact, by retraining in {duration(time.monotonic() - begun)}"
            self._tell("done", words, effects=effects, trust=trust)

    def _answer(self, asked: Asked, check: Callable[[], None]) -> Any:
        from aadsl.statements import Session, run

        result = run(asked.program, asked.names, session=Session(study=asked.study), progress=self._progress(check))
        assert result.dataset is not None  # the program asks a question
        return result.dataset.sel(stage=NAME)

    def _progress(self, check: Callable[[], None]) -> Callable[[str, int, int], None]:
        shown = 0.0
        tasks: dict[str, Task] = {}

        def progress(label: str, done: int, total: int) -> None:
            nonlocal shown
            check()
            now = time.monotonic()
            task = tasks.setdefault(label, Task(label, now, now))
            task.done, task.total, task.now = done, total, now
            if now - shown > REFRESH:
                shown = now
                self._tell("running", task.words(), share=done / max(total, 1))

        return progress

    def _tell(self, state: str, words: str, **more: Any) -> None:
        self.tell({"state": state, "key": self._key, "words": words, **more})


def predicted(asked: Asked) -> float:
    """Return about how many seconds the exact answer will take; hardly any where it is kept already.

    Raises:
        AadslError: a mistake in the question, or nothing is selected.
    """
    from aadsl.statements import Session, run
    from aadsl.statements.scope import Scope
    from aadsl.statements.table import parser

    define, ask = asked.program.split("\n")
    session = Session(study=asked.study)
    run(define, asked.names, session=session)
    parsed = parser().parse(ask)
    scope = Scope(parsed, asked.names, session)
    question = parsed.statements[0].ask(scope)
    if question is None:
        raise AadslError(*scope.problems)
    seconds: float = asked.study.exact_seconds(question.stages, question.behaviors, intervention=question.intervention)
    return seconds
