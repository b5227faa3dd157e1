"""The condition typed under ``where``: which steps it holds for, or what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from aadsl.core.errors import AadslError, Problem

BEFORE = "stage picked = steps where "


def steps_where(text: str, names: Mapping[str, Any], session: Any) -> np.ndarray:
    """Return for every step of the session's run whether the condition ``text`` holds. Nothing is defined by it.

    Raises:
        AadslError: a mistake in the condition; its columns count from the start of ``text``.
    """
    from aadsl.statements.scope import Scope
    from aadsl.statements.stage import selected
    from aadsl.statements.table import parser

    parsed = parser().parse(f"{BEFORE}{text}")
    scope = Scope(parsed, names, session)
    problems = list(parsed.problems)
    mask = None
    if not problems:
        (statement,) = parsed.statements
        scope.span = statement.span
        mask = selected(scope, statement.selection)
        problems = scope.problems
    if problems or mask is None:
        raise AadslError(*problems)
    return np.asarray(mask, dtype=bool)


def mistakes(error: AadslError, text: str) -> str:
    """Return every mistake with a caret under its place in ``text`` alone."""
    return "\n".join(_mistake(problem, text) for problem in error.problems)


def _mistake(problem: Problem, text: str) -> str:
    lines = [problem.message]
    if problem.span is not None:
        start = min(max(problem.span.column - 1 - len(BEFORE), 0), len(text))
        width = max(problem.span.end_column - 1 - len(BEFORE) - start, 1)
        lines += [text, " " * start + "^" * width]
    return "\n".join([*lines, problem.hint] if problem.hint else lines)


def suggest(text: str, cursor: int, names: Mapping[str, Any], session: Any) -> tuple[int, list[dict[str, str]]]:
    """Return where the word at ``cursor`` of a condition starts, and the texts and kinds that may replace it."""
    from aadsl.statements import complete

    found = complete(f"{BEFORE}{text}", len(BEFORE) + cursor, session, names)
    return found.start - len(BEFORE), [{"text": item.text, "kind": item.kind} for item in found.items]
