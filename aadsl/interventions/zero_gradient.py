"""The stage's data say nothing, while the optimizer goes on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from aadsl.propagation import Step


@dataclass(frozen=True)
class ZeroGradient:
    """The steps of the stage happen with a gradient of zero: momentum and weight decay still act.

    This is what leave-out methods measure. It is another question than ``skip``, with other answers.
    """

    resets_after: ClassVar[bool] = False
    decides_anew: ClassVar[bool] = False
    question: ClassVar[str] = "had the data of the stage given no gradient, the optimizer going on"

    def vary(self, step: Step) -> Step:
        """Return the step with g = 0."""
        return replace(step, gradient_weight=0.0)
