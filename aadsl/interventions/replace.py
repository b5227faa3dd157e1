"""The stage with other data at the same place."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

from aadsl.propagation import Step


@dataclass(frozen=True, eq=False)
class Replace:
    """The steps of the stage happen with other data: the same examples, relabelled or cleaned.

    Attributes:
        data: what to look the recorded indices up in instead of the training data; as long and in the same order.
    """

    data: Any

    resets_after: ClassVar[bool] = False
    decides_anew: ClassVar[bool] = False
    question: ClassVar[str] = "had the stage been trained on other data"

    def vary(self, step: Step) -> Step:
        """Return the step with another batch."""
        return dataclasses.replace(step, batches=step.batches.looked_up_in(self.data))
