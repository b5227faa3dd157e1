"""Run a program: parse → resolve → run.

Every mistake of the program is found and said before anything is computed, and a program with a mistake changes
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aadsl.core.arguments import checked
from aadsl.core.errors import AadslError, Problem
from aadsl.core.progress import Progress
from aadsl.language import Parsed, formatter
from aadsl.language.layout import statements_of
from aadsl.statements.base import Action, Definition, Statement
from aadsl.statements.beside import resolved
from aadsl.statements.explain import Explain
from aadsl.statements.inline import defining
from aadsl.statements.plot import Plot
from aadsl.statements.question import QuestionStatement
from aadsl.statements.scope import Scope
from aadsl.statements.session import Result, Session
from aadsl.statements.show import Show
from aadsl.statements.table import parser
from aadsl.statements.verify import VerifyTrajectory

OF_EACH_RUN = (Definition, QuestionStatement, Explain, Show, VerifyTrajectory)
"""Statements that are about every one of the runs that stand beside each other; others are about what these gave."""


def format_program(text: str) -> str:
    """Return a program in the one style; what does not parse is left as it stands."""
    return formatter.format_program(text, parser())


@checked
def run(
    text: str, names: Mapping[str, Any] | None = None, session: Session | None = None, progress: Progress | None = None
) -> Result:
    """Run a program of the language.

    Args:
        text: the program.
        names: what lives in the notebook: models, losses, data, examples, lists and numbers, by name.
        session: the session of an earlier result, whose stages, behaviors and answers this program goes on with.
        progress: called as ``progress(label, done, total)`` while something is computed.

    Raises:
        AadslError: with every mistake of the program, each with its line, a caret and the way out.
    """
    return run_parsed(parser().parse(text), names, session, progress)


def run_parsed(
    parsed: Parsed,
    names: Mapping[str, Any] | None = None,
    session: Session | None = None,
    progress: Progress | None = None,
) -> Result:
    """Run a program that was parsed before, and perhaps changed since; as :func:`run`."""
    session = Session() if session is None else session
    actions = resolve(parsed, {} if names is None else names, session)
    result = Result(session, progress=progress)
    texts = texts_of(parsed)
    for statement, action in actions:
        result.text = texts.get(statement.span.line, "")
        try:
            action(result)
        except AadslError as error:
            raise parsed.source.placed(error, statement.span) from error.__cause__
        if isinstance(statement, Definition):
            session.defined(statement.name.text, result.text)
    return result


def texts_of(parsed: Parsed) -> dict[int, str]:
    """Return the statements of a program as they are written, by the lines in which they begin."""
    source = parsed.source
    extents = statements_of(source.text, parser().openers)
    return {source.span(e.start, e.stop).line: source.text[e.start : e.stop] for e in extents}


def resolve(parsed: Parsed, names: Mapping[str, Any], session: Session) -> list[tuple[Statement, Action]]:
    """Return the actions of a parsed program, or raise all its mistakes in the order of its lines."""
    scope = Scope(parsed, names, session)
    scope.question_failed, scope.plotted = parsed.lacks(QuestionStatement), scope.plotted or parsed.lacks(Plot)
    actions = []
    for position, statement in enumerate(parsed.statements):
        scope.span = statement.span
        rest = parsed.statements[position:]
        scope.ahead = {later.name.text: later.span.line for later in rest if isinstance(later, Definition)}
        try:
            asked_of_each = scope.beside and isinstance(statement, OF_EACH_RUN)
            action = resolved(statement, scope) if asked_of_each else statement.resolve(scope)
        except RecursionError:
            scope.report(statement.span, "this is nested too deeply", "define a part of it first")
            continue
        if action is not None:
            actions.append((statement, defining(scope.inline, action) if scope.inline else action))
        scope.inline = {}
    problems = sorted([*parsed.problems, *scope.problems], key=_position)
    if problems:
        raise AadslError(*problems)
    return actions


def _position(problem: Problem) -> tuple[int, int]:
    return (problem.span.line, problem.span.column) if problem.span else (0, 0)
