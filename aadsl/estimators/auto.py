"""The cheapest estimator that can be trusted for the query."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from aadsl.estimators.base import Cost, Effects, Estimator, Query
from aadsl.estimators.first_order import FirstOrder
from aadsl.estimators.linearized import Linearized
from aadsl.estimators.retraining import Retraining
from aadsl.replayed.execution import Execution
from aadsl.replayed.history import History


@dataclass(frozen=True)
class Auto(Estimator):
    """Choose by cost, and say what was chosen: exact retraining of few stages is often cheaper than an estimate.

    Retraining where it costs no more than the cheapest estimate, or where a behavior has no gradient; else
    ``first_order`` while no stage is longer than ``short`` steps, else the cheaper of it and ``linearized`` that is
    closer for long stages.

    Attributes:
        short: up to how many steps a stage counts as short.
    """

    short: int = 10

    exact: ClassVar[bool] = False
    needs_gradient: ClassVar[bool] = False
    additive: ClassVar[bool | None] = None

    def choose(self, history: History, query: Query) -> Estimator:
        """Return the estimator that answers ``query``."""
        exact = Retraining()
        if not all(behavior.differentiable for behavior in query.behaviors):
            return exact
        longest = int(query.members.sum(axis=1).max())
        estimate: Estimator = FirstOrder() if longest <= self.short else Linearized()
        costs = [method.cost(history, query).gradients for method in (exact, estimate)]
        return exact if costs[0] <= costs[1] else estimate

    def answer(self, history: History, query: Query, execution: Execution) -> Effects:
        """Return the answer of the chosen estimator."""
        return self.choose(history, query).answer(history, query, execution)

    def cost(self, history: History, query: Query) -> Cost:
        """Return the cost of the chosen estimator."""
        return self.choose(history, query).cost(history, query)
