"""Mangled programs give a result or our error, and reach nothing but what the language means."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from aadsl.core.arguments import kinds_of
from aadsl.core.errors import AadslError
from aadsl.language.characters import readable
from aadsl.language.layout import LEXEMES
from aadsl.statements import Session, complete
from aadsl.statements.program import resolve
from aadsl.statements.table import parser
from aadsl.statements.vocabulary import HOMES, table
from tests.statements.snapshots import PRELUDE, cases, prepared
from tests.statements.test_completion import CASES as CURSORS
from tests.statements.test_selections import CASES as SELECTIONS

MANGLED = 20_000
PIECES = [*parser().words, *"()[]{},:=<>!+-*/%#\"'`\\\n. ;&|@$?ä\t\0\x1b", "==", "3", "-1", "1e999", "9" * 400, '"x"']
PIECES += ["poisoned", "source", "backdoor", "tag", "test", "trap", "None", "__class__", "\u2028", "\n\n", "not " * 9]


class Trap:
    """An object of the notebook that must not be looked into, but for its type and what a metric says of itself."""

    def __getattribute__(self, name: str) -> Any:
        if name == "differentiable":
            return False
        if name.startswith("__"):
            return object.__getattribute__(self, name)
        raise AssertionError(f"the program reached the attribute {name}")

    def __call__(self, *_: Any) -> Any:
        raise AssertionError("the program called an object of the notebook")

    def __bool__(self) -> bool:
        raise AssertionError("the program asked an object of the notebook for its truth")


def corpus() -> list[str]:
    """Return valid and invalid statements to start from."""
    invalid = [program for program, _ in cases()]
    cursors = [text.replace("|", "") for text, _ in CURSORS]
    selections = [f"stage a = {selection}" for selection, _ in SELECTIONS]
    more = ["behavior t = margin on trap where x == 1 by y per example", "load trap with model=trap, loss=trap"]
    more += ["score poisoned, source on backdoor, digits using linearized(read='linear') under scale_lr(factor=0.5)"]
    more += ["rank steps on backdoor top 3", "verify source[clean] on digits[4]", "help score", "show stages"]
    more += [line for line in PRELUDE.split("\n") if line]
    texts = [*invalid, *cursors, *12 * [*selections, *more]]
    return [text for text in texts if '"runs' not in text]


def mangle(text: str, chance: random.Random) -> str:
    """Cut, repeat, swap or insert a few lexemes or characters."""
    parts = [match.group() for match in LEXEMES.finditer(text)]
    for _ in range(chance.randint(1, 3)):
        place = chance.randrange(len(parts) + 1)
        other = chance.randrange(len(parts) + 1)
        action = chance.randrange(6)
        if action == 0:
            parts[place : place + 1] = []
        elif action == 1:
            parts[place:place] = [chance.choice(PIECES)]
        elif action == 2:
            parts[place : place + 1] = [chance.choice(PIECES)]
        elif action == 3:
            parts[place:place] = parts[min(place, other) : max(place, other)][:8]
        elif action == 4 and place < len(parts) and other < len(parts):
            parts[place], parts[other] = parts[other], parts[place]
        elif place < len(parts) and parts[place]:
            cut = chance.randrange(len(parts[place]))
            parts[place] = parts[place][:cut] + parts[place][cut + 1 :]
    return "".join(parts)


watched: list[str] | None = None


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if watched is not None and event in ("open", "exec", "compile", "import", "os.system", "subprocess.Popen"):
        watched.append(f"{event} {arguments[:1]}")


sys.addaudithook(_hook)


@contextmanager
def nothing_is_reached() -> Iterator[None]:
    """Fail where a file is opened, code is compiled or run, or a module imported."""
    global watched
    watched = []
    try:
        yield
        assert watched == []
    finally:
        watched = None


@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.long) for part in range(1, 4))])
def test_mangled_programs_give_our_error_or_a_result(part: int) -> None:
    texts, chance = corpus(), random.Random(part)
    session, names = prepared("")
    names["trap"] = Trap()
    for text in {*texts}:  # imports what is imported lazily
        judge(text, names, session)
    for member in (member for kind in HOMES for member in table(kind).values()):
        kinds_of(member)  # reads our own annotations, once
    errors = 0
    with nothing_is_reached():
        for _ in range(MANGLED // 4):
            program = mangle("\n".join(chance.choices(texts, k=chance.randint(1, 2))), chance)
            errors += judge(program, names, session)
    assert 0.3 < errors / (MANGLED // 4) < 0.97  # neither did everything fail, nor nothing


def judge(program: str, names: dict[str, Any], session: Session) -> bool:
    """Return whether a program is mistaken; every mistake has a place in it."""
    try:
        resolve(parser().parse(program), names, session)
    except AadslError as error:
        lines = readable(program).split("\n")
        for problem in error.problems:
            assert problem.span is not None, program
            assert problem.span.line <= len(lines), program
            assert str(problem)
        return True
    except Exception as error:
        raise AssertionError(f"an internal exception on {program!r}") from error
    return False


def test_completion_survives_every_cursor() -> None:
    session, names = prepared("")
    names["trap"] = Trap()
    chance = random.Random(7)
    texts = corpus()
    for _ in range(1500):
        program = mangle(chance.choice(texts), chance)
        complete(program, chance.randint(0, len(program)), session, names)


def test_depth_is_our_error() -> None:
    session, names = prepared("")
    for program in ("stage a = " + "(" * 5000 + "steps" + ")" * 5000, "stage a = " + "not " * 5000 + "steps"):
        judge(program, names, session)
    with pytest.raises(AadslError, match="nested too deeply"):
        resolve(parser().parse("stage a = " + "not " * 5000 + "steps"), names, session)
