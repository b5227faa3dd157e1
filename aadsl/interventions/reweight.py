"""The stage's data count more, or less."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

from aadsl.core.arguments import checked
from aadsl.core.errors import AadslError
from aadsl.propagation import Step


@checked
@dataclass(frozen=True)
class Reweight:
    """The steps of the stage happen with their gradient times a weight.

    Attributes:
        weight: what the gradient is multiplied by, before any clipping; 2 asks about data that count twice.
    """

    weight: float

    resets_after: ClassVar[bool] = False
    decides_anew: ClassVar[bool] = False
    question: ClassVar[str] = "had the data of the stage counted with another weight"

    def __post_init__(self) -> None:
        if not math.isfinite(self.weight):
            raise AadslError(f"weight must be a finite number, not {self.weight!r}")

    def vary(self, step: Step) -> Step:
        """Return the step with g·weight."""
        return replace(step, gradient_weight=step.gradient_weight * self.weight)
