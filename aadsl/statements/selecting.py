"""A set of steps from the language's text, for Python code: ``steps[-200:] where lr < 1e-3``."""

from __future__ import annotations

from dataclasses import replace

from aadsl.core.errors import AadslError, Problem
from aadsl.language.grouping import Mask
from aadsl.statements.scope import Scope
from aadsl.statements.session import Session
from aadsl.statements.studied import Studied
from aadsl.statements.table import parser

NAME = "selection"


def select(study: Studied, text: str) -> Mask:
    """Return which steps of ``study`` a text selects, (T,) true there; stages of the study may occur in it.

    Raises:
        AadslError: with every mistake of the text, and where it selects no step.
    """
    if not text.strip():
        raise AadslError("an empty text selects no steps", hint='write for example "steps[0:100] where lr < 0.1"')
    parsed = parser().parse(f"stage {NAME} =\n{text}")  # the text keeps its columns, and gets the lines from 2 on
    scope = Scope(parsed, {}, Session())
    scope.enter(study)
    for statement in parsed.statements[:1]:
        scope.span = statement.span
        statement.resolve(scope)
    problems = [*parsed.problems, *scope.problems]
    if len(parsed.statements) > 1:
        problems.append(Problem("this is more than one set of steps", "write one line, or several inside parentheses"))
    if problems:
        raise AadslError(*(_moved_up(problem) for problem in problems))
    return scope.stages[NAME]


def _moved_up(problem: Problem) -> Problem:
    if problem.span is None:
        return problem
    if problem.span.line == 1:  # about the whole text, which begins there with words that nobody wrote
        return Problem(problem.message, problem.hint)
    return replace(problem, span=replace(problem.span, line=problem.span.line - 1))
