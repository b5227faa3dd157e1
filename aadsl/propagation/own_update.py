"""The share in Φ_t of optimizers that take their steps themselves: all groups of one at once, tensor by tensor."""

from __future__ import annotations

from torch import Tensor

from aadsl.dynamics import Given, OwnGroup, OwnOptimizer, Slots
from aadsl.propagation.layout import FlatState, Layout
from aadsl.propagation.step import Step

OwnSteps = dict[int, tuple[Tensor, Slots]]
"""(θ', s') by parameter group."""


def own_steps(layout: Layout, start: FlatState, gradient: Tensor, present: Tensor | None, step: Step) -> OwnSteps:
    """Return (θ', s') of the groups whose optimizer takes its step itself; it is given no gradient where none is."""
    owners: dict[OwnOptimizer, list[tuple[int, int]]] = {}
    for group, dynamics in enumerate(step.dynamics):
        if isinstance(dynamics, OwnGroup):
            owners.setdefault(dynamics.owner, []).append((dynamics.number, group))
    taken: OwnSteps = {}
    for owner, groups in owners.items():
        given = {number: _given(layout, start, gradient, present, step, group) for number, group in groups}
        after = owner.step(given)
        taken |= {group: after[number] for number, group in groups}
    return taken


def _given(layout: Layout, start: FlatState, gradient: Tensor, present: Tensor | None, step: Step, group: int) -> Given:
    names, stretch = layout.group_names(group), layout.group_slices[group]

    def named(vector: Tensor) -> dict[str, Tensor]:
        return dict(zip(names, layout.group_views(group, vector[stretch]), strict=True))

    there = None if present is None else {name: bool(own.all()) for name, own in named(present).items()}
    gradients = {name: own if there is None or there[name] else None for name, own in named(gradient).items()}
    return Given(named(start.parameters), gradients, start.slots[group], step.hyper[group])
