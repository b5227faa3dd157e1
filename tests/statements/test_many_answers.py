"""A session may have any number of answers: a cell costs the same whichever it is."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from aadsl.core.errors import AadslError
from aadsl.statements import Session, answers, run
from tests.statements.snapshots import PRELUDE


def calls(cell: Any) -> Counter[str]:
    """Return what functions of the package a cell calls, and how often."""
    counts: Counter[str] = Counter()

    def count(frame: FrameType, event: str, argument: Any) -> None:
        comprehension = frame.f_code.co_name.startswith("<")
        if event == "call" and not comprehension and "/aadsl/" in frame.f_code.co_filename:
            counts[frame.f_code.co_qualname] += 1

    sys.setprofile(count)
    try:
        cell()
    finally:
        sys.setprofile(None)
    return counts


CELLS = ("score a on b using first_order()", "plot timeline", "show stages")


def test_a_cell_does_the_same_work_after_10_and_after_60_answers(tiny: tuple[Path, dict[str, Any]]) -> None:
    """Of a real run: old answers are kept, and not read again."""
    folder, names = tiny
    session = Session()
    load = f'load "{folder}/runs/tiny" with model=net, loss=loss_fn, data=train, device="cpu"'
    run(f"{load}\nstage a = steps[3:6]\nbehavior b = log_likelihood on test", names, session)
    found: dict[str, list[Counter[str]]] = {cell: [] for cell in CELLS}
    for more in (10, 50):
        for _ in range(more):
            run(CELLS[0], names, session)
        for cell in CELLS:
            run(cell, names, session)
            found[cell].append(calls(lambda cell=cell: run(cell, names, session)))  # type: ignore[misc]
    for cell, (early, late) in found.items():
        assert {name for name in late if late[name] > early[name]} == set(), cell


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(answers, "KEPT", 3)
    return 3


def test_the_oldest_answers_leave(few: int, session: Session, names: dict[str, Any]) -> None:
    run(PRELUDE, names, session)
    results = [run("score poisoned on backdoor", names, session) for _ in range(5)]
    assert [answer.dataset for answer in session.answers] == [result.dataset for result in results[-few:]]
    assert results[0].dataset is not None


def test_a_program_is_told_before_it_runs_what_will_have_left(
    few: int, session: Session, names: dict[str, Any]
) -> None:
    run(PRELUDE, names, session)
    program = ["score source on digits", *["score poisoned on backdoor"] * few]
    run("\n".join([*program[:few], "plot bars of digits"]), names, session)
    answered = len(session.answers)
    with pytest.raises(AadslError, match="no answer to plot"):
        run("\n".join([*program, "plot bars of digits"]), names, session)
    assert len(session.answers) == answered
