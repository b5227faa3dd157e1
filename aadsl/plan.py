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
        seconds: how long it will take here, and ``exact_seconds`` exact retraining; None where not measured.
        memory: about how many bytes it will hold at once.
        kept: whether the answer is in the cache already.
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

    def __str__(self) -> str:
        lines = [
            self.question,
            f"  by {self.estimator} under {self.intervention}, {self.cost.direction}",
            f"  {self._amount(self.cost)}",
        ]
        if self.seconds is not None and self.memory is not None:
            lines.append(f"  about {in_words(self.seconds)} on this machine, {sized(self.memory)} at a time")
        if self.cost is not self.exact:
            time = "" if self.exact_seconds is None else f", about {in_words(self.exact_seconds)}"
            lines.append(f"  the exact answer, retraining(), would take {self.exact.gradients:,.0f} gradients{time}")
            if self.exact.gradients < self.cost.gradients:
                lines.append("  the exact answer is cheaper here: say `using retraining()`")
        if self.kept:
            lines.append("  the answer is in the cache: asking takes no work")
        return "\n".join(lines)

    def _amount(self, cost: Cost) -> str:
        products = f" with {cost.products:,} Hessian-vector products" if cost.products else ""
        return (
            f"the work of about {cost.gradients:,.0f} gradients{products}: "
            f"{cost.gradients / max(self.length, 1):.1f} times the training run"
        )


def in_words(seconds: float) -> str:
    """Return a duration as one reads it.

    >>> in_words(0.02), in_words(90), in_words(7300)
    ('20 ms', '1.5 min', '2.0 h')
    """
    for unit, size in (("h", 3600.0), ("min", 60.0), ("s", 1.0)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{1e3 * seconds:.0f} ms" if seconds >= 0.01 else f"{1e3 * seconds:.1f} ms"


def sized(nbytes: int) -> str:
    """Return a size as one reads it.

    >>> sized(2_500_000)
    '2.5 MB'
    """
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if nbytes >= size:
            return f"{nbytes / size:.1f} {unit}"
    return f"{nbytes / 1e3:.0f} kB"


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
