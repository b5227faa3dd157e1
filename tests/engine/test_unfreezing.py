"""Gradual unfreezing: layers join the same optimizer as groups of their own, and each stretch has a recorder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

import aadsl

INPUTS = torch.randn(60, 8, generator=torch.Generator().manual_seed(1))
TARGETS = torch.randint(3, (60,), generator=torch.Generator().manual_seed(2))
DATA = (INPUTS, TARGETS)
UNFROZEN = [None, 2, 0]
"""The layer that is trained from each stretch on, besides the head."""


def loss(model: nn.Module, batch: Any) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 3))


def trained(folder: Path | None, without: range = range(0)) -> float:
    """Train the head, then more and more; return the mean log-likelihood of the end."""
    model, step = network(), 0
    model[:4].requires_grad_(False)
    optimizer = torch.optim.SGD(model[4].parameters(), lr=0.1, momentum=0.9)
    for layer in UNFROZEN:
        if layer is not None:
            optimizer.add_param_group({"params": model[layer].requires_grad_(True).parameters(), "lr": 0.05})
        recorder = None if folder is None else aadsl.Recorder(folder / f"from-{step}", model, optimizer, DATA)
        for _ in range(4):
            rows = torch.arange(5 * step, 5 * step + 5)
            optimizer.zero_grad()
            loss(model, (INPUTS[rows], TARGETS[rows])).backward()
            if recorder is not None:
                recorder.batch(indices=rows)
            if step not in without:
                optimizer.step()
            step += 1
        if recorder is not None:
            recorder.close()
    return -loss(model, DATA).item()


def test_layers_that_join_are_one_run(tmp_path: Path) -> None:
    end = trained(tmp_path)
    trajectory = aadsl.open_trajectory([tmp_path / f"from-{step}" for step in (0, 4, 8)])
    assert [trajectory.optimizers(step) for step in (0, 4, 8)] == [
        ("SGD", None, None),
        ("SGD", "SGD", None),
        ("SGD", "SGD", "SGD"),
    ]
    assert not any(phase.resets_optimizer for phase in trajectory.phases[1:]), "its momentum goes on"
    study = aadsl.Study(trajectory, model=network(), loss=loss, data=DATA, device="cpu")
    assert "every bit the same" in str(study.verify_trajectory())
    study.stage("around", slice(2, 6))
    study.behavior("right", "log_likelihood", on=DATA)
    answer = study.score(["around"], ["right"])
    assert answer.exact.values.all()
    assert answer.effect.item() == pytest.approx(end - trained(None, range(2, 6)), abs=1e-6) != 0
