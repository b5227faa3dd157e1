"""``score``: the effects of stages on behaviors."""

from __future__ import annotations

from dataclasses import dataclass

from aadsl.language import Call, Inline, Reference
from aadsl.statements.hints import way_to_exact
from aadsl.statements.question import QuestionStatement, asked_of
from aadsl.statements.scope import Scope
from aadsl.statements.session import Result
from aadsl.statements.values import values_in_words
from aadsl.study.question import Question


@dataclass(frozen=True)
class Score(QuestionStatement):
    """Tell the effect of stages on behaviors: exactly where that can be afforded.

    score poisoned, source on backdoor, digits
    score poisoned on each using linearized(read="plug_in") under restart()
    score window on digits using auto(within="2 min")
    score steps[30:50], (poisoned and not warmup) on digits

    The effect is behavior(observed run) − behavior(counterfactual run): positive means that the stage helped. Unless
    `using` names an estimator, `auto` trains again without each stage as far as its budget of time goes, and estimates
    the rest; each number says which it is. `under` names the intervention, skip unless given. A set of steps may stand
    for a stage: a slice, or a selection in parentheses. See `help estimators` and `help interventions`.
    """

    stages: tuple[Reference | Inline, ...]
    behaviors: tuple[Reference, ...]
    using: Call | None
    under: Call | None

    def ask(self, scope: Scope) -> Question | None:
        """Resolve the names without computing anything."""
        return asked_of(scope, self.stages, self.behaviors, self.using, self.under)

    def run(self, result: Result, asked: Question) -> None:
        """Compute the effects."""
        dataset = result.study.score(**asked.arguments, progress=result.progress)
        hint = way_to_exact(result, dataset, asked)
        result.answer(dataset.assign_attrs(way_to_exact=hint) if hint else dataset, asked)
        for text in (values_in_words(dataset), hint):
            if text:
                result.say(text)
