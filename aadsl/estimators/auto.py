"""The truth where it can be afforded, and the best estimates where not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from aadsl.core.arguments import checked
from aadsl.core.units import seconds_of
from aadsl.estimators.base import Cost, Effects, Estimator, Query, no_estimate
from aadsl.estimators.blocks import Blocks
from aadsl.estimators.retraining import Retraining
from aadsl.replayed.execution import Execution
from aadsl.replayed.history import History

DEFAULT_BUDGET = "30 s"


@checked
@dataclass(frozen=True)
class Auto(Estimator):
    """Exact answers where a budget of time allows them, and estimates that know their error for the rest.

    All stages are trained again where that takes no longer than ``within``, or than the estimate would. Else all are
    estimated, and what is left of the budget goes into exact answers: some of stages chosen at random, from which the
    intervals of the estimates follow, and the others of the stages whose estimates are largest.

    Attributes:
        within: the budget, such as ``"2 min"``; unless given, that of the study, 30 s.
    """

    within: str | float | None = None

    exact: ClassVar[bool] = False
    needs_gradient: ClassVar[bool] = False
    additive: ClassVar[bool | None] = False

    def __post_init__(self) -> None:
        seconds_of(self.budget)

    @property
    def budget(self) -> str | float:
        """The budget, by default 30 s."""
        return DEFAULT_BUDGET if self.within is None else self.within

    def choose(self, history: History, query: Query) -> Estimator:
        """Return what answers without a clock: exact where that is not dearer, or nothing can be estimated."""
        exact, estimate = Retraining(), self.estimate
        if no_estimate(history, query) or not all(behavior.differentiable for behavior in query.behaviors):
            return exact
        costs = [method.cost(history, query).gradients for method in (exact, estimate)]
        return exact if costs[0] <= costs[1] else estimate

    @property
    def estimate(self) -> Estimator:
        """What estimates where no budget covers the exact answers."""
        return Blocks()

    def answer(self, history: History, query: Query, execution: Execution) -> Effects:
        """Return the answer of what :meth:`choose` chooses; a study, which has a clock, mixes both."""
        return self.choose(history, query).answer(history, query, execution)

    def cost(self, history: History, query: Query) -> Cost:
        """Return the cost of what :meth:`choose` chooses."""
        return self.choose(history, query).cost(history, query)
