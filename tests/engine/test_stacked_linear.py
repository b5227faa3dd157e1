"""Linear layers of many runs at once against one run after the other."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import linear, relu

from aadsl.propagation.stacked_linear import StackedLinear

RUNS = 3


def loss(weight: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
    """Return a number that depends on two linear layers: of the second the inputs are each run's own."""
    return (linear(relu(linear(x, weight, bias)), weight.mT) ** 2).mean()


@pytest.mark.parametrize("shape", [(4,), (5, 4), (2, 5, 4)])
@pytest.mark.parametrize("bias", ["of each", "of all", "none"])
@pytest.mark.parametrize("own", [False, True])
def test_gradients_are_those_of_each_run(shape: tuple[int, ...], bias: str, own: bool) -> None:
    generator = torch.Generator().manual_seed(0)

    def drawn(*size: int) -> Tensor:
        return torch.randn(size, generator=generator, dtype=torch.float64)

    weight, inputs = drawn(RUNS, 6, 4), drawn(*(RUNS,) * own, *shape)
    offset = {"of each": drawn(RUNS, 6), "of all": drawn(6), "none": None}[bias]
    leaves = [t.requires_grad_() for t in (weight, offset, inputs) if t is not None]
    places = (0, 0 if bias == "of each" else None, 0 if own else None)
    given = weight, offset, inputs
    with StackedLinear():
        together = torch.vmap(loss, places)(*given)

    def of_run(n: int) -> list[Any]:
        return [t[n] if t is not None and place == 0 else t for t, place in zip(given, places, strict=True)]

    alone = torch.stack([loss(*of_run(n)) for n in range(RUNS)])
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=0)
    found, expected = (torch.autograd.grad(values.sum(), leaves) for values in (together, alone))
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-13)
    assert found[0].is_contiguous()


def test_a_single_weight_for_all_runs_and_derivatives_within_them() -> None:
    """Layers that are not trained, and a loss that differentiates, are computed as ever."""
    weight, x = torch.randn(2, 3, dtype=torch.float64), torch.randn(RUNS, 4, 3, dtype=torch.float64)

    def penalty(x: Tensor) -> Tensor:
        return torch.func.grad(lambda y: linear(y, weight).square().sum())(x).square().sum()

    with StackedLinear():
        together = torch.vmap(penalty)(x)
    torch.testing.assert_close(together, torch.stack([penalty(one) for one in x]), rtol=1e-12, atol=0)


def test_a_plain_layer_within_it_has_its_gradient() -> None:
    layer, x = torch.nn.Linear(3, 2).double(), torch.randn(4, 3, dtype=torch.float64)
    expected = torch.autograd.grad(layer(x).square().sum(), [*layer.parameters()])
    with StackedLinear():
        found = torch.autograd.grad(layer(x).square().sum(), [*layer.parameters()])
    torch.testing.assert_close(found, expected)
