"""The linearized estimate: the counterfactual propagator, so the identity inside a skipped stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from aadsl.core.arguments import checked
from aadsl.estimators.base import Cost, Effects, Estimator, Query, final_readouts, final_tangents, relative
from aadsl.estimators.defaults import candidates_for, curvature_for, finite_sweep, restricted
from aadsl.interventions import counterfactual, first_change
from aadsl.propagation import Curvature, FlatState, Secant, difference
from aadsl.replayed.execution import Execution
from aadsl.replayed.history import History

Read = Literal["plug_in", "linear"]


@checked
@dataclass(frozen=True)
class Linearized(Estimator):
    """The recursion linearized around the observed run with the counterfactual's own Jacobians (eq. 24).

    One tangent sweep a stage, whose result e_T serves any number of behaviors and examples. Not additive over steps;
    much closer to retraining than ``first_order`` for stages of many steps. It is here for teaching and comparison:
    ``retraining`` itself is cheaper, and right.

    Attributes:
        read: how a behavior is read off e_T: ``"plug_in"`` γ(ξ_T) − γ(ξ_T − e_T), or ``"linear"`` ⟨∇γ(ξ_T), e_T⟩.
        curvature: how Hessian-vector products are computed; by default ``secant()``, over the deviation itself.
        parameters: only what reaches the behavior through parameters of this name pattern, such as ``"head.*"``.
    """

    read: Read = "plug_in"
    curvature: Curvature | None = None
    parameters: str | None = None

    exact: ClassVar[bool] = False
    needs_gradient: ClassVar[bool] = True
    additive: ClassVar[bool | None] = False

    def answer(self, history: History, query: Query, execution: Execution) -> Effects:
        """Return the effect of each stage, read off e_T, with e_{t+1} = DΨ_t(ξ_t) e_t + Φ_t(ξ_t) − Ψ_t(ξ_t)."""
        varied = [counterfactual(query.intervention, member) for member in query.members]

        def sweep(curvature: Curvature, execution: Execution) -> list[FlatState]:
            return final_tangents(history, query, curvature, varied, execution)

        candidates = [Secant(), *candidates_for(history, None)] if self.curvature is None else [self.curvature]
        tangents, curvature = finite_sweep(history, candidates, self.parameters, execution, sweep)
        tangents = [restricted(history, e, self.parameters) for e in tangents]
        state, readouts = final_readouts(history, query.behaviors)
        shape = (len(tangents), len(readouts))
        effect, disagreement = np.zeros(shape), np.zeros(shape)
        examples = {}
        for k, readout in enumerate(readouts):
            observed = readout.values(state)
            moved = [readout.values(difference(state, e)) for e in tangents]
            plug_in = np.stack([(observed - other).cpu().numpy() for other in moved])
            linear = readout.along(state, tangents).cpu().numpy()
            values = linear if self.read == "linear" else plug_in
            effect[:, k] = values.mean(axis=1)
            disagreement[:, k] = relative(linear.mean(axis=1), plug_in.mean(axis=1))
            if query.behaviors[k].per_example:
                examples[k] = values
        return Effects(effect, examples, disagreement=disagreement, curvature=curvature)

    def products(self, history: History) -> Curvature:
        """Return how Hessian-vector products are computed on this run."""
        return curvature_for(history, self.curvature or Secant(), self.parameters)

    def cost(self, history: History, query: Query) -> Cost:
        """Return the replay and one Hessian-vector product a step and stage, from each stage's first step on."""
        products = sum(history.length - first_change(member) for member in query.members)
        return Cost(history.length + 2.0 * products, products, "tangent")
