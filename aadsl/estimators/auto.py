"""The cheapest estimator that can be trusted for the question."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from aadsl.estimators.base import Answer, Cost, Estimator, Question
from aadsl.estimators.first_order import FirstOrder
from aadsl.estimators.linearized import Linearized
from aadsl.estimators.retraining import Retraining
from aadsl.history import History
from aadsl.propagation import Progress


@dataclass(frozen=True)
class Auto:
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

    def choose(self, history: History, question: Question) -> Estimator:
        """Return the estimator that answers ``question``."""
        exact = Retraining()
        if not all(behavior.differentiable for behavior in question.behaviors):
            return exact
        longest = int(question.members.sum(axis=1).max())
        estimate: Estimator = FirstOrder() if longest <= self.short else Linearized()
        costs = [method.cost(history, question).gradients for method in (exact, estimate)]
        return exact if costs[0] <= costs[1] else estimate

    def answer(self, history: History, question: Question, progress: Progress) -> Answer:
        """Return the answer of the chosen estimator."""
        return self.choose(history, question).answer(history, question, progress)

    def cost(self, history: History, question: Question) -> Cost:
        """Return the cost of the chosen estimator."""
        return self.choose(history, question).cost(history, question)
