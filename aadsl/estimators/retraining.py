"""The exact effect: the run is trained again without the stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from aadsl.estimators.base import Cost, Effects, Estimator, Query, final_readouts
from aadsl.interventions import counterfactual, first_change
from aadsl.propagation import reruns, steps_to_forks
from aadsl.replayed.execution import Execution
from aadsl.replayed.history import History


@dataclass(frozen=True)
class Retraining(Estimator):
    """Train the run again under the intervention and compare: the exact answer, one gradient a step and stage."""

    exact: ClassVar[bool] = True
    needs_gradient: ClassVar[bool] = False
    additive: ClassVar[bool | None] = False

    def answer(self, history: History, query: Query, execution: Execution) -> Effects:
        """Return γ(ξ_T) − γ(ζ_T), with ζ the run in which the intervention happens."""
        state, readouts = final_readouts(history, query.behaviors)
        observed = [readout.values(state).cpu().numpy() for readout in readouts]
        stages = len(query.members)
        effect = np.zeros((stages, len(readouts)))
        examples = {k: np.zeros((stages, len(observed[k]))) for k, b in enumerate(query.behaviors) if b.per_example}
        varied = [counterfactual(query.intervention, member) for member in query.members]
        firsts = [first_change(member) for member in query.members]
        for s, other, _ in reruns(history, history.step_map, varied, firsts, progress=execution.progress):
            for k, readout in enumerate(readouts):
                difference = observed[k] - readout.values(other).cpu().numpy()
                effect[s, k] = difference.mean()
                if k in examples:
                    examples[k][s] = difference
        return Effects(effect, examples)

    def cost(self, history: History, query: Query) -> Cost:
        """Return one gradient for each applied step from a stage's first one on, and for the way to the stages."""
        kept, firsts = history.checkpoints, sorted(first_change(member) for member in query.members)
        left = not query.intervention.vary(history.step(firsts[0])).applied
        rerun = sum(history.length - first for first in firsts) - (int(query.members.sum()) if left else 0)
        return Cost(float(rerun + steps_to_forks(kept, firsts)), 0, "exact replay")
