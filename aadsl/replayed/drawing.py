"""The random numbers of a run's steps: from which generators, and whether drawn before the forward pass.

A recorder keeps the generators' states where a forward pass begins and, where others were there when its batch was
announced, these, too: a loss may draw noise before it calls the model. Which of them gives the loss that was recorded
is measured at stored states.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from math import inf, isfinite

from aadsl.core.errors import AadslError
from aadsl.core.generators import Generator, OwnGenerator, kind_of_generator, left_as_they_were
from aadsl.propagation import FlatState, Objective, Step
from aadsl.propagation.micro_batches import seed
from aadsl.trajectory import Trajectory

PROBES = 3  # stored states at which is measured
_NEAR = 1e-3  # relative distance from the recorded loss within which it is the same


def require_generators(trajectory: Trajectory, generators: Sequence[OwnGenerator]) -> None:
    """Make sure that these are such generators as were recorded; none are given where nothing draws from them.

    Raises:
        AadslError: they are others.
    """
    given = ", ".join(map(kind_of_generator, generators))
    recorded = trajectory.provenance.get("generators", "")
    if given and given != recorded and len(trajectory.jobs) == 1:
        raise AadslError(
            f"generators are {given}, and the run was recorded with {recorded or 'none of its own'}",
            hint="give those that Recorder(…, generators=[…]) was given, in this order",
        )


def losses_of(objective: Objective, state: FlatState, step: Step, drawn_from: Iterable[Generator]) -> list[float]:
    """Return the loss of each micro-batch of a step; the generators that it may draw from stay as they were."""
    found = []
    with left_as_they_were(drawn_from), objective.at(state, step):
        for position, batch in enumerate(step.batches()):
            seed(step, position)
            found.append(objective.weighted_loss(batch, None).item())
    return found


class Drawing:
    """Whether the steps of each run of ``trajectory`` draw before their forward passes.

    Args:
        trajectory: what was recorded.
        losses: ``losses(t, early)`` returns the loss of each micro-batch of step t at the state stored before it, from
            the generators' states where its batch was announced, or else where its forward pass began.
    """

    def __init__(self, trajectory: Trajectory, losses: Callable[[int, bool], Sequence[float]]) -> None:
        self._trajectory, self._losses = trajectory, losses
        self._known: dict[int, bool] = {}

    def is_early(self, index: int) -> bool:
        """Return whether the numbers of a step begin where its batch was announced."""
        if not any(self._trajectory.announced_rng_states(index)):
            return False
        job = bisect_right(self._starts, index) - 1
        if job not in self._known:
            self._known[job] = self._measured(job)
        return self._known[job]

    @cached_property
    def _starts(self) -> list[int]:
        return [job.start for job in self._trajectory.jobs if job.start < job.stop]

    def _measured(self, job: int) -> bool:
        start, stop = [*self._starts, self._trajectory.length][job : job + 2]
        stored = (t for t in self._trajectory.checkpoints if start <= t < stop)
        probes = [t for t in stored if any(self._trajectory.announced_rng_states(t))][:PROBES]
        distances = [[self._distance(t, early) for early in (True, False)] for t in probes]
        # They are the same where a generator happens to be where it was.
        return bool(distances) and all(early < _NEAR and early <= late for early, late in distances)

    def _distance(self, index: int, early: bool) -> float:
        """Return how far the losses of a step are from those recorded, relative to them."""
        seen = self._trajectory.differentiated(index)
        if not seen and len(self._trajectory.micro_batch_sizes(index)) == 1 and "loss" in self._trajectory.steps:
            seen = ((float(self._trajectory.steps["loss"][index]), 1.0),)
        if not seen:
            return inf
        pairs = zip(seen, self._losses(index, early), strict=True)
        far = [abs(factor * own - recorded) / abs(recorded) if recorded else inf for (recorded, factor), own in pairs]
        return max(far) if all(map(isfinite, far)) else inf
