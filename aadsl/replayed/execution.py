"""How an answer is being computed: whom to tell of it, and where sweeps are kept meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, field

from aadsl.core.progress import Progress, silent
from aadsl.replayed.checkpoints import SweepCheckpoints
from aadsl.replayed.workers import Workers


@dataclass(frozen=True)
class Execution:
    """The one argument that goes with every computation; what is computed does not depend on it.

    Attributes:
        progress: called as work goes on; what it raises ends the work.
        checkpoints: where sweeps are kept, so that interrupted ones go on from there.
        workers: who does portions of the work; None where all is done here.
    """

    progress: Progress = silent
    checkpoints: SweepCheckpoints = field(default_factory=SweepCheckpoints)
    workers: Workers | None = None
