"""Structured approximations against dense blocks, and effects restricted to some parameters."""

from __future__ import annotations

import pytest
import torch
from torch.func import functional_call, hessian

from aadsl.propagation import CURVATURES, Curvature, Point
from tests.engine.tiny import TinyRun, network, tiny_run


def dense_hessian(run: TinyRun, t: int) -> torch.Tensor:
    """Return the Hessian (P, P) of the loss of step t over the flat vector, from torch.func."""
    layout, model = run.step_map.layout, network()
    (batch,) = run.steps[t].batches()

    def loss(flat: torch.Tensor) -> torch.Tensor:
        scores = functional_call(model, layout.named_views(flat), (batch[0],))
        return torch.nn.functional.cross_entropy(scores, batch[1])

    return hessian(loss)(run.states[t].parameters)


def product(run: TinyRun, t: int, curvature: Curvature, c: torch.Tensor) -> torch.Tensor:
    objective, state, step = run.step_map.objective, run.states[t], run.steps[t]
    point = Point(state, step, objective.evaluate(state, step), run.states[t + 1].parameters)
    ((found, _),) = curvature.pullback(objective, point, [(c, None)])
    ((pushed, _),) = curvature.pushforward(objective, point, [(c, state.buffers)])
    torch.testing.assert_close(found, pushed, rtol=1e-12, atol=1e-12)
    return found


def block_mask(run: TinyRun, name: str, size: int = 10) -> torch.Tensor:
    layout = run.step_map.layout
    if name == "blockwise":
        owner = torch.arange(layout.size) // size
    else:
        modules = [n.rpartition(".")[0] for n in layout.names]
        owner = torch.zeros(layout.size, dtype=torch.long)
        for position, module in enumerate(modules):
            owner[layout.offsets[position] : layout.offsets[position + 1]] = sorted(set(modules)).index(module)
    return owner[:, None] == owner[None, :]


@pytest.mark.parametrize(("name", "options"), [("layerwise", {}), ("blockwise", {"size": 10})])
def test_block_diagonal_products_are_those_of_the_dense_blocks(name: str, options: dict) -> None:
    run = tiny_run("SGD", groups=1)
    c = torch.randn(run.step_map.layout.size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    matrix = dense_hessian(run, 2)
    blocks = torch.where(block_mask(run, name), matrix, 0.0)
    assert float((matrix - blocks).norm()) > 1e-2 * float(matrix.norm()), "the blocks must leave something out"
    torch.testing.assert_close(product(run, 2, CURVATURES[name](**options), c), blocks @ c, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(product(run, 2, CURVATURES["exact"](), c), matrix @ c, rtol=1e-10, atol=1e-12)
