"""The stage does not happen, and what follows starts with a fresh optimizer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from aadsl.propagation import Step


@dataclass(frozen=True)
class Restart:
    """The stage does not happen and the optimizer starts afresh after it (the paper's protocol for whole stages).

    This is what really happens when stages are jobs of their own: the next job begins from the checkpoint before
    the stage, with new momentum and counters.
    """

    resets_after: ClassVar[bool] = True
    decides_anew: ClassVar[bool] = False
    question: ClassVar[str] = "had the stage not happened, the next one starting with a fresh optimizer"

    def vary(self, step: Step) -> Step:
        """Return the identity."""
        return replace(step, applied=False)
