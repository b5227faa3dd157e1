"""The stage with another learning rate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isnan
from typing import ClassVar

from aadsl.core.arguments import checked
from aadsl.core.errors import AadslError
from aadsl.propagation import Step


@checked
@dataclass(frozen=True)
class ScaleLr:
    """The steps of the stage happen with their learning rate times a factor.

    Attributes:
        factor: what the learning rate is multiplied by; 0.1 asks about a stage at a tenth of its rate.
    """

    factor: float

    resets_after: ClassVar[bool] = False
    decides_anew: ClassVar[bool] = False
    question: ClassVar[str] = "had the stage been trained with another learning rate"

    def __post_init__(self) -> None:
        if not 0 <= self.factor < float("inf"):
            raise AadslError(f"factor must be a number from 0 on, not {self.factor!r}")

    def vary(self, step: Step) -> Step:
        """Return the step with η·factor. Raises AadslError where the optimizer finds η itself."""
        if any(isnan(hyper.get("lr", 0.0)) for hyper in step.hyper):
            raise AadslError(
                "the optimizer finds its learning rate itself (lr=None), so it cannot be scaled",
                hint="ask what if the gradient had another weight: under reweight(…)",
            )
        return replace(step, hyper=tuple({**hyper, "lr": hyper["lr"] * self.factor} for hyper in step.hyper))
