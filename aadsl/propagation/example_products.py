"""What the single examples of a step add to its gradient, and the products of that with directions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from aadsl.propagation.layout import FlatState
from aadsl.propagation.micro_batches import seed
from aadsl.propagation.objective import Objective
from aadsl.propagation.step import Step


def example_products(objective: Objective, state: FlatState, step: Step, directions: Sequence[Tensor]) -> list[Tensor]:
    """Return ⟨g_i, c⟩ for each example i of the step, (n,) for each direction c (P,).

    g_i = ∂g/∂w_i is the example's share of the gradient, see :mod:`aadsl.propagation.example_rows`: since g is linear
    in the weights, one graph of the gradient and one backward pass through it a direction give all of them.
    """
    products: list[list[Tensor]] = [[] for _ in directions]
    with objective.at(state, step), sdpa_kernel(SDPBackend.MATH):
        for loss, weights in _weighted_losses(objective, state, step):
            found = torch.autograd.grad(loss, objective.leaves, create_graph=True, allow_unused=True)
            gradient = objective.parameters.flatten(objective.hooked(found), state.parameters)
            for own, c in zip(products, directions, strict=True):
                (product,) = torch.autograd.grad((gradient * c).sum(), weights, retain_graph=True)
                own.append(product)
    return [torch.cat(own) for own in products]


def example_shares(objective: Objective, state: FlatState, step: Step) -> Iterator[Tensor]:
    """Yield g_i (P,) of each example of the step, in order: one backward pass each.

    The step's gradient is their sum, and what no example has a part in.
    """
    with objective.at(state, step):
        for loss, weights in _weighted_losses(objective, state, step):

            def gradient(chosen: Tensor, loss: Tensor = loss, weights: Tensor = weights) -> Tensor:
                with torch.no_grad():
                    weights.copy_(chosen)  # which the backward pass reads
                found = torch.autograd.grad(loss, objective.leaves, retain_graph=True, allow_unused=True)
                return objective.parameters.flatten(found, state.parameters)

            none = gradient(torch.zeros_like(weights))
            for alone in torch.eye(len(weights), dtype=weights.dtype, device=weights.device):
                yield gradient(alone) - none


def _weighted_losses(objective: Objective, state: FlatState, step: Step) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the share of each micro-batch in the loss, and (n,) the weights of its examples, all 1, in its gradient."""
    batches = step.batches()
    for position, batch in enumerate(batches):
        seed(step, position)
        weights = state.parameters.new_ones(step.sizes[position]).requires_grad_()
        yield step.share(objective.weighted_loss(batch, weights), position, len(batches)), weights
