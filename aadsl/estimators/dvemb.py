"""DVEmb for stages: what data-value embeddings assume, as a baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from aadsl.core.arguments import checked
from aadsl.estimators.additive import Additive, StepEffects, answer_by_sums, baseline_cost
from aadsl.estimators.base import Behavior, Cost, Effects, Query, final_readouts
from aadsl.estimators.defaults import default_curvature
from aadsl.interventions import Intervention
from aadsl.propagation import Curvature, ObservedStep, backward
from aadsl.replayed.execution import Execution
from aadsl.replayed.history import History

Rate = Literal["lr", "effective"]


@checked
@dataclass(frozen=True)
class Dvemb(Additive):
    """Stage-level DVEmb (Wang et al., 2025): plain SGD, momentum and weight decay ignored; a baseline.

    u_T = ∇γ(ξ_T);   score_t = −η ⟨u_{t+1}, g_t⟩;   u_t = (I − ηH) u_{t+1}. It knows one intervention, the
    gradients of the stage left out.

    Attributes:
        rate: the η it uses: ``"lr"`` the recorded rate, or ``"effective"`` η/(1 − μ), what momentum makes of it.
        curvature: how Hessian-vector products are computed; by default chosen for the model.
    """

    rate: Rate = "lr"
    curvature: Curvature | None = None

    exact: ClassVar[bool] = False
    needs_gradient: ClassVar[bool] = True
    additive: ClassVar[bool | None] = True

    def answer(self, history: History, query: Query, execution: Execution) -> Effects:
        """Return the sums of the steps' scores."""
        return answer_by_sums(self, history, query, execution)

    def step_effects(
        self, history: History, behaviors: Sequence[Behavior], intervention: Intervention, execution: Execution
    ) -> StepEffects:
        """Return the score of every step."""
        curvature = self.products(history)
        state, readouts = final_readouts(history, behaviors)
        cotangents = [readout.cotangent(state).parameters for readout in readouts]
        scores = np.zeros((history.length, len(behaviors)))
        for taken in backward(history, history.step_map, progress=execution.progress):
            eta = rates(history, taken, self.rate)
            update = eta * taken.evaluation.gradient
            scores[taken.step.index] = [-float((u * update).sum(dtype=torch.float64)) for u in cotangents]
            products = curvature.pullback(
                history.objective.of(taken.step), taken.here, [(eta * u, None) for u in cotangents]
            )
            cotangents = [u - product for u, (product, _) in zip(cotangents, products, strict=True)]
            execution.progress("sweep", history.length - taken.step.index, history.length)
        return StepEffects(scores, np.zeros_like(scores), np.full(len(behaviors), np.nan))

    def products(self, history: History) -> Curvature:
        """Return how Hessian-vector products are computed on this run."""
        return self.curvature or default_curvature(history)

    def cost(self, history: History, query: Query) -> Cost:
        """Return the replay and one Hessian-vector product a step and behavior."""
        return baseline_cost(history, query, 2.0, "adjoint")


def rates(history: History, taken: ObservedStep, rate: Rate = "lr") -> Tensor:
    """Return the learning rate of every parameter, (P,)."""
    values = torch.empty_like(taken.state.parameters)
    for stretch, hyper in zip(history.objective.parameters.group_slices, taken.step.hyper, strict=True):
        values[stretch] = hyper["lr"] / (1 - hyper.get("momentum", 0.0)) if rate == "effective" else hyper["lr"]
    return values
