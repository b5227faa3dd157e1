"""``verify``: estimates beside the truth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from aadsl.language import Call, Reference
from aadsl.statements.base import Action
from aadsl.statements.question import DEFAULT_ESTIMATOR, Asked, Question, asked_of
from aadsl.statements.vocabulary import table

if TYPE_CHECKING:
    from aadsl.statements.scope import Scope
    from aadsl.statements.session import Result


@dataclass(frozen=True)
class Verify(Question):
    """Estimate effects and retrain without each stage: the estimate beside the truth.

    verify window on backdoor
    verify window on backdoor using linearized() under restart()

    The answer holds both effects and how well they agree: correlation, slope, relative error. `using` names the
    estimator that is put to the test, first_order unless given; the truth is always retraining() under the same
    intervention.
    """

    stages: tuple[Reference, ...]
    behaviors: tuple[Reference, ...]
    using: Call | None
    under: Call | None

    def ask(self, scope: Scope) -> Asked | None:
        """Resolve the names without computing anything."""
        asked = asked_of(scope, self.stages, self.behaviors, self.using, self.under)
        # `using retraining()` names the truth itself: the default estimate is compared with it.
        if asked is not None and isinstance(asked.estimator, table("estimator")["retraining"]):
            return replace(asked, estimator=DEFAULT_ESTIMATOR)
        return asked

    def answer(self, asked: Asked) -> Action:
        """Return the action that computes estimates and truth."""
        return partial(self.run, asked=asked)

    def run(self, result: Result, asked: Asked) -> None:
        """Compute estimates and truth."""
        dataset = result.study.verify(
            list(asked.stages),
            list(asked.behaviors),
            estimator=asked.estimator,
            intervention=asked.intervention,
            progress=result.progress,
        )
        result.answer(dataset)
