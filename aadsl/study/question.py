"""What is asked of a study, as one value: it is resolved, planned, answered and written down as such."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aadsl.estimators import Estimator
    from aadsl.interventions import Intervention

DEFAULT_ESTIMATOR = "auto"
DEFAULT_ESTIMATE = "first_order"  # of what asks for estimates: of every step, or beside the truth
DEFAULT_INTERVENTION = "skip"
SAMPLES = 15
"""Steps whose estimates are checked, unless told otherwise: the fewest that give intervals."""


@dataclass(frozen=True)
class Question:
    """How would behaviors differ, had an intervention happened at the steps of stages?

    Attributes:
        stages: names of stages or families; none where every single step is asked about.
        behaviors: names of behaviors or families.
        estimator: how it is answered: a member of ``ESTIMATORS``, or its name.
        intervention: what is changed: a member of ``INTERVENTIONS``, or its name.
    """

    stages: tuple[str, ...]
    behaviors: tuple[str, ...]
    estimator: Estimator | str = DEFAULT_ESTIMATOR
    intervention: Intervention | str = DEFAULT_INTERVENTION

    @property
    def arguments(self) -> dict[str, Any]:
        """The same as arguments of a study's methods; without ``stages`` where there are none."""
        stages = {"stages": list(self.stages)} if self.stages else {}
        named = {"behaviors": list(self.behaviors), "estimator": self.estimator, "intervention": self.intervention}
        return stages | named
