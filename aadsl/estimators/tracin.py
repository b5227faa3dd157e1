"""TracIn: the effect of a step as if nothing happened after it, as a baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from aadsl.estimators.additive import StepEffects, answer_by_sums, baseline_cost
from aadsl.estimators.base import Answer, Behavior, Cost, Question
from aadsl.estimators.dvemb import rates
from aadsl.history import History
from aadsl.interventions import Intervention
from aadsl.propagation import Progress, forward


@dataclass(frozen=True)
class Tracin:
    """TracIn (Pruthi et al., 2020): score_t = −η ⟨∇γ(θ_t), g_t⟩, the behavior's gradient taken at every step.

    It asks how the step changed the behavior then, not how the final model would differ; a baseline.
    """

    exact: ClassVar[bool] = False
    needs_gradient: ClassVar[bool] = True
    additive: ClassVar[bool] = True

    def answer(self, history: History, question: Question, progress: Progress) -> Answer:
        """Return the sums of the steps' scores."""
        return answer_by_sums(self, history, question, progress)

    def step_effects(
        self, history: History, behaviors: Sequence[Behavior], intervention: Intervention, progress: Progress
    ) -> StepEffects:
        """Return the score of every step."""
        readouts = [behavior.readout(history) for behavior in behaviors]
        scores = np.zeros((history.length, len(behaviors)))
        for moment in forward(history, history.step_map):
            update = rates(history, moment) * moment.evaluation.gradient
            for k, readout in enumerate(readouts):
                slope = readout.cotangent(moment.state).parameters
                scores[moment.step.index, k] = -float((slope * update).sum(dtype=torch.float64))
            progress("sweep", moment.step.index + 1, history.length)
        return StepEffects(scores, np.zeros_like(scores), np.full(len(behaviors), np.nan))

    def cost(self, history: History, question: Question) -> Cost:
        """Return the replay and one gradient of each behavior a step."""
        return baseline_cost(history, question, 1.0, "gradients along the run")
