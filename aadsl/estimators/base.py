"""What an estimator is asked and what it answers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from aadsl.behaviors import Metric, metric_text
from aadsl.core.errors import AadslError
from aadsl.core.texts import in_line
from aadsl.data.examples import Examples
from aadsl.dynamics import without_derivative
from aadsl.interventions import Intervention, counterfactual, first_change
from aadsl.propagation import Curvature, FlatState, Readout, Tangents, Variation, at_end, tangent_sweep
from aadsl.replayed.execution import Execution
from aadsl.replayed.history import History

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Behavior:
    """A named performance function on given examples.

    Attributes:
        name: its name in the language.
        metric: ``metric(model, batch)`` → (n,) numbers.
        examples: what it is evaluated on.
        per_example: whether effects are wanted for every example, not only for their mean.
    """

    name: str
    metric: Metric
    examples: Examples
    per_example: bool = False

    def __repr__(self) -> str:
        unit = f", in {self.unit}" if self.unit else ""
        said = f"{metric_text(self.metric)} on {len(self.examples):,} examples{unit}"
        return f"<aadsl.Behavior {in_line(self.name)}: {in_line(said)}>"

    @property
    def differentiable(self) -> bool:
        """Whether its effects can be estimated."""
        return self.metric.differentiable

    @property
    def higher_is_better(self) -> bool:
        """Whether a positive effect means that the stage helped."""
        return self.metric.higher_is_better

    @property
    def unit(self) -> str:
        """The unit of its numbers."""
        return self.metric.unit

    @property
    def limits(self) -> tuple[float, float]:
        """The least and the most that its numbers can be."""
        return self.metric.limits

    def readout(self, history: History) -> Readout:
        """Return the function that reads the behavior off a state of the run."""
        return Readout(history.objective, self.metric, list(self.examples.chunks(history.device)), self.name)


@dataclass(frozen=True)
class Query:
    """Which effects an estimator is asked for.

    Attributes:
        members: (S, T) true where a step belongs to a stage; no row is empty where it is answered.
        behaviors: the K behaviors.
        intervention: what is changed at the steps of a stage.
    """

    members: NDArray[np.bool_]
    behaviors: tuple[Behavior, ...]
    intervention: Intervention

    @property
    def present(self) -> NDArray[np.bool_]:
        """(S,) the stages of which a step was taken before the model was made that is asked about."""
        return np.asarray(self.members.any(axis=1))

    @property
    def of_present(self) -> Query:
        """The same about these stages alone: the others have no effect."""
        return replace(self, members=self.members[self.present])


@dataclass
class Effects:
    """The effects that a query asks for.

    Attributes:
        effect: (S, K) effects on the mean over each behavior's examples.
        example_effects: for each behavior that is per example: (S, n) effects, by position of the behavior.
        step_effect: (T, K) effect of each step alone, where the estimator is additive.
        growth: (K,) how many-fold cotangents grew over the run, where known.
        disagreement: (S, K) |linear − other| / |other| of the two readings, where both are known; the other one is the
            plug-in or the quadratic reading.
        size: (S,) how far each stage moved the parameters, √Σ‖E_b‖² over its blocks, where known; errors grow with it.
        curvature: how Hessian-vector products were computed, as the language writes it; empty where there were none.
    """

    effect: Floats
    example_effects: dict[int, Floats] = field(default_factory=dict)
    step_effect: Floats | None = None
    growth: Floats | None = None
    disagreement: Floats | None = None
    size: Floats | None = None
    curvature: str = ""


@dataclass(frozen=True)
class Cost:
    """What an answer costs, in gradients of one batch (a Hessian-vector product counted by what it costs)."""

    gradients: float
    products: int
    direction: str


@runtime_checkable
class Estimator(Protocol):
    """A way to compute effects. Members inherit what is said here of those that do nothing special.

    Attributes:
        exact: whether it retrains, so that its effects are the truth.
        needs_gradient: whether behaviors must be differentiable.
        additive: whether the effect of a stage is the sum of the effects of its steps; then it is an ``Additive``. None
            where that is so of some of the estimators that it chooses among.
    """

    exact: ClassVar[bool]
    needs_gradient: ClassVar[bool]
    additive: ClassVar[bool | None]

    @abstractmethod
    def answer(self, history: History, query: Query, execution: Execution) -> Effects:
        """Return the effects."""
        ...

    @abstractmethod
    def cost(self, history: History, query: Query) -> Cost:
        """Return what :meth:`answer` will cost."""
        ...

    def products(self, history: History) -> Curvature | None:
        """Return how it computes Hessian-vector products on this run; None where it computes none, as here."""
        return None

    def choose(self, history: History, query: Query) -> Estimator:
        """Return the estimator that answers ``query``: itself, unless it chooses among others."""
        return self


def final_readouts(history: History, behaviors: Sequence[Behavior]) -> tuple[FlatState, list[Readout]]:
    """Return ξ_T and the behaviors' readouts."""
    return history.final, [behavior.readout(history) for behavior in behaviors]


def no_estimate(history: History, query: Query) -> str:
    """Return in words why nothing of a run, or under an intervention, can be estimated; "" where a sweep can."""
    anew = "what the model decides anew has no derivative" if query.intervention.decides_anew else ""
    return history.no_derivative or anew


def require_estimable(history: History, query: Query) -> None:
    """Raise where steps of the run cannot be differentiated, or a behavior has no gradient.

    Raises:
        AadslError: names the optimizer, or the first behavior, and the way out.
    """
    if history.opaque:
        raise without_derivative(history.opaque)
    if why := no_estimate(history, query):
        said = f"{why}, so effects cannot be estimated"
        raise AadslError(said, hint="ask for exact answers of stages: using retraining()")
    for behavior in query.behaviors:
        if not behavior.differentiable:
            raise AadslError(
                f'behavior "{behavior.name}" has no gradient, so its effects cannot be estimated',
                hint="ask for the exact answer: using retraining(); or for a smooth behavior such as margin",
            )


def final_tangents(
    history: History, query: Query, curvature: Curvature, jacobians: Sequence[Variation], execution: Execution
) -> list[FlatState]:
    """Return e_T of each stage of the query, carried by ``jacobians``, as it moves the model that is asked about.

    An interrupted sweep goes on.
    """
    first = min(first_change(member) for member in query.members)
    start = Tangents(first, (None,) * len(query.members))
    start = tangents = execution.checkpoints.found(start, history.state(0), history.length) or start
    varied = [counterfactual(query.intervention, member) for member in query.members]
    for tangents in tangent_sweep(
        history, history.step_map, start, curvature, jacobians=jacobians, varied=varied, progress=execution.progress
    ):
        execution.checkpoints.keep(tangents)
    return [history.shipped(e) for e in at_end(history, history.step_map, tangents)]


def relative(estimate: Floats, reference: Floats) -> Floats:
    """Return |estimate − reference| / |reference|, elementwise."""
    return np.abs(estimate - reference) / np.maximum(np.abs(reference), np.finfo(float).tiny)
