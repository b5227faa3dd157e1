"""TracIn: the effect of a step as if nothing happened after it, as a baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from aadsl.estimators.additive import Additive, StepEffects, answer_by_sums, baseline_cost
from aadsl.estimators.base import Behavior, Cost, Effects, Query
from aadsl.estimators.dvemb import rates
from aadsl.interventions import Intervention
from aadsl.propagation import forward
from aadsl.replayed.execution import Execution
from aadsl.replayed.history import History


@dataclass(frozen=True)
class Tracin(Additive):
    """TracIn (Pruthi et al., 2020): score_t = −η ⟨∇γ(θ_t), g_t⟩, the behavior's gradient taken at every step.

    It asks how the step changed the behavior then, not how the final model would differ; a baseline.
    """

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
        readouts = [behavior.readout(history) for behavior in behaviors]
        scores = np.zeros((history.length, len(behaviors)))
        for taken in forward(history, history.step_map):
            update = rates(history, taken) * taken.evaluation.gradient
            for k, readout in enumerate(readouts):
                slope = readout.cotangent(taken.state).parameters
                scores[taken.step.index, k] = -float((slope * update).sum(dtype=torch.float64))
            execution.progress("sweep", taken.step.index + 1, history.length)
        return StepEffects(scores, np.zeros_like(scores), np.full(len(behaviors), np.nan))

    def cost(self, history: History, query: Query) -> Cost:
        """Return the replay and one gradient of each behavior a step."""
        return baseline_cost(history, query, 1.0, "gradients along the run")
