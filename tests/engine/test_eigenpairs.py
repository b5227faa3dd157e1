"""Lanczos against dense eigen-decompositions, and second derivatives against torch.func."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.func import hessian

from aadsl.propagation import FlatState, eigenpairs
from aadsl.propagation.eigenpairs import lanczos
from tests.engine.tiny import TinyRun, tiny_run
from tests.engine.tiny_studies import normalized

DIMENSION = 120


def symmetric(values: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    q, _ = torch.linalg.qr(torch.randn(len(values), len(values), generator=generator, dtype=torch.float64))
    return (q * values) @ q.T


def dense(run: TinyRun, state: FlatState) -> Tensor:
    """Return ∇²γ over parameters and buffers by torch.func on the network written out as it is in eval mode."""
    objective, (x, y) = run.step_map.objective, run.readout.batches[0]
    sizes = len(state.parameters), len(state.buffers)

    def mean(joined: Tensor) -> Tensor:
        parameters, buffers = torch.split(joined, sizes)
        *named, weight, bias = objective.parameters.views(parameters)
        hidden = x @ named[0].T + named[1]
        if len(buffers):
            center, variance = objective.buffers.views(buffers)
            hidden = (hidden - center) / (variance + 1e-5).sqrt() * named[2] + named[3]
        return torch.log_softmax(torch.tanh(hidden) @ weight.T + bias, dim=1)[torch.arange(len(y)), y].mean()

    return hessian(mean)(torch.cat([state.parameters, state.buffers]))


@pytest.mark.parametrize("rank", [1, 5, 8])
def test_the_largest_eigenpairs_of_both_signs_are_found(rank: int) -> None:
    values = torch.cat([torch.tensor([9.0, -8.0, 7.0, -5.0, 4.0, 3.0, -2.5, 2.0]), torch.linspace(-0.5, 0.5, 112)])
    matrix = symmetric(values.double())
    found, vectors = lanczos(lambda v: matrix @ v, matrix[0], rank)
    assert torch.allclose(found, values[:rank].double(), rtol=1e-6)
    for value, vector in zip(found, vectors, strict=True):
        assert torch.allclose(matrix @ vector, value * vector, atol=1e-3)


@pytest.mark.parametrize(
    "values", [torch.ones(6), torch.zeros(6), torch.tensor([2.0, 2.0, 2.0, -1.0, -1.0, 0.0])], ids=str
)
def test_repeated_eigenvalues_and_more_pairs_than_dimensions(values: Tensor) -> None:
    matrix = symmetric(values.double())
    found, vectors = lanczos(lambda v: matrix @ v, matrix[0], 8)
    q = torch.stack(list(vectors))
    assert torch.allclose(q @ q.T, torch.eye(6, dtype=torch.float64), atol=1e-10)
    assert torch.allclose(q.T @ (found[:, None] * q), matrix, atol=1e-10)


@pytest.mark.parametrize("model", [None, normalized], ids=["plain", "BatchNorm"])
def test_pairs_of_a_behavior_are_those_of_its_dense_second_derivative(model) -> None:
    run = tiny_run("SGD", model=model and model(), groups=1)
    state, matrix = run.states[-1], dense(run, run.states[-1])
    values, vectors = torch.linalg.eigh(matrix)
    order = values.abs().argsort(descending=True)[:6]
    found, pairs = eigenpairs(run.readout, state, 6)
    assert float(found.abs().min()) > 1e-3
    assert torch.allclose(found, values[order], rtol=1e-7)
    for v, position in zip(pairs, order, strict=True):
        joined = torch.cat([v.parameters, v.buffers])
        assert abs(float(joined @ vectors[:, position])) == pytest.approx(1, abs=1e-6)
        assert all(float(t.abs().sum()) == 0 for slots in v.slots for t in slots.values())


def test_within_chosen_parameters_they_are_those_of_the_submatrix() -> None:
    run = tiny_run("SGD", model=normalized(), groups=1)
    state, layout = run.states[-1], run.step_map.layout
    chosen = layout.mask([name.startswith("3.") for name in layout.names], torch.device("cpu"))
    matrix = dense(run, state)[: layout.size, : layout.size][chosen][:, chosen]
    found, pairs = eigenpairs(run.readout, state, 3, chosen)
    values = torch.linalg.eigvalsh(matrix)
    assert torch.allclose(found, values[values.abs().argsort(descending=True)[:3]], rtol=1e-7)
    assert all(float(v.parameters[~chosen].abs().sum() + v.buffers.abs().sum()) == 0 for v in pairs)


def test_the_same_pairs_every_time_and_no_random_number_of_the_user_is_used() -> None:
    run = tiny_run("SGD")
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, second = (eigenpairs(run.readout, run.states[-1], 4) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first[0], second[0])
    assert all(torch.equal(a.parameters, b.parameters) for a, b in zip(first[1], second[1], strict=True))
