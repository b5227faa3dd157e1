"""What the options of a cell change about its program: explain instead of compute, load onto a device, explore."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from aadsl.charts.needs import STEP_EFFECTS
from aadsl.core.errors import Span
from aadsl.core.units import seconds_of
from aadsl.language import Argument, Call, Literal, Name
from aadsl.language.parser import Parsed
from aadsl.replayed.devices import device_of
from aadsl.statements.base import Action, Statement
from aadsl.statements.explain import Explain
from aadsl.statements.load import Load
from aadsl.statements.plot import Plot
from aadsl.statements.question import QuestionStatement
from aadsl.statements.rank import Rank
from aadsl.statements.save import Save
from aadsl.statements.scope import Scope
from aadsl.statements.score import Score
from jupyter_ext.explorer.nothing import NO_ANSWER
from jupyter_ext.options import Options


def rewritten(parsed: Parsed, options: Options) -> Parsed:
    """Return the program as the options want it.

    ``within``: every question that leaves the choice to ``auto`` has this budget. ``explain``: every question explained
    instead of asked. Such a program has nothing new to plot or to save, so those statements are left out. ``device``:
    every run loaded onto it. ``explore``: refused where nothing can be explored.
    """
    statements = list(parsed.statements)
    if options.within:
        seconds_of(options.within)  # said here, where no statement is to blame
        statements = [_budgeted(statement, options.within) for statement in statements]
    if options.explain:
        statements = [_explained(statement) for statement in statements if not isinstance(statement, Plot | Save)]
    if options.device:
        device_of(options.device)  # said here, where no statement is to blame
        statements = [_placed(statement, options.device) for statement in statements]
    if options.explore:
        places = [statement.span for statement in statements if isinstance(statement, QuestionStatement)]
        places = places or [statement.span for statement in statements]
        statements.append(Explore(places[-1] if places else Span(1, 1, 2)))
    return replace(parsed, statements=tuple(statements))


@dataclass(frozen=True)
class Explore(Statement):
    """Stands after a program that ends in the explorer; nobody writes it."""

    def resolve(self, scope: Scope) -> Action | None:
        """Check, before anything is computed, that there will be an answer to explore."""
        if not scope.question_failed and not any(
            STEP_EFFECTS.met_by(answer.variables_on(())) for answer in scope.answers
        ):
            if scope.answers:
                message = f"no answer has {STEP_EFFECTS.what}, which `--explore` draws"
                scope.report(self.span, message, STEP_EFFECTS.way_out)
            else:
                scope.report(self.span, NO_ANSWER.message, NO_ANSWER.hint)
        return None


def _budgeted(statement: Any, within: str) -> Any:
    """Return a question that leaves the choice to ``auto`` with this budget; what the program itself says is kept."""
    if isinstance(statement, Explain):
        return replace(statement, question=_budgeted(statement.question, within))
    if not isinstance(statement, Score | Rank) or statement.using is not None:
        return statement
    span = statement.span
    call = Call(span, Name(span, "auto"), (Argument(span, Name(span, "within"), Literal(span, within)),))
    return replace(statement, using=call)


def _explained(statement: Any) -> Any:
    return Explain(statement.span, statement) if isinstance(statement, QuestionStatement) else statement


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
