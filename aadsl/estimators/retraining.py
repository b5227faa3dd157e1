"""The exact effect: the run is trained again without the stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from aadsl.estimators.base import Answer, Cost, Question, final_readouts
from aadsl.history import History
from aadsl.interventions import counterfactual, first_change
from aadsl.propagation import Progress, rerun


@dataclass(frozen=True)
class Retraining:
    """Train the run again under the intervention and compare: the exact answer, one gradient a step and stage."""

    exact: ClassVar[bool] = True
    needs_gradient: ClassVar[bool] = False

    def answer(self, history: History, question: Question, progress: Progress) -> Answer:
        """Return γ(ξ_T) − γ(ζ_T), with ζ the run in which the intervention happens."""
        state, readouts = final_readouts(history, question.behaviors)
        observed = [readout.values(state).cpu().numpy() for readout in readouts]
        stages = len(question.members)
        effect = np.zeros((stages, len(readouts)))
        examples = {k: np.zeros((stages, len(observed[k]))) for k, b in enumerate(question.behaviors) if b.per_example}
        for s, member in enumerate(question.members):
            varied = counterfactual(question.intervention, member)
            other = rerun(history, history.step_map, varied, first_change(member), _part(progress, s, stages))
            for k, readout in enumerate(readouts):
                difference = observed[k] - readout.values(other).cpu().numpy()
                effect[s, k] = difference.mean()
                if k in examples:
                    examples[k][s] = difference
        return Answer(effect, examples)

    def cost(self, history: History, question: Question) -> Cost:
        """Return one gradient for each step from a stage's first one on, and for the replay to it."""
        firsts = [first_change(member) for member in question.members]
        starts = [max(t for t in history.checkpoints if t <= first) for first in firsts]
        return Cost(float(sum(history.length - start for start in starts)), 0, "exact replay")


def _part(progress: Progress, position: int, parts: int) -> Progress:
    """Return a progress that fills one of several equal parts."""

    def report(what: str, done: int, total: int) -> None:
        progress(what, position * total + done, parts * total)

    return report
