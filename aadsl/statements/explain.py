"""``explain``: what a question would compute, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from aadsl.statements.base import Action, Statement
from aadsl.statements.question import QuestionStatement
from aadsl.statements.scope import Scope
from aadsl.statements.session import Result
from aadsl.study.question import Question


@dataclass(frozen=True)
class Explain(Statement):
    """Say what a question would compute and what it costs on this machine, without computing it.

    explain score source on digits
    explain verify window on backdoor using linearized()
    """

    question: QuestionStatement

    def resolve(self, scope: Scope) -> Action | None:
        """Check the question as if it were asked."""
        asked = self.question.ask(scope)
        return None if asked is None else partial(self.run, asked=asked)

    def run(self, result: Result, asked: Question) -> None:
        """Say the plan."""
        result.foretell(self.question.plan(result.study, asked))
