"""What the options of a cell change about its program: explain instead of compute, load onto a device."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from aadsl.devices import device_of
from aadsl.language import Argument, Literal, Name
from aadsl.language.parser import Parsed
from aadsl.statements.explain import Explain
from aadsl.statements.load import Load
from aadsl.statements.plot import Plot
from aadsl.statements.question import Question
from aadsl.statements.save import Save


def rewritten(parsed: Parsed, explain: bool, device: str) -> Parsed:
    """Return the program with every question explained instead of asked, and every run loaded onto ``device``.

    A program that asks nothing has nothing new to plot or to save, so those statements are left out.
    """
    statements = list(parsed.statements)
    if explain:
        statements = [_explained(statement) for statement in statements if not isinstance(statement, Plot | Save)]
    if device:
        device_of(device)  # said here, where no statement is to blame
        statements = [_placed(statement, device) for statement in statements]
    return replace(parsed, statements=tuple(statements))


def _explained(statement: Any) -> Any:
    return Explain(statement.span, statement) if isinstance(statement, Question) else statement


def _placed(statement: Any, device: str) -> Any:
    # A study that is loaded by its name has its device already; what the program itself says is kept.
    if not isinstance(statement, Load) or statement.arguments is None:
        return statement
    if any(isinstance(a, Argument) and a.name.text == "device" for a in statement.arguments):
        return statement
    span = statement.span
    return replace(
        statement, arguments=(*statement.arguments, Argument(span, Name(span, "device"), Literal(span, device)))
    )
