"""What a counterfactual run does differently, defined once for estimates and for exact retraining."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from aadsl.interventions.rerun import Anew, Rerun
from aadsl.propagation import Step, Variation


@runtime_checkable
class Intervention(Protocol):
    """What happens at the steps of a stage instead of what was observed: Φ_t becomes Ψ_t.

    Attributes:
        resets_after: whether the optimizer's state is reset before the first step after the stage.
        decides_anew: whether the model decides again what it had decided, so that a run goes on from its first step.
        question: the question an effect under this intervention answers, in words.
    """

    resets_after: ClassVar[bool]
    decides_anew: ClassVar[bool]
    question: ClassVar[str]

    def vary(self, step: Step) -> Step:
        """Return Ψ_t for a step Φ_t inside the stage."""
        ...


def counterfactual(intervention: Intervention, member: NDArray[np.bool_], *, strictly: bool = True) -> Variation:
    """Return the run in which ``intervention`` happens at the steps of a stage, ``member`` (T,) true there.

    ``strictly``: replays have the recorded bits, so that what the model decides before the stage is what was recorded.
    """
    if isinstance(intervention, Rerun):
        return Anew(intervention, member, strictly)

    def varied(step: Step) -> Step:
        if member[step.index]:
            return intervention.vary(step)
        if intervention.resets_after and step.index and member[step.index - 1] and not step.resets_optimizer:
            return replace(step, resets_optimizer=True)
        return step

    return varied


def first_change(member: NDArray[np.bool_]) -> int:
    """Return the first step of a stage that is not empty."""
    return int(np.argmax(member))


def first_step(intervention: Intervention, member: NDArray[np.bool_]) -> int:
    """Return the step that the run without a stage begins with: where it changes, or at the first of all."""
    return 0 if intervention.decides_anew else first_change(member)
