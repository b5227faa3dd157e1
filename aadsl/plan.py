"""What an answer will compute and what that costs, in words."""

from __future__ import annotations

from dataclasses import dataclass

from aadsl.estimators import Cost, Estimator, Question, Retraining
from aadsl.history import History
from aadsl.members import describe


@dataclass(frozen=True)
class Plan:
    """A plan for one question.

    Attributes:
        question: the counterfactual question in words.
        estimator: how it is answered.
        intervention: what is changed.
        cost: what that computes.
        exact: what exact retraining would compute.
        length: number of steps of the run.
    """

    question: str
    estimator: str
    intervention: str
    cost: Cost
    exact: Cost
    length: int

    def __str__(self) -> str:
        lines = [
            self.question,
            f"  by {self.estimator} under {self.intervention}, {self.cost.direction}",
            f"  {self._amount(self.cost)}",
        ]
        if self.cost is not self.exact:
            lines.append(f"  the exact answer, retraining(), would take {self.exact.gradients:,.0f} gradients")
            if self.exact.gradients < self.cost.gradients:
                lines.append("  the exact answer is cheaper here: say `using retraining()`")
        return "\n".join(lines)

    def _amount(self, cost: Cost) -> str:
        products = f" with {cost.products:,} Hessian-vector products" if cost.products else ""
        return (
            f"the work of about {cost.gradients:,.0f} gradients{products}: "
            f"{cost.gradients / max(self.length, 1):.1f} times the training run"
        )


def plan_for(history: History, question: Question, method: Estimator) -> Plan:
    """Return the plan to answer ``question`` by ``method``."""
    exact = Retraining().cost(history, question)
    return Plan(
        f"how would the behavior differ {question.intervention.question}?",
        describe(method),
        describe(question.intervention),
        exact if method.exact else method.cost(history, question),
        exact,
        history.length,
    )
