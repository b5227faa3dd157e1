"""What each example of a step did to its own loss, at once."""

from __future__ import annotations

import torch
from torch import Tensor

from aadsl.propagation.curvature import Point
from aadsl.propagation.example_products import example_shares
from aadsl.propagation.layout import zeros_like
from aadsl.propagation.step_map import StepMap, started
from aadsl.propagation.update import pullback


def own_effects(step_map: StepMap, point: Point) -> Tensor:
    """Return (n,) how much each example of a step lowered its own loss by its own share of the step, to first order.

    −⟨∇ℓ_i, (∂θ_{t+1}/∂g) g_i⟩ with g_i = s ∇ℓ_i the example's share of the gradient, and s its part of the step: one in
    as many as there are examples, times the weight of its micro-batch. For plain SGD that is η s ‖∇ℓ_i‖².
    """
    step, layout = point.step, step_map.layout
    point = point._replace(state=started(layout, point.state.bare, step))
    still, effects = zeros_like(point.state), []
    for part, share in zip(_parts(point), example_shares(step_map.objective.of(step), point.state, step), strict=True):
        own = still._replace(parameters=share / part)
        ((_, direction),) = pullback(layout, point, [own])
        effects.append(-torch.dot(direction, share).double())
    return torch.stack(effects)


def _parts(point: Point) -> list[float]:
    """Return s of each example."""
    sizes, step = point.step.sizes, point.step
    weights = step.weights or [1 / len(sizes)] * len(sizes)
    return [weight / size for weight, size in zip(weights, sizes, strict=True) for _ in range(size)]
