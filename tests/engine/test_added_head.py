"""A second job trains a head that the first one did not have, and nothing else; against plain torch.optim loops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import aadsl

X = torch.randn(40, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
Y = torch.randint(0, 3, (40,), generator=torch.Generator().manual_seed(2))


class Heads(nn.Module):
    """A body and the heads of two tasks; the task is the head's number."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.body, self.heads = nn.Linear(3, 4), nn.ModuleList([nn.Linear(4, 3), nn.Linear(4, 3)])
        self.double()

    def forward(self, x: Tensor, task: int) -> Tensor:
        return self.heads[task](torch.tanh(self.body(x)))


def loss(model: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    x, y, task = batch
    return nn.functional.cross_entropy(model(x, int(task[0])), y)


def second_task(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return -nn.functional.cross_entropy(model(batch[0], 1), batch[1], reduction="none")


def trained(skipped: list[int], folder: Path | None = None) -> nn.Module:
    model, t = Heads(), 0
    for task, modules in enumerate([[model.body, model.heads[0]], [model.heads[1]]]):
        groups = [{"params": module.parameters(), "lr": 0.1 / (1 + n)} for n, module in enumerate(modules)]
        optimizer = torch.optim.AdamW(groups, eps=1e-3, weight_decay=0.1)
        recorder = aadsl.Recorder(folder / str(task), model, optimizer) if folder else None
        for _ in range(5):
            part = slice(4 * t, 4 * t + 4)
            batch = (X[part], Y[part], torch.full((4,), task))
            if t not in skipped:
                optimizer.zero_grad()
                loss(model, batch).backward()
                if recorder:
                    recorder.batch(batch)
                optimizer.step()
            t += 1
        if recorder:
            recorder.close()
    return model


def test_effects_reach_the_new_head_through_the_body(tmp_path: Path) -> None:
    model = trained([], tmp_path)
    trajectory = aadsl.open_trajectory([tmp_path / "0", tmp_path / "1"])
    assert trajectory.verify(model=Heads(), loss=loss, samples=20, device="cpu").ok
    study = aadsl.Study(trajectory, model=Heads(), loss=loss, device="cpu")
    study.behavior("second", second_task, on=(X[:8], Y[:8]))
    stages = {"pretraining": [1, 2], "boundary": [4, 5], "head": [7]}
    for name, steps in stages.items():
        study.stage(name, steps)

    def value(of: nn.Module) -> float:
        return second_task(of, (X[:8], Y[:8])).mean().item()

    truth = np.array([value(model) - value(trained(steps)) for steps in stages.values()])
    assert np.abs(truth).min() > 1e-4
    assert np.allclose(study.retrain(list(stages), ["second"]).effect.values[:, 0], truth, rtol=0, atol=1e-12)

    # Both directions of the first-order estimate, and the head it goes through.
    adjoint = study.score(list(stages), ["second"], estimator="first_order").effect.values[:, 0]
    study.behavior("each", second_task, on=(X[:8], Y[:8]), per_example=True)
    tangent = study.score(list(stages), ["each"], estimator="first_order").example_effect.mean("example").values[:, 0]
    assert adjoint == pytest.approx(tangent, rel=1e-10)
    assert np.corrcoef(adjoint, truth)[0, 1] > 0.9
