"""``examples``: the training examples that did most."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from aadsl.language import Argument, Inline, Literal, Positional, Reference
from aadsl.statements.answers import AnswerOutline
from aadsl.statements.example_listing import listed
from aadsl.statements.question import QuestionStatement, asked_of
from aadsl.statements.scope import Scope
from aadsl.statements.session import Result
from aadsl.statements.studied import Studied
from aadsl.statements.vocabulary import given_options
from aadsl.study.question import DEFAULT_ESTIMATE, Question

TOP = 10
EXAMPLES_OPTIONS = {"self_influence": bool, "within": str | float}
VARIABLES = (
    "example_estimate", "example_exact", "example_noise", "example_trust", "example_trust_reason", "occurrences",
    "member",
)  # fmt: skip


@dataclass(frozen=True)
class ExamplesQuestion(Question):
    """Which training examples of the stages did most, and ``top`` many of them exactly?"""

    top: int = TOP
    self_influence: bool = False
    within: str | float | None = None

    @property
    def options(self) -> dict[str, Any]:
        """What is asked besides names."""
        return {"top": self.top, "self_influence": self.self_influence}


@dataclass(frozen=True)
class ExamplesOf(QuestionStatement):
    """List the training examples of stages that helped a behavior most, and those that hurt it most.

    examples of poisoned on backdoor
    examples of source, steps[30:50] on backdoor, digits top 5
    examples of poisoned on backdoor with self_influence=true, within="2 min"

    The effect of an example is that of leaving it out of the batches of the stage: its loss has no weight there, all
    others count as before. Positive means that the example helped. All are estimated to first order by one sweep, an
    example that came several times as the sum of its occurrences; the `top` largest of either sign, ten unless told
    otherwise, are then trained without, as far as the budget `within` goes. Each number says which it is.

    `self_influence` also tells by how much each example lowered its own loss at once, and lists the largest: mislabeled
    examples come first. It takes a backward pass for each example. result.frame has all examples, with their indices.
    """

    stages: tuple[Reference | Inline, ...]
    behaviors: tuple[Reference, ...]
    top: Literal | None
    arguments: tuple[Argument | Positional, ...] | None

    def ask(self, scope: Scope) -> Question | None:
        """Resolve the names without computing anything."""
        mistakes = len(scope.problems)
        given = given_options(scope, "examples", self.arguments or (), EXAMPLES_OPTIONS)
        if self.top is not None and int(self.top.value) < 1:
            scope.report(self.top.span, "`top` needs a number from 1 on")
        asked = asked_of(
            scope,
            self.stages,
            self.behaviors,
            None,
            None,
            DEFAULT_ESTIMATE,
            all_steps=True,
            without_gradient="ask about a smooth behavior such as margin",
        )
        if asked is None or given is None or len(scope.problems) > mistakes:
            return None
        top = TOP if self.top is None else int(self.top.value)
        return ExamplesQuestion(**{**vars(asked), **given, "top": top})

    def expected_answer(self, scope: Scope, asked: Question) -> AnswerOutline:
        """Return what the answer will hold: nothing that is drawn, but it can be saved."""
        return replace(
            super().expected_answer(scope, asked), variables=frozenset(VARIABLES), each=frozenset(), stepped=frozenset()
        )

    def plan(self, study: Studied, asked: Question) -> str:
        """Return what answering would compute and what it costs, in words."""
        return study.plan_examples(asked.stages, asked.behaviors, **_question(asked).options)

    def run(self, result: Result, asked: Question) -> None:
        """Compute the effects of all examples, and list the largest."""
        question = _question(asked)
        dataset = result.study.examples(
            list(asked.stages),
            list(asked.behaviors),
            **question.options,
            within=question.within,
            progress=result.progress,
        )
        result.answer(dataset)
        result.say(listed(dataset, question.top, result.study, result.progress))


def _question(asked: Question) -> ExamplesQuestion:
    assert isinstance(asked, ExamplesQuestion)  # as `ask` makes it
    return asked
