"""A sweep must stay within the finite numbers."""

from __future__ import annotations

from aadsl.core.errors import AadslError


class NotFiniteError(AadslError):
    """Numbers that a sweep carries became infinite, or are none; with another curvature they may stay finite.

    Args:
        step: the step at which that was seen.
        length: how many steps the run has.
    """

    def __init__(self, step: int, length: int) -> None:
        super().__init__(
            f"the sweep left the finite numbers at step {step}, {length - step} steps before the end of the run",
            hint="training is unstable there; ask for later stages, or for the exact answer: using retraining()",
        )
