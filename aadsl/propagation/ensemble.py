"""Many counterfactual runs that advance together, one pass over the data for all of them.

The states of N runs are one stack of tensors, whose row 0 is a control run in which nothing changes. It rides along
from the stored state at or before the first change, and the others join when they begin to differ: ζ_f is the control's
state there. At each step the runs that read the same batches have their gradients computed at once, and those that also
take the same step have it applied at once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import groupby

import torch

from aadsl.core.progress import Progress, silent
from aadsl.propagation.layout import FlatState
from aadsl.propagation.replay import Variation
from aadsl.propagation.reruns import End, Stepped, finite, in_order, stored_before
from aadsl.propagation.stacked import Stack, StackedObjective
from aadsl.propagation.stacked_update import update
from aadsl.propagation.step import Run, Step
from aadsl.propagation.step_map import StepMap, started


def ensemble(
    run: Run,
    step_map: StepMap,
    varied: Sequence[Variation],
    firsts: Sequence[int],
    *,
    size: int,
    progress: Progress = silent,
) -> Iterator[End]:
    """Yield the end of each counterfactual run and of its control run; ``size`` of them advance together.

    The arguments are those of :func:`aadsl.propagation.reruns.reruns`, and so are the ends, to rounding. Memory: the
    states of ``size`` + 1 runs, their gradients, and what autograd holds of so many forward passes.

    Raises:
        VectorizationError: the loss cannot be computed for many runs at once. What was yielded before holds.
        AadslError: after all others were yielded, where a counterfactual run left the finite numbers.
    """
    order = in_order(firsts)
    chunks = [order[i : i + size] for i in range(0, len(order), size)]
    kept = run.checkpoints
    starts = [stored_before(kept, firsts[chunk[0]]) for chunk in chunks]
    stepped = Stepped(progress, run, varied, firsts, sum(run.length - start for start in starts))
    ends = (_together(run, step_map, chunk, varied, firsts, start, stepped)
            for chunk, start in zip(chunks, starts, strict=True))  # fmt: skip
    return finite(end for chunk in ends for end in chunk)


def _together(
    run: Run,
    step_map: StepMap,
    chunk: Sequence[int],
    varied: Sequence[Variation],
    firsts: Sequence[int],
    start: int,
    stepped: Stepped,
) -> Iterator[End]:
    """Yield the ends of some runs, ordered by their first changes, and of one control run."""
    replicas = Replicas(step_map, run.state(start), 1 + len(chunk))
    joined = 0
    for t in range(start, run.length):
        step = run.step(t)
        for i in chunk[joined:]:
            if firsts[i] > t:
                break
            joined += 1
            replicas.fork(joined)
        steps = [step, *(varied[i](step) for i in chunk[:joined])]
        replicas.advance(steps)
        stepped(*steps)
    for row in range(joined, len(chunk)):
        replicas.fork(row + 1)
    control = replicas.stack[0].clone()
    for row, i in enumerate(chunk, start=1):
        yield End(i, replicas.stack[row].clone(), control)


class Replicas:
    """The states of N runs that advance together, each by a step of its own.

    Attributes:
        stack: the states; row 0 is the control run.
    """

    def __init__(self, step_map: StepMap, state: FlatState, count: int) -> None:
        self.stack = Stack(state, count)
        self._step_map = step_map
        self._objective = StackedObjective(step_map.objective)

    def fork(self, row: int) -> None:
        """Let a run begin at the state of the control run."""
        self.stack[row] = self.stack[0]

    def advance(self, steps: Sequence[Step]) -> None:
        """Take one step in each of the first runs: in row r that is ``steps[r]``.

        Raises:
            VectorizationError: the loss cannot be computed for many runs at once.
        """
        applied = [row for row, step in enumerate(steps) if step.applied]
        for row, step in enumerate(steps):
            if step.resets_optimizer:
                self.stack[row] = started(self._step_map.layout, self.stack[row], step)
        for rows in grouped(applied, lambda row: self._data(row, steps[row])):
            if len(rows) == 1 or self._reads_no_data(rows[0], steps[rows[0]]):
                for row in rows:
                    self.stack[row] = self._step_map(self.stack[row], steps[row])
            else:
                self._advance(rows, steps)

    def _advance(self, rows: Sequence[int], steps: Sequence[Step]) -> None:
        """Take a step in each of some runs that read the same data."""
        states = self.stack.read(rows)
        gradients = self._objective.evaluate(states, steps[rows[0]])
        self.stack.write_buffers(rows, states)
        with torch.no_grad():
            for places in self._alike(rows, steps):
                first, last = rows[places[0]], rows[places[-1]]
                own = [None if g is None else g[places[0] : places[-1] + 1] for g in gradients]
                update(self._step_map.layout, self.stack.between(first, last + 1), own, steps[first])

    def _data(self, row: int, step: Step) -> Hashable:
        """Return what decides the gradient of a run beside its state: the data, the mode of the model, the noise."""
        read = None if self._reads_no_data(row, step) else id(step.batches)
        return read, step.training, step.off_mode, id(step.rng_states)

    def _reads_no_data(self, row: int, step: Step) -> bool:
        return self._step_map._reads_no_data(self.stack[row], step)

    def _alike(self, rows: Sequence[int], steps: Sequence[Step]) -> Iterator[list[int]]:
        """Yield the places of neighbors among ``rows`` whose update can be computed at once: same step and counters."""
        counters = [t for own in self.stack.tensors.slots for t in own.values() if t.dim() == 1]
        counted = torch.stack(counters, dim=1).tolist() if counters else [[]] * (rows[-1] + 1)
        keys = [(_rule(steps[row]), *counted[row]) for row in rows]
        for _, places in groupby(range(len(rows)), lambda place: (keys[place], rows[place] - place)):
            yield list(places)


def grouped(items: Iterable[int], key: Callable[[int], Hashable]) -> list[list[int]]:
    """Return the items with equal keys together, in their order."""
    groups: dict[Hashable, list[int]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return list(groups.values())


def _rule(step: Step) -> Hashable:
    """Return what decides the update of a run beside its state and gradient."""
    hyper = tuple(tuple(own.items()) for own in step.hyper)
    return hyper, step.dynamics, step.clip, step.gradient_weight
