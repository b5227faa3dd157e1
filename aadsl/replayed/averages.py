"""The averages of a run's weights that may have been shipped: one that the loop kept, or the mean of some steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from aadsl.core.errors import AadslError
from aadsl.core.state import State
from aadsl.propagation import Average, Averaging, BufferRule, FlatState, Formula, Layout, taken_in
from aadsl.trajectory import AVERAGE_COUNT, AVERAGE_WEIGHT, Trajectory

RULE = ("formula", "counted", "buffers")


class ShippedAverage(Protocol):
    """An average of the weights that behaviors are read off.

    Attributes:
        words: what it is.
        own_buffers: whether it has buffers of its own; else those of the model are read with it.
    """

    words: str
    own_buffers: bool

    def averaging(self, index: int) -> Averaging | None:
        """Return how it takes in what a step leaves; None where it does not."""
        ...

    def at(self, state: FlatState, index: int, stored: State) -> Average:
        """Return what it is at a stored state."""
        ...


class KeptAverage:
    """The average that the loop kept, as the recorder followed it.

    An average that takes in every step from its first on is part of the steps: one that does not happen is not taken
    in. One that does so at times, as after each epoch, is a snapshot, whatever happened in the step before.

    Of runs that followed on each other it is that of the last, which began as the model was then, or goes on from that
    of the run before.

    Args:
        trajectory: the run, which has one.
        layouts: where its parameters and buffers lie.
        like: a tensor of the device and dtype of the run.
    """

    words = "the average of the weights that the loop kept"

    def __init__(self, trajectory: Trajectory, layouts: tuple[Layout, Layout], like: torch.Tensor) -> None:
        self._layouts, self._like, self._begins = layouts, like, begins(trajectory)
        counts = np.append(trajectory.steps[AVERAGE_COUNT].to_numpy(), trajectory.average.get(AVERAGE_COUNT, np.inf))
        weights = np.append(trajectory.steps[AVERAGE_WEIGHT].to_numpy(), trajectory.average.get(AVERAGE_WEIGHT, np.nan))
        for job, rule in zip(trajectory.jobs[:-1], trajectory.averages, strict=False):
            if job.stop > self._begins:  # what it took in after its last step
                weights[job.stop] = rule.get(AVERAGE_WEIGHT, np.nan)
        weights[: self._begins + 1] = 0.0
        taken = np.flatnonzero(weights[1:] != 0) + 1
        self._of_step = bool(len(taken) > 1 and len(taken) == len(weights) - taken[0])
        self._counts, self._weights = counts, _filled(weights, self._of_step)
        self._counted = self._of_step and trajectory.average.get("counted", False)
        self._formula: Formula = trajectory.average.get("formula", "lerp")
        first, last = (trajectory.state(t) for t in (self._begins, trajectory.checkpoints[-1]))
        self.own_buffers = bool(first.average.get("buffers"))
        self._buffers: BufferRule = trajectory.average.get("buffers") or _rule_of_buffers(first, last, layouts[1].names)

    def averaging(self, index: int) -> Averaging | None:
        """Return how it takes in what a step leaves; None where it does not."""
        if index + 1 == self._begins:
            return Averaging(1.0, "copied", of_step=False)
        weight = float(self._weights[index + 1])
        if not weight:
            return None
        return Averaging(weight, self._buffers, self._formula, self._counted, self._of_step)

    def at(self, state: FlatState, index: int, stored: State) -> Average:
        """Return what it is at a stored state, which may have been copied before it took that in."""
        number = self._like.new_tensor(self._number(max(index, self._begins)), dtype=torch.float64)
        if index < self._begins:
            return Average(torch.zeros_like(state.parameters), torch.zeros_like(state.buffers), number)
        parameters, buffers = stored.parameters | stored.average["parameters"], stored.average.get("buffers", {})
        own, of_buffers = self._layouts
        flat = own.flatten([parameters[name] for name in own.names], self._like)
        if index == self._begins and index:
            return Average(flat, state.buffers, number)
        floating = of_buffers.flatten([buffers.get(name) for name in of_buffers.names], state.buffers)
        count, weight = float(stored.average["count"][""]), float(self._weights[index])
        pending = bool(weight) and count < self._counts[index]
        average = Average(flat, floating, number)
        if not pending:
            return average
        taking = Averaging(weight, self._buffers, self._formula)
        taken = taken_in(state, average, taking).average
        assert taken is not None
        return taken

    def _number(self, index: int) -> float:
        """Return how many models it had taken in before a step, where that decides weights."""
        if not self._counted:
            return 0.0
        later, before = self._weights[index + 1 :], self._weights[: index + 1]
        if later.any():
            return float(round(1 / later[later > 0][0] - 1))
        return float(round(1 / before[before > 0][-1]))


class MeanOfSteps:
    """The mean of the models after some numbers of steps.

    Args:
        steps: these, ascending.
        passed: gives the state after a number of steps, without an average.
    """

    own_buffers = True

    def __init__(self, steps: Sequence[int], passed: Callable[[int], FlatState]) -> None:
        self._places = {step: place for place, step in enumerate(steps)}
        self._passed = passed
        self._states: dict[int, FlatState] = {}
        self.words = (
            f"the mean of the models after {', '.join(f'{step:,}' for step in steps[:-1])} and {steps[-1]:,} steps"
        )

    def averaging(self, index: int) -> Averaging | None:
        """Return how it takes in what a step leaves; None where it does not."""
        place = self._places.get(index + 1)
        return None if place is None else Averaging(1 / (place + 1), formula="mean", of_step=False)

    def at(self, state: FlatState, index: int, stored: State) -> Average:
        """Return the mean of those until there."""
        number = torch.zeros((), dtype=torch.float64, device=state.parameters.device)
        average = Average(torch.zeros_like(state.parameters), torch.zeros_like(state.buffers), number)
        for step in (step for step in self._places if step <= index):
            if step not in self._states:
                passed = state if step == index else self._passed(step)
                self._states[step] = passed._replace(slots=(), average=None)
            averaging = self.averaging(step - 1)
            assert averaging is not None
            taken = taken_in(self._states[step], average, averaging).average
            assert taken is not None
            average = taken
        return average


def require_average(trajectory: Trajectory) -> None:
    """Raise AadslError where the loop's average was not followed."""
    if trajectory.average:
        begins(trajectory)
        return
    of_last = " in the last of the runs" if len(trajectory.jobs) > 1 else ""
    raise AadslError(
        f'final="averaged", and the recorder followed no average of the weights{of_last}',
        hint="record it, Recorder(path, model, optimizer, averaged=ema_model); or give steps: final=[800, 1000, 1200]",
    )


