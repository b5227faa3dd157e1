"""The run goes on from where its steps lead, not from the checkpoint beside which they end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from aadsl.propagation import Step


@dataclass(frozen=True)
class AsReplayed:
    """What a reconstruction does not explain does not happen: where a gap misses its checkpoint, it is left as it is.

    The stage are the last steps of such gaps. It tells what their mismatch does, and is not called by name.
    """

    resets_after: ClassVar[bool] = False
    decides_anew: ClassVar[bool] = False
    question: ClassVar[str] = "had the run gone on from where the reconstruction ends, not from its checkpoints"

    def vary(self, step: Step) -> Step:
        """Return the step without what else moves the state after it."""
        return replace(step, displacement=None)
