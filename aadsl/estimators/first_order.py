"""AA-Score: the first-order estimate, additive over steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from aadsl.core.arguments import checked
from aadsl.estimators.additive import Additive, StepEffects, stage_sums
from aadsl.estimators.base import Behavior, Cost, Effects, Floats, Query, final_readouts, final_tangents
from aadsl.estimators.defaults import Answer, candidates_for, curvature_for, finite_sweep, restricted
from aadsl.interventions import Intervention, first_change
from aadsl.propagation import Curvature, Step, Sweep, adjoint_sweep, observed
from aadsl.replayed.execution import Execution
from aadsl.replayed.history import History


@checked
@dataclass(frozen=True)
class FirstOrder(Additive):
    """AA-Score (the paper's Estimators 4.1 to 4.3): the observed propagator everywhere, additive over steps.

    One adjoint sweep a behavior gives the effect of every step; any stage is then a sum. Best for stages that change
    little; for stages of many steps ``blocks`` is closer.

    Attributes:
        curvature: how Hessian-vector products are computed; by default chosen for the model.
        parameters: only what reaches the behavior through parameters of this name pattern, such as ``"head.*"``.
    """

    curvature: Curvature | None = None
    parameters: str | None = None

    exact: ClassVar[bool] = False
    needs_gradient: ClassVar[bool] = True
    additive: ClassVar[bool | None] = True

    def answer(self, history: History, query: Query, execution: Execution) -> Effects:
        """Return Σ_{t∈S} ⟨u_{t+1}, Φ_t(ξ_t) − Ψ_t(ξ_t)⟩ for each stage, and the summands."""

        def sweep(curvature: Curvature, execution: Execution) -> tuple[StepEffects, dict[int, Floats]]:
            effects = self._swept(history, query.behaviors, query.intervention, curvature, execution)
            return effects, self._example_effects(history, query, curvature, execution)

        (effects, examples), curvature = self._finite(history, execution, sweep)
        sums = stage_sums(query, effects)
        return Effects(sums, examples, effects.per_step, effects.growth, curvature=curvature)

    def step_effects(
        self, history: History, behaviors: Sequence[Behavior], intervention: Intervention, execution: Execution
    ) -> StepEffects:
        """Return the effects of every step from one adjoint sweep, going on with one that was interrupted."""

        def sweep(curvature: Curvature, execution: Execution) -> StepEffects:
            return self._swept(history, behaviors, intervention, curvature, execution)

        return self._finite(history, execution, sweep)[0]

    def _finite(
        self, history: History, execution: Execution, sweep: Callable[[Curvature, Execution], Answer]
    ) -> tuple[Answer, str]:
        return finite_sweep(history, candidates_for(history, self.curvature), self.parameters, execution, sweep)

    def _swept(
        self,
        history: History,
        behaviors: Sequence[Behavior],
        intervention: Intervention,
        curvature: Curvature,
        execution: Execution,
    ) -> StepEffects:
        state, readouts = final_readouts(history, behaviors)
        slopes = [restricted(history, readout.cotangent(state), self.parameters) for readout in readouts]
        cotangents = [history.placed(u) for u in slopes]
        fresh = Sweep.starting(history.length, cotangents, variations=2)
        start = sweep = execution.checkpoints.found(fresh, history.state(0), history.length) or fresh
        variations = [intervention.vary, _reset if intervention.resets_after else observed]
        for sweep in adjoint_sweep(
            history,
            history.step_map,
            start,
            curvature,
            jacobian=observed,
            variations=variations,
            limit=history.limit,
            progress=execution.progress,
        ):
            execution.checkpoints.keep(sweep)
        per_step, resets = sweep.scores.numpy()
        grown = (sweep.growth.max(dim=0).values / sweep.growth[-1]).numpy()
        return StepEffects(per_step, resets, grown)

    def products(self, history: History) -> Curvature:
        """Return how Hessian-vector products are computed on this run."""
        return curvature_for(history, self.curvature, self.parameters)

    def cost(self, history: History, query: Query) -> Cost:
        """Return the replay and one Hessian-vector product a step and behavior; single examples need a second sweep."""
        replays, products = history.length, history.length * len(query.behaviors)
        if any(behavior.per_example for behavior in query.behaviors):
            starts = [first_change(member) for member in query.members]
            replays += history.length - min(starts)
            products += sum(history.length - start for start in starts)
        return Cost(replays + 2.0 * products, products, "adjoint")

    def _example_effects(
        self, history: History, query: Query, curvature: Curvature, execution: Execution
    ) -> dict[int, Floats]:
        """Return the effects of each example where they are asked for: e_T once for all stages, then dot products."""
        wanted = [k for k, behavior in enumerate(query.behaviors) if behavior.per_example]
        if not wanted:
            return {}
        state, readouts = final_readouts(history, query.behaviors)
        jacobians = [observed] * len(query.members)
        tangents = final_tangents(history, query, curvature, jacobians, execution)
        tangents = [restricted(history, e, self.parameters) for e in tangents]
        return {k: readouts[k].along(state, tangents).cpu().numpy() for k in wanted}


def _reset(step: Step) -> Step:
    return step if step.resets_optimizer else replace(step, resets_optimizer=True)
