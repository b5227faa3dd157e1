"""The updates of the stage do not happen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from aadsl.propagation import Step


@dataclass(frozen=True)
class Skip:
    """The updates of the stage do not happen (the paper's treatment for single steps and scattered batches).

    The whole state stays as it is at a skipped step, momentum and counters included; a job that begins there begins
    with a fresh optimizer all the same. The learning rates of later steps stay as they were recorded.
    """

    resets_after: ClassVar[bool] = False
    decides_anew: ClassVar[bool] = False
    question: ClassVar[str] = "had the updates of the stage not happened"

    def vary(self, step: Step) -> Step:
        """Return the identity."""
        return replace(step, applied=False)
