"""The share in Φ_t of optimizers that take their steps themselves: all groups of one at once, tensor by tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from aadsl.dynamics import Dynamics, Given, Hyper, OwnGroup, OwnOptimizer, Slots
from aadsl.propagation.layout import FlatState, Layout
from aadsl.propagation.step import Step

OwnSteps = dict[int, tuple[Tensor, Slots]]
"""(θ', s') by parameter group."""


def own_steps(
    layout: Layout, start: FlatState, gradient: Tensor, present: Tensor | None, step: Step, *, as_recorded: bool
) -> OwnSteps:
    """Return (θ', s') of the groups whose optimizer takes its step itself; it is given no gradient where none is.

    Either to the bits, ``as_recorded``, or differentiable.
    """
    owners, taken = _owners(step.dynamics), OwnSteps()
    if not owners:
        return taken
    there = None if present is None else {name: bool(own.all()) for name, own in layout.named_views(present).items()}
    gradients = {n: own if there is None or there[n] else None for n, own in layout.named_views(gradient).items()}
    for owner, groups in owners.items():
        take = owner.step if as_recorded else owner.differentiable
        after = take({number: _given(layout, start, group, step.hyper, gradients) for number, group in groups})
        taken |= {group: after[number] for number, group in groups}
    return taken


def evaluated(layout: Layout, state: FlatState, dynamics: Sequence[Dynamics], hyper: Sequence[Hyper]) -> Tensor:
    """Return θ as it is where the model is evaluated: optimizers may put other weights there than they train."""
    parameters, nothing = state.parameters.clone(), dict[str, Tensor | None].fromkeys(layout.names)
    for owner, groups in _owners(dynamics).items():
        if owner.has_modes:
            put = owner.evaluated({number: _given(layout, state, group, hyper, nothing) for number, group in groups})
            for number, group in groups:
                parameters[layout.group_slices[group]] = put[number]
    return parameters


def _owners(dynamics: Sequence[Dynamics]) -> dict[OwnOptimizer, list[tuple[int, int]]]:
    """Return the optimizers that take their steps themselves, with the numbers of their groups: own ones, the run's."""
    found: dict[OwnOptimizer, list[tuple[int, int]]] = {}
    for group, rule in enumerate(dynamics):
        if isinstance(rule, OwnGroup):
            found.setdefault(rule.owner, []).append((rule.number, group))
    return found


def _given(
    layout: Layout, state: FlatState, group: int, hyper: Sequence[Hyper], gradients: Mapping[str, Tensor | None]
) -> Given:
    names = layout.group_names(group)
    views = layout.group_views(group, state.parameters[layout.group_slices[group]])
    parameters = dict(zip(names, views, strict=True))
    return Given(parameters, {name: gradients[name] for name in names}, state.slots[group], hyper[group])
