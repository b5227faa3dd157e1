"""One step of many runs: the gradient over stacked parameters, and the optimizer's share for rows that are alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from aadsl.propagation.layout import Layout
from aadsl.propagation.micro_batches import GradientSum, seed
from aadsl.propagation.objective import Objective
from aadsl.propagation.replicas import Replicas
from aadsl.propagation.stacked_linear import StackedLinear
from aadsl.propagation.stacked_update import update
from aadsl.propagation.step import Step
from aadsl.propagation.step_map import StepMap, displaced

T = TypeVar("T")


class StackedEvaluation(NamedTuple):
    """What one forward and backward pass of n rows gives.

    Attributes:
        gradients: of each parameter tensor, (n, …); None where it took no part in the loss.
        buffers: (n, B) after the forward pass.
        integers: integer buffers after the forward pass, each (n, …).
    """

    gradients: list[Tensor | None]
    buffers: Tensor
    integers: tuple[Tensor, ...]


class StackedObjective:
    """The loss as a function of stacked parameters and buffers, vmapped over the private model of an objective."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self._loss = _Loss(objective)

    def evaluate(
        self, parameters: Tensor, buffers: Tensor, integers: Sequence[Tensor], step: Step
    ) -> StackedEvaluation:
        """Return the gradients of the step's loss over all micro-batches, each row's own, and its buffers after it.

        All rows see the recorded random numbers.
        """
        objective, rows = self.objective, len(parameters)
        leaves = [view.detach().requires_grad_() for view in _views(objective.parameters, parameters)]
        batches, total = step.batches(), GradientSum(step)
        of_ranks: list[tuple[list[Tensor], list[Tensor]]] = []
        with objective.running(step), sdpa_kernel(SDPBackend.MATH), StackedLinear():
            for position, batch in enumerate(batches):
                if not position or step.begins_rank(position):
                    floating = [view.clone() for view in _views(objective.buffers, buffers)]
                    of_ranks.append((floating, [t.clone() for t in integers]))
                seed(step, position)
                together = torch.vmap(self._loss.at(batch), randomness="same")
                values, floating, whole = together(leaves, *of_ranks[-1])
                of_ranks[-1] = floating, whole
                share = step.share(values.sum(), position, len(batches))
                total.add(position, torch.autograd.grad(share, leaves, step.beginning(share), allow_unused=True))
        floating, whole = of_ranks[0]
        return StackedEvaluation(
            [None if gradient is None else step.unscaled(gradient) for gradient in total.total],
            _flat(objective.buffers, floating, buffers) if floating else buffers.new_zeros((rows, 0)),
            tuple(whole),
        )


_Value = tuple[Tensor, list[Tensor], list[Tensor]]


class _Loss(nn.Module):
    """The loss as a module, so that its parameters can be replaced."""

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.model = objective.model
        self._function = objective.loss
        names = objective.parameters.names, objective.buffers.names, objective.integers
        self._names = [f"model.{name}" for part in names for name in part]

    def forward(self, batch: Any) -> Tensor:
        value: Tensor = self._function(self.model, batch)
        return value

    def at(self, batch: Any) -> Callable[[list[Tensor], list[Tensor], list[Tensor]], _Value]:
        """Return the loss of a batch and the buffers after it as a function of parameters and both kinds of buffers."""

        def value(parameters: list[Tensor], buffers: list[Tensor], integers: list[Tensor]) -> _Value:
            tensors = dict(zip(self._names, [*parameters, *buffers, *integers], strict=True))
            loss: Tensor = functional_call(self, tensors, (batch,))
            # PyTorch puts there what the forward pass put in a buffer's place.
            after = [tensors[name].detach() for name in self._names[len(parameters) :]]
            return loss, after[: len(buffers)], after[len(buffers) :]

        return value


