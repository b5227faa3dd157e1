"""What a plan foretells, against what then happens."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

import aadsl

STEPS = 40


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> aadsl.Study:
    """A run whose gradients take about a millisecond, long enough to time."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(200, 256), nn.Tanh(), nn.Linear(256, 256), nn.Tanh(), nn.Linear(256, 10))
    data = (torch.randn(640, 200), torch.randint(10, (640,)))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    path: Path = tmp_path_factory.mktemp("pace") / "run"

    def loss(model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return F.cross_entropy(model(batch[0]), batch[1])

    with aadsl.Recorder(path, net, optimizer) as recorder:
        for step in range(STEPS):
            chosen = torch.arange(step * 64, step * 64 + 64) % 640
            recorder.batch(indices=chosen)
            optimizer.zero_grad()
            loss(net, (data[0][chosen], data[1][chosen])).backward()
            optimizer.step()
    study = aadsl.Study(aadsl.open_trajectory(path), model=net, loss=loss, data=data, device="cpu")
    study.stage("middle", slice(10, 20))
    study.behavior("margin", "margin", on=(data[0][:8], data[1][:8]))
    return study


@pytest.mark.parametrize("estimator", ["first_order", "retraining", "linearized"])
def test_the_foretold_time_is_about_what_it_takes(study: aadsl.Study, estimator: str) -> None:
    plan = study.plan(["middle"], ["margin"], estimator)
    assert plan.seconds is not None
    assert not plan.kept
    started = time.perf_counter()
    study.score(["middle"], ["margin"], estimator=estimator)
    taken = time.perf_counter() - started
    assert plan.seconds / 5 < taken < plan.seconds * 5 + 0.5  # reading files is not foretold
    assert study.plan(["middle"], ["margin"], estimator).kept
    assert "in the cache" in str(study.plan(["middle"], ["margin"], estimator))


def test_the_plan_says_direction_work_time_memory_and_the_exact_way(study: aadsl.Study) -> None:
    text = str(study.plan(["middle"], ["margin"], "linearized", "zero_gradient"))
    for part in ("tangent", "gradients", "Hessian-vector products", "on this machine", "MB at a time", "retraining()"):
        assert part in text


def test_ranking_steps_has_a_plan_too(study: aadsl.Study) -> None:
    plan = study.plan([], ["margin"])
    assert plan.cost.products == STEPS
    assert plan.exact.gradients >= STEPS


def test_memory_follows_what_a_sweep_holds(study: aadsl.Study) -> None:
    plan = study.plan(["middle"], ["margin"])
    weights = sum(p.numel() for p in study.history.objective.model.parameters()) * 4
    assert plan.memory is not None
    assert 4 * weights < plan.memory < (2 * STEPS + 4) * 2 * weights
