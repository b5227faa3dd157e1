"""``score``: the effects of stages on behaviors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from aadsl.language import Call, Reference
from aadsl.statements.base import Action
from aadsl.statements.question import Asked, Question, asked_of

if TYPE_CHECKING:
    from aadsl.statements.scope import Scope
    from aadsl.statements.session import Result


@dataclass(frozen=True)
class Score(Question):
    """Estimate the effect of stages on behaviors.

    score poisoned, source on backdoor, digits
    score poisoned on each using linearized(read="plug_in") under restart()

    The effect is behavior(observed run) − behavior(counterfactual run): positive means that the stage helped. `using`
    names the estimator, first_order unless given; `under` the intervention, skip unless given. See `help estimators`
    and `help interventions`.
    """

    stages: tuple[Reference, ...]
    behaviors: tuple[Reference, ...]
    using: Call | None
    under: Call | None

    def ask(self, scope: Scope) -> Asked | None:
        """Resolve the names without computing anything."""
        return asked_of(scope, self.stages, self.behaviors, self.using, self.under)

    def answer(self, asked: Asked) -> Action:
        """Return the action that computes the effects."""
        return partial(self.run, asked=asked)

    def run(self, result: Result, asked: Asked) -> None:
        """Compute the effects."""
        dataset = result.study.score(
            list(asked.stages),
            list(asked.behaviors),
            estimator=asked.estimator,
            intervention=asked.intervention,
            progress=result.progress,
        )
        result.answer(dataset)