def advance(step_map: StepMap, objective: StackedObjective, replicas: Replicas, steps: Sequence[Step]) -> None:
    """Advance every replica by its own step of ``steps``; rows whose steps read the same are evaluated together.

    A row that shares its step with no other, or whose step reads nothing, is advanced alone: that is quicker.
    """
    _restart(step_map.layout, replicas, steps)
    applied = [row for row, step in enumerate(steps) if step.applied]
    alone: set[int] = set()
    for rows in _alike(applied, lambda a, b: _read_the_same(steps[a], steps[b])):
        step = steps[rows[0]]
        if len(rows) == 1 or (step.gradient_weight == 0 and not objective.objective.buffers.size):
            for row in rows:
                replicas.set(row, step_map(replicas.state(row), steps[row]))
            alone |= {*rows}
            continue
        parameters, buffers = replicas.take(replicas.parameters, rows), replicas.take(replicas.buffers, rows)
        integers = [replicas.take(t, rows) for t in replicas.integers]
        evaluation = objective.evaluate(parameters, buffers, integers, step)
        with torch.no_grad():
            _update(step_map.layout, replicas, rows, steps, evaluation.gradients)
        replicas.put(replicas.buffers, rows, evaluation.buffers)
        for own, values in zip(replicas.integers, evaluation.integers, strict=True):
            replicas.put(own, rows, values)
    for row, step in enumerate(steps):
        if step.displacement is not None and row not in alone:
            replicas.set(row, displaced(replicas.state(row), step))


def _update(
    layout: Layout,
    replicas: Replicas,
    rows: Sequence[int],
    steps: Sequence[Step],
    gradients: Sequence[Tensor | None],
) -> None:
    """Take the optimizer's step of evaluated rows; neighbors with the same step and equal counters together."""

    def alike(a: int, b: int) -> bool:
        return _step_the_same(steps[a], steps[b]) and replicas.counters[a] == replicas.counters[b]

    places = {row: place for place, row in enumerate(rows)}
    for group in _alike(rows, alike):
        for _, part in groupby(enumerate(group), key=lambda pair: pair[1] - pair[0]):
            neighbors = [row for _, row in part]
            first, last = places[neighbors[0]], places[neighbors[-1]]
            own = [None if g is None else g[first : last + 1] for g in gradients]
            update(layout, replicas, neighbors, own, steps[neighbors[0]])


def _restart(layout: Layout, replicas: Replicas, steps: Sequence[Step]) -> None:
    """Start the slots of those rows afresh whose step restarts an optimizer."""
    for row, step in enumerate(steps):
        for group in step.restarted:
            own = replicas.slots([row], group)
            parameters = replicas.parameters[row : row + 1, layout.group_slices[group]]
            fresh = step.dynamics[group].initial(parameters, step.hyper[group])
            replicas.put_slots([row], group, {n: fresh.get(n, torch.zeros_like(t)) for n, t in own.items()})


def _read_the_same(one: Step, other: Step) -> bool:
    """Return whether two steps of one time evaluate the same loss."""
    modes = one.training == other.training and one.off_mode == other.off_mode and one.weights == other.weights
    nothing = (one.gradient_weight == 0) == (other.gradient_weight == 0)
    whole = not one.left_out and not other.left_out
    return one is other or (one.batches is other.batches and modes and nothing and whole)


def _step_the_same(one: Step, other: Step) -> bool:
    """Return whether two steps of one time do the same with a gradient."""
    if one is other:
        return True
    weights = one.gradient_weight == other.gradient_weight
    return weights and one.clip == other.clip and one.hyper == other.hyper and one.dynamics == other.dynamics


def _alike(rows: Sequence[int], same: Callable[[int, int], bool]) -> list[list[int]]:
    """Return the rows in groups of those that are the same."""
    groups: list[list[int]] = []
    for row in rows:
        group = next((group for group in groups if same(group[0], row)), None)
        if group is None:
            groups.append([row])
        else:
            group.append(row)
    return groups


def _views(layout: Layout, matrix: Tensor) -> list[Tensor]:
    """Return each tensor of n rows (n, size) as (n, *shape), a view."""
    places = zip(layout.offsets, layout.counts, layout.shapes, strict=False)
    return [matrix[:, a : a + count].view(-1, *shape) for a, count, shape in places]


def _flat(layout: Layout, tensors: Sequence[Tensor | None], like: Tensor) -> Tensor:
    """Return tensors (n, *shape) as rows (n, size); None is zero."""
    rows = len(like)
    parts = [
        like.new_zeros((rows, count)) if t is None else t.reshape(rows, count)
        for t, count in zip(tensors, layout.counts, strict=True)
    ]
    return torch.cat(parts, dim=1)
