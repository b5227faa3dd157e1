"""What an answer will compute and what that costs, in words."""

from __future__ import annotations

from dataclasses import dataclass

from aadsl.core.members import describe
from aadsl.core.units import in_words, sized
from aadsl.estimators import Cost, Estimator, Query, Retraining
from aadsl.interventions import first_change
from aadsl.replayed.history import History
from aadsl.study.held_fixed import held_fixed


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
        seconds: how long it will take here, and ``exact_seconds`` exact retraining; None where not measured.
        memory: about how many bytes it will hold at once.
        kept: whether the answer is in the cache already.
        choice: what a budget is spent on, and why; empty where there is none.
        way: whether runs advance together, and why; empty where there are none.
        store: what is kept beside the run.
        note: what to know of the model that was given; empty where that is nothing.
        of_model: which model is asked about; empty where it is the one that the run ended with.
    """

    question: str
    estimator: str
    intervention: str
    cost: Cost
    exact: Cost
    length: int
    seconds: float | None = None
    exact_seconds: float | None = None
    memory: int | None = None
    kept: bool = False
    choice: str = ""
    way: str = ""
    store: str = ""
    note: str = ""
    of_model: str = ""

    @property
    def is_exact(self) -> bool:
        """Whether the answer will be the truth, by retraining."""
        return self.cost is self.exact

    def __str__(self) -> str:
        lines = [
            self.question,
            f"  by {self.estimator} under {self.intervention}, {self.cost.direction}",
            *([f"  {self.choice}"] if self.choice else []),
            f"  {self._amount(self.cost)}",
        ]
        if self.seconds is not None and self.memory is not None:
            lines.append(f"  about {in_words(self.seconds)} on this machine, {sized(self.memory)} at a time")
        if not self.is_exact:
            time = "" if self.exact_seconds is None else f", about {in_words(self.exact_seconds)}"
            lines.append(f"  the exact answer, retraining(), would take {self.exact.gradients:,.0f} gradients{time}")
            if self.exact.gradients < self.cost.gradients:
                lines.append("  the exact answer is cheaper here: say `using retraining()`")
        if self.way:
            lines.append(f"  runs without a stage are trained {self.way}")
        if self.store:
            lines.append(f"  {self.store}")
        if self.note:
            lines.append(f"  note: {self.note}")
        if self.kept:
            lines.append("  the answer is in the cache: asking takes no work")
        return "\n".join(lines)

    def _amount(self, cost: Cost) -> str:
        products = f" with {cost.products:,} Hessian-vector products" if cost.products else ""
        return (
            f"the work of about {cost.gradients:,.0f} gradients{products}: "
            f"{cost.gradients / max(self.length, 1):.1f} times the training run"
        )


def plan_for(
    history: History, query: Query, method: Estimator, answered_by: Estimator | None = None, of_each: bool = False
) -> Plan:
    """Return the plan to answer ``query`` by ``method``, which leaves that to ``answered_by`` where it chooses.

    ``of_each``: what is asked is the effect of every step alone.
    """
    query, of_model = query.of_present, f" of {history.of_model}" if history.of_model else ""
    exact = cost = Cost(0.0, 0, "nothing to compute: all of this came after the model")
    chosen = answered_by or method
    if len(query.members):
        retraining = chosen if isinstance(chosen, Retraining) else Retraining()
        exact = retraining.cost(history, query)
        if of_each:
            each = history.length * (history.length + 1) / 2
            exact = Cost(each * retraining.times(history, True), 0, exact.direction)
        cost = exact if chosen.exact else chosen.cost(history, query)
    first = min(map(first_change, query.members), default=None)
    fixed = "" if first is None else held_fixed(history.trajectory.steps, first, query.intervention)
    fixed = f", with {fixed} as recorded" if fixed else ""
    return Plan(
        f"how would the behavior{of_model} differ {query.intervention.question}{fixed}?",
        describe(method),
        describe(query.intervention),
        cost,
        exact,
        history.length,
        note=history.given,
        of_model=history.of_model,
    )