def begins(trajectory: Trajectory) -> int:
    """Return the step at which the average that the last run ended with began: 0, or where a run of a chain did.

    Raises:
        AadslError: a run did not begin with the model as its average, nor with that of the run before.
    """
    for number in reversed(range(1, len(trajectory.jobs))):
        start = trajectory.jobs[number].start
        state = trajectory.state(start)
        average = state.average.get("parameters", {})
        if all(torch.equal(tensor, state.parameters[name]) for name, tensor in average.items()):
            return start
        before = trajectory.averages[number - 1]
        rules = [{name: rule.get(name) for name in RULE} for rule in (before, trajectory.averages[number])]
        if not before or rules[0] != rules[1]:
            raise AadslError(
                f"the average of {trajectory.jobs[number].name} began neither as its model was, nor does it go on from "
                "the run before, by the same rule",
                hint="open the run alone whose average was shipped: aadsl.open_trajectory(path)",
            )
    return 0


def _filled(weights: NDArray[np.float64], of_step: bool) -> NDArray[np.float64]:
    """Return the weights with those that are not known, where recording went on, as that before them, or as none."""
    found = weights.astype(np.float64)
    for place in np.flatnonzero(np.isnan(found)):
        found[place] = found[place - 1] if of_step and place else 0.0
    return found


def _rule_of_buffers(first: State, last: State, names: Sequence[str]) -> BufferRule:
    """Return what an average did with buffers, as far as its last state shows."""
    own, begun = last.average.get("buffers", {}), first.average.get("buffers", {})
    if own and all(name in own and torch.equal(own[name], last.buffers[name]) for name in names):
        return "copied"
    if own and all(name in own and torch.equal(own[name], begun[name]) for name in names):
        return "left"
    return "averaged" if own else "left"
